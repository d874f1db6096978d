"""What heads of embeddings share: statistics of frames, cosines to classes, the additive margin softmax.

Wang et al. 2018, arXiv 1801.05599, with SUPERB's scale of 30 and margin of 0.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.probing.heads._base import Head
from audio_ssl.probing.tasks._base import Output

_SMALLEST_VARIANCE = 1e-8


def statistics(
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


class EmbeddingBase(Head):
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
        self._classes, self._vectors, self._scale, self._margin = classes, output == "embedding", scale, margin

    def joined(self, vectors: Float[Tensor, "batch dim"], cosines: Float[Tensor, "batch class"]) -> Tensor:
        """Return what `forward` gives."""
        return torch.cat([vectors, cosines], dim=-1) if self._vectors else cosines

    def losses(
        self, outputs: Float[Tensor, "run batch wide"], frames: Int[Tensor, " batch"], targets: Sequence[Tensor]
    ) -> Float[Tensor, " run"]:
        """Return the additive margin softmax loss."""
        return margin_losses(outputs[..., -self._classes :], targets, self._scale, self._margin)

    def answers(self, outputs: Float[Tensor, "batch wide"], frames: Int[Tensor, " batch"]) -> list[Tensor]:
        """Return the vector of each clip, or its cosines to the classes."""
        return list(outputs[..., : -self._classes] if self._vectors else outputs)
