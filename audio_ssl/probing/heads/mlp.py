"""One hidden layer on a clip's mean frame: MARBLE's head (Yuan et al. 2023), for classes and for tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.probing.heads._base import Batch, Head
from audio_ssl.probing.heads._classes import class_loss
from audio_ssl.probing.tasks._base import Output


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are MARBLE's."""

    hidden_dim: int = 512
    """Width of the hidden layer; 0: a linear head."""

    dropout: float = 0.2
    """Before the output layer."""


class MLPHead(Head):
    """Scores of classes (softmax) or tags (sigmoid), told apart by the targets."""

    outputs: tuple[Output, ...] = ("class", "tags")

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        width = config.hidden_dim or input_dim
        hidden = [nn.Linear(input_dim, width), nn.ReLU(), nn.Dropout(config.dropout)] if config.hidden_dim else []
        self.layers = nn.Sequential(*hidden, nn.Linear(width, classes))

    def loss(self, batch: Batch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return cross-entropy for classes, binary cross-entropy for tags."""
        return class_loss(self._scores(batch), targets)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Tensor]:
        """Return the scores (logits) of each clip."""
        return list(self._scores(batch))

    def _scores(self, batch: Batch) -> Float[Tensor, "batch class"]:
        scores: Tensor = self.layers(batch.features[:, 0])
        return scores


def build(config: Config, input_dim: int, classes: int) -> MLPHead:
    """Make the head."""
    return MLPHead(config, input_dim, classes)
