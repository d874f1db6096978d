"""CTC after frame-wise layers with batch norm: the recognition head of the gender study.

Boito et al. 2022 (arXiv 2204.01397) fine-tune a model below three blocks of linear layer, batch norm, LeakyReLU and
dropout, as speechbrain's CTC recipes for mTEDx and Common Voice do. The batch norm counts the frames of clips only,
never padding, so what a batch is padded to changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import frame_mask
from audio_ssl.probing.head import CTCHeadBase
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are the recipes'."""

    dim: int = 1024
    """Width of the layers."""

    layers: int = 3
    """Blocks before the output layer."""

    dropout: float = 0.15
    """After every block but the last."""


class CTCDnnHead(CTCHeadBase):
    """Blocks of linear layer, batch norm, LeakyReLU and dropout; output layer."""

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        widths = [input_dim, *(config.dim,) * config.layers]
        self.linears = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(config.dim) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.dim, classes + 1)

    @property
    def reach_frames(self) -> int:
        """Return 0: each frame is answered by itself."""
        return 0

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Return the logits of blank and tokens; zeros past a clip's frames."""
        mask = frame_mask(frames, features.shape[1])
        x = features[mask]
        for number, (linear, norm) in enumerate(zip(self.linears, self.norms, strict=True), 1):
            x = F.leaky_relu(norm(linear(x)))
            if number < len(self.linears):
                x = self.dropout(x)
        found = self.output(x)
        logits = torch.zeros(*mask.shape, found.shape[-1], dtype=found.dtype, device=found.device)
        logits[mask] = found
        return logits


def build(config: Config, input_dim: int, classes: int, output: Output) -> CTCDnnHead:
    """Make the head; UserError for no layers."""
    if config.layers < 1:
        raise UserError(
            f"`layers` must be at least 1, but is {config.layers}",
            remedy="give 'head={kind: ctc, lstm_layers: 0}' for a linear one",
        )
    return CTCDnnHead(config, input_dim, classes)
