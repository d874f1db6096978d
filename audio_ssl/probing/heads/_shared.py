"""What heads share: losses, convolutions over time, statistics of frames, the additive margin softmax.

The losses of heads that answer once a clip, for several copies of a head at once.

A projection and residual convolutions over time, which heads put an output layer on.

What heads of frames share: losses that leave padding out, and answers cut to each clip's frames.

What heads of embeddings share: statistics of frames, cosines to classes, the additive margin softmax.

Wang et al. 2018, arXiv 1801.05599, with SUPERB's scale of 30 and margin of 0.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import frame_mask
from audio_ssl.probing.head import Head
from audio_ssl.probing.task import IGNORED, Output

OUTPUTS: tuple[Output, ...] = ("class", "tags", "values")


def clip_losses(
    outputs: Float[Tensor, "run batch class"], targets: Sequence[Tensor], values: bool = False
) -> Float[Tensor, " run"]:
    """Return the mean loss of each run.

    Cross-entropy for class numbers, binary cross-entropy for zeros and ones, squared error for `values`.

    Examples
    --------
    >>> clip_losses(torch.zeros(2, 3, 4), [torch.tensor(0)] * 3)
    tensor([1.3863, 1.3863])
    """
    wanted = torch.stack(list(targets))
    runs, clips = outputs.shape[:2]
    if wanted.ndim == 1:
        flat = F.cross_entropy(outputs.flatten(0, 1), wanted.repeat(runs), reduction="none")
        return flat.view(runs, clips).mean(1)
    loss = F.mse_loss if values else F.binary_cross_entropy_with_logits
    return loss(outputs, wanted.expand_as(outputs), reduction="none").mean((1, 2))


class ResidualConvs(nn.Module):
    """Convolutions of one width, each on the normalised frames and added to them.

    Parameters
    ----------
    input_dim, dim
        Width of the features and of the layers.
    kernel_frames
        Width of a convolution; odd.
    dilations
        One a layer.
    dropout
        After each convolution.

    Raises
    ------
    UserError
        For an even kernel.
    """

    def __init__(self, input_dim: int, dim: int, kernel_frames: int, dilations: Sequence[int], dropout: float) -> None:
        if kernel_frames % 2 == 0:
            raise UserError(f"`kernel_frames` must be odd, but is {kernel_frames}")
        super().__init__()
        self.projection = nn.Linear(input_dim, dim)
        reach = kernel_frames // 2
        self.convs = nn.ModuleList(
            nn.Conv1d(dim, dim, kernel_frames, padding=reach * dilation, dilation=dilation) for dilation in dilations
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in dilations)
        self.dropout = nn.Dropout(dropout)
        self.reach_frames = reach * sum(dilations)
        """Frames on either side of a frame that its numbers depend on."""

    def forward(
        self, features: Float[Tensor, "batch frame in_dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the frames of the last layer."""
        mask = frame_mask(frames, features.shape[1])[..., None]
        x: Tensor = self.projection(features)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            # Padding is zero before each convolution, so that a clip's frames do not see it.
            y = conv(torch.where(mask, norm(x), 0.0).transpose(1, 2)).transpose(1, 2)
            x = x + self.dropout(F.gelu(y))
        return x


class FrameHeadBase(Head):
    """Logits of every frame; `forward` gives ``[batch, frame, class]``."""

    outputs: tuple[Output, ...] = ("frames",)
    needs_frames = True
    stackable = True

    def losses(
        self, outputs: Float[Tensor, "run batch frame class"], frames: Int[Tensor, " batch"], targets: Sequence[Tensor]
    ) -> Float[Tensor, " run"]:
        """Return cross-entropy for class ids, binary cross-entropy for targets from 0 to 1, per frame."""
        return frame_losses(outputs, frames, targets)

    def answers(self, outputs: Float[Tensor, "batch frame class"], frames: Int[Tensor, " batch"]) -> list[Tensor]:
        """Return the logits of each clip's frames."""
        return [row[:count] for row, count in zip(outputs, frames.tolist(), strict=True)]


def frame_losses(
    outputs: Float[Tensor, "run batch frame class"], frames: Int[Tensor, " batch"], targets: Sequence[Tensor]
) -> Float[Tensor, " run"]:
    """Return the mean loss of each run over all frames of the clips that have an answer.

    Examples
    --------
    >>> logits = torch.zeros(1, 2, 3, 4)
    >>> frame_losses(logits, torch.tensor([3, 1]), [torch.tensor([0, 1, IGNORED]), torch.tensor([2])])
    tensor([1.3863])
    """
    runs, clips, total, _ = outputs.shape
    if targets[0].ndim == 1:
        wanted = pad_sequence(list(targets), batch_first=True, padding_value=IGNORED)
        wanted = F.pad(wanted, (0, total - wanted.shape[1]), value=IGNORED)
        each = F.cross_entropy(outputs.flatten(0, 2), wanted.flatten().repeat(runs), reduction="none")
        known = wanted != IGNORED
        return each.view(runs, clips * total).sum(1) / known.sum().clamp(min=1)
    wanted = pad_sequence(list(targets), batch_first=True)
    wanted = F.pad(wanted, (0, 0, 0, total - wanted.shape[1]))
    loss = F.binary_cross_entropy_with_logits(outputs, wanted.expand_as(outputs), reduction="none").mean(-1)
    mask = frame_mask(frames, total)
    return torch.where(mask, loss, 0.0).sum((1, 2)) / mask.sum()


_SMALLEST_VARIANCE = 1e-8


def mean_and_deviation(
    x: Float[Tensor, "batch frame dim"],
    mask: Bool[Tensor, "batch frame"],
    weights: Float[Tensor, "batch frame"] | None = None,
) -> Float[Tensor, "batch twice"]:
    """Return the mean and the deviation of each clip's frames, weighted where weights (that sum to 1) are given."""
    if weights is None:
        weights = mask / mask.sum(-1, keepdim=True)
    share = weights[..., None]
    # Padding may be anything, even infinite: it is put aside before it is multiplied by zero.
    x = torch.where(mask[..., None], x, 0.0)
    mean = (share * x).sum(1)
    variance = (share * (x - mean[:, None]).square()).sum(1)
    return torch.cat([mean, variance.clamp(min=_SMALLEST_VARIANCE).sqrt()], dim=-1)


def margin_losses(
    cosines: Float[Tensor, "run batch class"], targets: Sequence[Tensor], scale: float, margin: float
) -> Float[Tensor, " run"]:
    """Return the mean additive margin softmax loss of each run.

    Examples
    --------
    >>> margin_losses(torch.tensor([[[0.9, 0.1]]]), [torch.tensor(0)], 10.0, 0.3)
    tensor([0.0067])
    """
    wanted = torch.stack(list(targets))
    runs, clips, classes = cosines.shape
    logits = scale * (cosines - margin * F.one_hot(wanted, classes))
    each = F.cross_entropy(logits.flatten(0, 1), wanted.repeat(runs), reduction="none")
    return each.view(runs, clips).mean(1)


class Cosines(nn.Module):
    """Cosines of vectors to one learned vector a class."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, dim)))

    def forward(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch class"]:
        """Return the cosines."""
        return F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))


class EmbeddingHeadBase(Head):
    """A vector to compare, learned by telling classes apart, or the classes themselves.

    `forward` gives the vector and the cosines to the classes beside it, ``[batch, dim + class]``; for classes only the
    cosines.

    Parameters
    ----------
    classes, output
        As for `build`.
    scale, margin
        Of the loss.
    """

    outputs: tuple[Output, ...] = ("embedding", "class")
    needs_frames = True
    stackable = True

    def __init__(self, classes: int, output: Output, scale: float, margin: float) -> None:
        super().__init__()
        self._classes, self._vectors, self._margin = classes, output == "embedding", margin
        self.sharpness = scale

    def joined(self, vectors: Float[Tensor, "batch dim"], cosines: Float[Tensor, "batch class"]) -> Tensor:
        """Return what `forward` gives."""
        return torch.cat([vectors, cosines], dim=-1) if self._vectors else cosines

    def losses(
        self, outputs: Float[Tensor, "run batch wide"], frames: Int[Tensor, " batch"], targets: Sequence[Tensor]
    ) -> Float[Tensor, " run"]:
        """Return the additive margin softmax loss."""
        return margin_losses(outputs[..., -self._classes :], targets, self.sharpness, self._margin)

    def answers(self, outputs: Float[Tensor, "batch wide"], frames: Int[Tensor, " batch"]) -> list[Tensor]:
        """Return the vector of each clip, or its cosines to the classes."""
        return list(outputs[..., : -self._classes] if self._vectors else outputs)
