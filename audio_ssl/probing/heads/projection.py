"""Projection, mean over time, linear layer: SUPERB's head for classes of a clip (Yang et al. 2021).

All of it is linear, so the mean may come first: the head is given a clip's mean frame and answers as SUPERB's does on
all frames, at a fraction of the cost. With `relu` after the projection that no longer holds, and it sees all frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.data.frames import frame_mask
from audio_ssl.probing.head import Head
from audio_ssl.probing.heads._shared import OUTPUTS, clip_losses
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are SUPERB's."""

    dim: int = 256
    """Width of the projection."""

    relu: bool = False
    """Rectify each frame after the projection (SUPERB does not)."""


class ProjectionHead(Head):
    """Scores of classes (softmax), scores of tags (sigmoid), or values."""

    outputs: tuple[Output, ...] = OUTPUTS
    stackable = True

    def __init__(self, config: Config, input_dim: int, classes: int, output: Output) -> None:
        super().__init__()
        self.needs_frames = config.relu
        self._values, self._relu = output == "values", config.relu
        self.projection, self.output = nn.Linear(input_dim, config.dim), nn.Linear(config.dim, classes)

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch class"]:
        """Return the scores (logits) or values of each clip."""
        mask = frame_mask(frames, features.shape[1])[..., None]
        x = self.projection(features)
        x = torch.where(mask, F.relu(x) if self._relu else x, 0.0)
        scores: Tensor = self.output(x.sum(1) / frames[:, None])
        return scores

    def linear_layers(self) -> tuple[nn.Linear, ...] | None:
        """Return both layers, where nothing is rectified between them."""
        return None if self._relu else (self.projection, self.output)

    def losses(self, outputs: Tensor, frames: Tensor, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return cross-entropy for classes, binary cross-entropy for tags, squared error for values."""
        return clip_losses(outputs, targets, self._values)


def build(config: Config, input_dim: int, classes: int, output: Output) -> ProjectionHead:
    """Make the head."""
    return ProjectionHead(config, input_dim, classes, output)
