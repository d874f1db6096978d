"""Convolutions over time with growing dilation, then a linear layer on every frame.

A small temporal convolutional network as for beats (Davies and Böck 2019): where a frame alone cannot tell, such as a
downbeat, it sees seconds around it.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.probing.heads._shared import FrameHeadBase, ResidualConvs
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes."""

    dim: int = 64
    """Width of the layers."""

    layers: int = 6
    """Convolutions with a residual path, each of twice the dilation of the one before; 6 of kernel 5 see 253 frames."""

    kernel_frames: int = 5
    """Width of a convolution (Davies and Böck: 5); odd."""

    dropout: float = 0.1
    """After each convolution (Davies and Böck: 0.1)."""


class FramesConvHead(FrameHeadBase):
    """Projection, residual dilated convolutions, output layer."""

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        dilations = [2**i for i in range(config.layers)]
        self.convs = ResidualConvs(input_dim, config.dim, config.kernel_frames, dilations, config.dropout)
        self.output = nn.Linear(config.dim, classes)

    @property
    def reach_frames(self) -> int:
        """Return how far the convolutions see on either side."""
        return self.convs.reach_frames

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Return the logits."""
        logits: Tensor = self.output(self.convs(features, frames))
        return logits


def build(config: Config, input_dim: int, classes: int, output: Output) -> FramesConvHead:
    """Make the head; UserError for an even kernel."""
    return FramesConvHead(config, input_dim, classes)
