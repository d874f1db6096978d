"""Convolutions over time with growing dilation, then a linear layer on every frame.

A small temporal convolutional network as for beats (Davies and Böck 2019): where a frame alone cannot tell, such as a
downbeat, it sees seconds around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.errors import UserError
from audio_ssl.probing.heads._base import inside
from audio_ssl.probing.heads._frames import FramesBase
from audio_ssl.probing.tasks._base import Output


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


class FramesConvHead(FramesBase):
    """Projection, residual dilated convolutions, output layer."""

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        self.projection = nn.Linear(input_dim, config.dim)
        reach = config.kernel_frames // 2
        self.convs = nn.ModuleList(
            nn.Conv1d(config.dim, config.dim, config.kernel_frames, padding=reach * 2**i, dilation=2**i)
            for i in range(config.layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.dim, classes)

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Return the logits."""
        mask = inside(frames, features.shape[1])[..., None]
        x = self.projection(features)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            # Padding is zero before each convolution, so that a clip's frames do not see it.
            y = conv(torch.where(mask, norm(x), 0.0).transpose(1, 2)).transpose(1, 2)
            x = x + self.dropout(F.gelu(y))
        logits: Tensor = self.output(x)
        return logits


def build(config: Config, input_dim: int, classes: int, output: Output) -> FramesConvHead:
    """Make the head; UserError for an even kernel."""
    if config.kernel_frames % 2 == 0:
        raise UserError(f"`kernel_frames` must be odd, but is {config.kernel_frames}")
    return FramesConvHead(config, input_dim, classes)
