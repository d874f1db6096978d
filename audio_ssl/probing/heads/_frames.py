"""What heads of frames share: losses that leave padding out, and answers cut to each clip's frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from audio_ssl.probing.heads._base import Head, inside
from audio_ssl.probing.tasks._base import Output
from audio_ssl.probing.tasks._frames import IGNORED


class FramesBase(Head):
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
    mask = inside(frames, total)
    return torch.where(mask, loss, 0.0).sum((1, 2)) / mask.sum()
