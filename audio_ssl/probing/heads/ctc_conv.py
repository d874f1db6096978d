"""CTC after a few convolutions over time: a head for CPUs, where an LSTM waits for itself."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.probing.head import CTCHeadBase
from audio_ssl.probing.heads._shared import ResidualConvs
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes."""

    dim: int = 128
    """Width of the layers."""

    layers: int = 3
    """Convolutions, each with a residual path."""

    kernel_frames: int = 9
    """Width of a convolution; odd."""

    dropout: float = 0.1
    """After each convolution."""


class CTCConvHead(CTCHeadBase):
    """Projection, residual convolutions, output layer."""

    stackable = True

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        dilations = (1,) * config.layers
        self.convs = ResidualConvs(input_dim, config.dim, config.kernel_frames, dilations, config.dropout)
        self.output = nn.Linear(config.dim, classes + 1)

    @property
    def reach_frames(self) -> int:
        """Return how far the convolutions see on either side."""
        return self.convs.reach_frames

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Return the logits of blank and tokens."""
        logits: Tensor = self.output(self.convs(features, frames))
        return logits


def build(config: Config, input_dim: int, classes: int, output: Output) -> CTCConvHead:
    """Make the head; UserError for an even kernel."""
    return CTCConvHead(config, input_dim, classes)
