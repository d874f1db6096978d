"""What a head must give: a loss on a batch, and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.probing.tasks._base import Output


@dataclass(frozen=True)
class HeadBatch:
    """Features of some clips."""

    features: Float[Tensor, "batch frame dim"]
    """One frame a clip for tasks that answer once a clip, unless the head wants all; anything past a clip's frames."""

    frames: Int[Tensor, " batch"]
    """Frames of each clip."""


class Head(nn.Module):
    """A trainable answer to a question.

    A head either gives `forward`, `losses` and `answers`, and many of it are then trained in one pass (`stackable`); or
    it gives `loss` and `predict`, and is trained alone.
    """

    outputs: tuple[Output, ...] = ()
    """What kinds of task it can answer."""

    needs_frames = False
    """Whether it wants all frames of a clip where it answers once a clip; else it is given their mean."""

    stackable = False
    """Whether `forward` is free of loops over time and of batch statistics, so that copies can run as one."""

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """Return the numbers that `losses` and `answers` take."""
        raise AssertionError("each stackable head has its own layers")

    def losses(
        self, outputs: Float[Tensor, "run batch ..."], frames: Int[Tensor, " batch"], targets: Sequence[Tensor]
    ) -> Float[Tensor, " run"]:
        """Return the mean loss of a batch for each of some copies of this head, whose clips are the same.

        Parameters
        ----------
        outputs
            What the copies' `forward` gave.
        frames
            Frames of each clip.
        targets
            Of each clip.
        """
        raise AssertionError("each stackable head has its own loss")

    def answers(self, outputs: Float[Tensor, "batch ..."], frames: Int[Tensor, " batch"]) -> list[Tensor]:
        """Return the prediction of each clip from what `forward` gave: token ids, scores, values or a vector."""
        return list(outputs)

    def loss(self, batch: HeadBatch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the mean loss of a batch."""
        return self.losses(self(batch.features, batch.frames)[None], batch.frames, targets)[0]

    @torch.no_grad()
    def predict(self, batch: HeadBatch) -> list[Tensor]:
        """Return token ids, scores of classes, values, activations or a vector of each clip."""
        return self.answers(self(batch.features, batch.frames), batch.frames)

    def why_not(self, frames: int, target: Tensor) -> str | None:
        """Return why a clip of so many frames cannot be used, or None."""
        return None


def inside(frames: Int[Tensor, " batch"], total: int) -> Bool[Tensor, "batch frame"]:
    """Return True where a frame belongs to its clip."""
    return torch.arange(total, device=frames.device) < frames[:, None]
