"""One hidden layer on every frame: MARBLE's head for beats (Yuan et al. 2023), and for chords; or a linear layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.probing.heads._shared import FrameHeadBase
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are MARBLE's."""

    hidden_dim: int = 512
    """Width of the hidden layer; 0: a linear head."""

    dropout: float = 0.2
    """Before the output layer."""


class FramesHead(FrameHeadBase):
    """Logits of each frame by itself."""

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        width = config.hidden_dim or input_dim
        hidden = [nn.Linear(input_dim, width), nn.ReLU(), nn.Dropout(config.dropout)] if config.hidden_dim else []
        self.layers = nn.Sequential(*hidden, nn.Linear(width, classes))

    @property
    def reach_frames(self) -> int:
        """Return 0: each frame is answered by itself."""
        return 0

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Return the logits."""
        return cast(Tensor, self.layers(features))


def build(config: Config, input_dim: int, classes: int, output: Output) -> FramesHead:
    """Make the head."""
    return FramesHead(config, input_dim, classes)
