"""One hidden layer on a clip's mean frame: MARBLE's head (Yuan et al. 2023), for classes, tags and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.probing.head import Head
from audio_ssl.probing.heads._shared import OUTPUTS, clip_losses
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are MARBLE's."""

    hidden_dim: int = 512
    """Width of the hidden layer; 0: a linear head."""

    dropout: float = 0.2
    """Before the output layer."""


class MLPHead(Head):
    """Scores of classes (softmax), scores of tags (sigmoid), or values."""

    outputs: tuple[Output, ...] = OUTPUTS
    stackable = True

    def __init__(self, config: Config, input_dim: int, classes: int, output: Output) -> None:
        super().__init__()
        self._values = output == "values"
        width = config.hidden_dim or input_dim
        hidden = [nn.Linear(input_dim, width), nn.ReLU(), nn.Dropout(config.dropout)] if config.hidden_dim else []
        self.layers = nn.Sequential(*hidden, nn.Linear(width, classes))

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch class"]:
        """Return the scores (logits) or values of each clip's only frame."""
        scores: Tensor = self.layers(features[:, 0])
        return scores

    def linear_layers(self) -> tuple[nn.Linear, ...] | None:
        """Return the output layer, where it is alone."""
        (*hidden, output) = self.layers
        return None if hidden else (cast(nn.Linear, output),)

    def losses(self, outputs: Tensor, frames: Tensor, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return cross-entropy for classes, binary cross-entropy for tags, squared error for values."""
        return clip_losses(outputs, targets, self._values)


def build(config: Config, input_dim: int, classes: int, output: Output) -> MLPHead:
    """Make the head."""
    return MLPHead(config, input_dim, classes, output)
