"""A projection of the mean and the deviation of a clip's frames, with an additive margin softmax.

The smallest head for verification: what the frames say of a speaker without looking at their order.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.data.frames import frame_mask
from audio_ssl.probing.heads._shared import Cosines, EmbeddingHeadBase, mean_and_deviation
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes."""

    dim: int = 256
    """Width of the vector."""

    dropout: float = 0.1
    """Before the projection."""

    scale: float = 30.0
    """Of the cosines (SUPERB: 30)."""

    margin: float = 0.2
    """Taken from the right class's cosine (SUPERB: 0.4, for a head with more layers)."""


class MeanEmbeddingHead(EmbeddingHeadBase):
    """Vectors of speakers, or speakers."""

    def __init__(self, config: Config, input_dim: int, classes: int, output: Output) -> None:
        super().__init__(classes, output, config.scale, config.margin)
        self.dropout = nn.Dropout(config.dropout)
        self.projection = nn.Linear(2 * input_dim, config.dim)
        self.cosines = Cosines(config.dim, classes)

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch wide"]:
        """Return the vectors and the cosines to the classes."""
        pooled = mean_and_deviation(features, frame_mask(frames, features.shape[1]))
        vectors = self.projection(self.dropout(pooled))
        return self.joined(vectors, self.cosines(vectors))


def build(config: Config, input_dim: int, classes: int, output: Output) -> MeanEmbeddingHead:
    """Make the head."""
    return MeanEmbeddingHead(config, input_dim, classes, output)
