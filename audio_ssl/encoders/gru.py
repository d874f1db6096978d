"""Causal encoder of autoregressive predictive coding: recurrent layers, each with a residual path.

APC (Chung et al. 2019, arXiv 1904.03240; Chung and Glass 2020, arXiv 1910.12607): three GRU layers of 512 over log-mel
frames, residual connections, dropout 0.1. Hidden state n is the output of layer n; no state knows of a later frame, so
long as the frontend does not (a norm over the whole clip does: give `mel` fixed statistics). The published models'
first layer reads the frames themselves; here a layer norm of each frame and a projection come first, so that all hidden
states have one width and the first layer has a residual path too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.encoders._fast_dropout import Dropout
from audio_ssl.encoders._frames import frame_mask, hide
from audio_ssl.errors import UserError


@dataclass(frozen=True)
class Config:
    """Sizes and dropout of the encoder."""

    layers: int = 3
    """Recurrent layers (APC: 3)."""

    dim: int = 512
    """Width of the hidden states (APC: 512)."""

    dropout: float = 0.1
    """On the output of every layer but the last (APC: 0.1)."""

    residual: bool = True
    """Add each layer's input to its output (APC: yes)."""


class GRUEncoder(nn.Module):
    """Feature norm, projection, mask embedding, recurrent layers."""

    def __init__(self, config: Config, input_dim: int) -> None:
        super().__init__()
        self.dim, self.num_layers = config.dim, config.layers
        self._residual = config.residual
        self.feature_norm = nn.LayerNorm(input_dim)
        self.projection = nn.Linear(input_dim, config.dim)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim).uniform_())
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(nn.GRU(config.dim, config.dim, batch_first=True) for _ in range(config.layers))

    def forward(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch frame"] | None = None,
        layers: int | None = None,
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Return the input of the first layer and the output of `layers` layers (None: all), zero past each clip."""
        inside = frame_mask(frames, features.shape[1])[..., None]
        x = hide(self.projection(self.feature_norm(features)), mask, self.mask_embedding, inside)
        states = [x]
        for number, layer in enumerate(self.layers[:layers], 1):
            # Errors of bfloat16 would add up over the frames. Padding comes after all frames, so it does no harm.
            with torch.autocast(x.device.type, enabled=False):
                y = layer(x.float())[0]
            if number < self.num_layers:
                y = self.dropout(y)
            x = x + y if self._residual else y
            states.append(x)
        return [torch.where(inside, state, 0.0) for state in states]


def build(config: Config, input_dim: int) -> GRUEncoder:
    """Make the encoder; UserError for less than one layer."""
    if config.layers < 1:
        raise UserError(f"`layers` must be at least 1, but is {config.layers}")
    return GRUEncoder(config, input_dim)
