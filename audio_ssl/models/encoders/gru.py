"""Causal encoder of autoregressive predictive coding: recurrent layers, each with a residual path.

APC (Chung et al. 2019, arXiv 1904.03240; Chung and Glass 2020, arXiv 1910.12607): three GRU layers of 512 over log-mel
frames, residual connections, dropout 0.1. Hidden state n is the output of layer n; no state knows of a later frame, so
long as the frontend does not (a norm over the whole clip does: give `mel` fixed statistics). The published models'
first layer reads the frames themselves (`form: frames`); by default a layer norm of each frame and a projection come
first, and the first layer has a residual path too. CPC_audio's context is one LSTM (Rivière et al. 2020, arXiv
2002.02848), in van den Oord et al. 2018 (arXiv 1807.03748) a GRU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least, check_choice
from audio_ssl.base.versions import added
from audio_ssl.data.frames import frame_mask
from audio_ssl.models.fast.cpu import Dropout
from audio_ssl.models.interfaces import Encoder, EncoderTraits
from audio_ssl.models.padding import Visible, hide
from audio_ssl.models.points import Point

TRAITS = EncoderTraits(training=("dropout",))

FORMS = ("projected", "frames")
CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


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

    form: str = added("projected")
    """``projected``: frames are normed and projected to `dim` first, and no dropout follows the last layer. ``frames``
    (APC, CPC_audio): the first layer reads the frames themselves and has no residual path, dropout follows every layer,
    and hidden state 0 holds the frames, zeros up to `dim`."""

    cell: str = added("gru")
    """``gru`` (APC, CPC) or ``lstm`` (CPC_audio)."""


class GRUEncoder(Encoder):
    """Feature norm and projection (or neither), mask embedding, recurrent layers."""

    def __init__(self, config: Config, input_dim: int) -> None:
        super().__init__(config.dim, config.layers)
        self._residual, self._projects = config.residual, config.form == "projected"
        width = config.dim if self._projects else input_dim
        self.feature_norm = nn.LayerNorm(input_dim) if self._projects else nn.Identity()
        self.projection = nn.Linear(input_dim, config.dim) if self._projects else nn.Identity()
        self.mask_embedding = nn.Parameter(torch.empty(width).uniform_())
        self.dropout = Dropout(config.dropout)
        widths = (width, *(config.dim,) * (config.layers - 1))
        self.layers = nn.ModuleList(CELLS[config.cell](one, config.dim, batch_first=True) for one in widths)

    def forward(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch frame"] | None = None,
        visible: Visible | None = None,
        *,
        layers: int | None = None,
        point: Point = "output",
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Return the input of the first layer and the output of every layer; see `Encoder.forward`."""
        assert visible is None, "refused by the checks of a recipe"
        assert point == "output", "refused by `check_point`"
        inside = frame_mask(frames, features.shape[1])[..., None]
        x = hide(self.projection(self.feature_norm(features)), mask, self.mask_embedding, inside)
        states = [F.pad(x, (0, self.dim - x.shape[-1]))]
        for number, layer in enumerate(self.layers[:layers], 1):
            # Errors of bfloat16 would add up over the frames. Padding comes after all frames, so it does no harm.
            with torch.autocast(x.device.type, enabled=False):
                y = layer(x.float())[0]
            if number < self.num_layers or not self._projects:
                y = self.dropout(y)
            x = x + y if self._residual and (number > 1 or self._projects) else y
            states.append(x)
        return [torch.where(inside, state, 0.0) for state in states]


def build(config: Config, input_dim: int) -> GRUEncoder:
    """Make the encoder; UserError for less than one layer."""
    check_at_least(config, 1, "layers")
    for name, known in (("form", FORMS), ("cell", tuple(CELLS))):
        check_choice(name, getattr(config, name), known)
    if config.form == "frames" and input_dim > config.dim:
        raise UserError(
            f"`dim` must be at least the frontend's width {input_dim} for `form: frames`, but is {config.dim}",
            remedy=f"give dim: {input_dim} or more, or form: projected",
        )
    return GRUEncoder(config, input_dim)
