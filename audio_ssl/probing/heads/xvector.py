"""X-vectors with an additive margin softmax: SUPERB's head for speaker verification (Snyder et al. 2018).

Projection, five time-delay layers, mean and deviation over time, two layers; the vector is the first of these. Frames
at a clip's ends see zeros beside them, where SUPERB's layers shorten a clip by 14 frames, so that short clips can be
used. Without batch norm, as in SUPERB.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.data.frames import frame_mask
from audio_ssl.probing.heads._shared import Cosines, EmbeddingHeadBase, mean_and_deviation
from audio_ssl.probing.task import Output

_KERNELS_AND_DILATIONS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are SUPERB's."""

    dim: int = 512
    """Width of the projection, the layers and the vector."""

    pooled_dim: int = 1500
    """Width of the last time-delay layer."""

    scale: float = 30.0
    """Of the cosines."""

    margin: float = 0.4
    """Taken from the right class's cosine."""


class XVectorHead(EmbeddingHeadBase):
    """Vectors of speakers, or speakers."""

    def __init__(self, config: Config, input_dim: int, classes: int, output: Output) -> None:
        super().__init__(classes, output, config.scale, config.margin)
        self.projection = nn.Linear(input_dim, config.dim)
        widths = [config.dim] * len(_KERNELS_AND_DILATIONS) + [config.pooled_dim]
        self.layers = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], kernel, padding=kernel // 2 * dilation, dilation=dilation)
            for i, (kernel, dilation) in enumerate(_KERNELS_AND_DILATIONS)
        )
        self.first, self.second = nn.Linear(2 * config.pooled_dim, config.dim), nn.Linear(config.dim, config.dim)
        self.cosines = Cosines(config.dim, classes)

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch wide"]:
        """Return the vectors and the cosines to the classes."""
        mask = frame_mask(frames, features.shape[1])
        x = self.projection(features).transpose(1, 2)
        for layer in self.layers:
            # Padding is zero before each layer, so that a clip's frames do not see it.
            x = F.relu(layer(torch.where(mask[:, None], x, 0.0)))
        vectors = F.relu(self.first(mean_and_deviation(x.transpose(1, 2), mask)))
        return self.joined(vectors, self.cosines(F.relu(self.second(vectors))))


def build(config: Config, input_dim: int, classes: int, output: Output) -> XVectorHead:
    """Make the head."""
    return XVectorHead(config, input_dim, classes, output)
