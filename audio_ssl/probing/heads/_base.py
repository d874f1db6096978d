"""What a head must give: a loss on a batch, and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.probing.tasks._base import Output


@dataclass(frozen=True)
class Batch:
    """Features of some clips."""

    features: Float[Tensor, "batch frame dim"]
    """Zero past each clip's frames; one frame a clip for pooled tasks, unless the head wants all."""

    frames: Int[Tensor, " batch"]
    """Frames of each clip."""


class Head(nn.Module):
    """A trainable answer to a question."""

    outputs: tuple[Output, ...] = ()
    """What kinds of task it can answer."""

    needs_frames = False
    """Whether it wants all frames of a clip where it answers once a clip; else it is given their mean."""

    def loss(self, batch: Batch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the mean loss of a batch."""
        raise AssertionError("each head has its own loss")

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return token ids, or scores of classes, of each clip."""
        raise AssertionError("each head has its own predictions")

    def why_not(self, frames: int, target: Tensor) -> str | None:
        """Return why a clip of so many frames cannot be used, or None."""
        return None


def inside(batch: Batch) -> Tensor:
    """Return ``[batch, frame]``, True where a frame belongs to its clip."""
    return torch.arange(batch.features.shape[1], device=batch.frames.device) < batch.frames[:, None]
