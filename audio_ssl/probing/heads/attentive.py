"""Learned attention over a clip's frames, then one linear layer, for classes and for tags (Lin et al. 2017).

Layers are mixed by learned weights; ``audio-ssl extract --layers RESULT --pool attentive`` gives the vectors that this
head sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.features.pool import Attention
from audio_ssl.probing.heads._base import Batch, Head, inside
from audio_ssl.probing.heads._classes import class_loss
from audio_ssl.probing.tasks._base import Output


@dataclass(frozen=True)
class Config:
    """Sizes."""

    hidden_dim: int = 128
    """Width of the layer that scores frames (ECAPA-TDNN, Desplanques et al. 2020: 128)."""

    dropout: float = 0.2
    """Before the output layer."""


class AttentiveHead(Head):
    """Scores of classes (softmax) or tags (sigmoid), told apart by the targets."""

    outputs: tuple[Output, ...] = ("class", "tags")
    needs_frames = True

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        self.attention = Attention(input_dim, config.hidden_dim)
        self.output = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(input_dim, classes))

    def loss(self, batch: Batch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return cross-entropy for classes, binary cross-entropy for tags."""
        return class_loss(self._scores(batch), targets)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Tensor]:
        """Return the scores (logits) of each clip."""
        return list(self._scores(batch))

    def _scores(self, batch: Batch) -> Float[Tensor, "batch class"]:
        return cast(Tensor, self.output(self.attention(batch.features, inside(batch))))


def build(config: Config, input_dim: int, classes: int) -> AttentiveHead:
    """Make the head."""
    return AttentiveHead(config, input_dim, classes)
