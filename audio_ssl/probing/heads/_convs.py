"""A projection and residual convolutions over time, which heads put an output layer on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.errors import UserError
from audio_ssl.probing.heads._base import inside


class ResidualConvs(nn.Module):
    """Convolutions of one width, each on the normalised frames and added to them.

    Parameters
    ----------
    input_dim, dim
        Width of the features and of the layers.
    kernel_frames
        Width of a convolution; odd.
    dilations
        One a layer.
    dropout
        After each convolution.

    Raises
    ------
    UserError
        For an even kernel.
    """

    def __init__(self, input_dim: int, dim: int, kernel_frames: int, dilations: Sequence[int], dropout: float) -> None:
        if kernel_frames % 2 == 0:
            raise UserError(f"`kernel_frames` must be odd, but is {kernel_frames}")
        super().__init__()
        self.projection = nn.Linear(input_dim, dim)
        reach = kernel_frames // 2
        self.convs = nn.ModuleList(
            nn.Conv1d(dim, dim, kernel_frames, padding=reach * dilation, dilation=dilation) for dilation in dilations
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in dilations)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, features: Float[Tensor, "batch frame in_dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the frames of the last layer."""
        mask = inside(frames, features.shape[1])[..., None]
        x: Tensor = self.projection(features)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            # Padding is zero before each convolution, so that a clip's frames do not see it.
            y = conv(torch.where(mask, norm(x), 0.0).transpose(1, 2)).transpose(1, 2)
            x = x + self.dropout(F.gelu(y))
        return x
