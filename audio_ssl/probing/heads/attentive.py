"""Learned attention over a clip's frames, then one linear layer, for classes and for tags (Lin et al. 2017).

Layers are mixed by learned weights; ``audio-ssl extract --layers RESULT --pool attentive`` gives the vectors that this
head sees; with `mean_and_deviation` the weighted deviation stands beside it (Okabe et al. 2018, arXiv 1803.10963),
which `extract` leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.data.frames import frame_mask
from audio_ssl.features.pooling import AttentionPooling
from audio_ssl.probing.head import Head
from audio_ssl.probing.heads._shared import OUTPUTS, clip_losses, mean_and_deviation
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes."""

    hidden_dim: int = 128
    """Width of the layer that scores frames (ECAPA-TDNN, Desplanques et al. 2020: 128)."""

    dropout: float = 0.2
    """Before the output layer."""

    statistics: bool = False
    """Pool the deviation, too, with the same weights."""


class AttentiveHead(Head):
    """Scores of classes (softmax), scores of tags (sigmoid), or values."""

    outputs: tuple[Output, ...] = OUTPUTS
    needs_frames = True
    stackable = True

    def __init__(self, config: Config, input_dim: int, classes: int, output: Output) -> None:
        super().__init__()
        self._values = output == "values"
        self.attention = AttentionPooling(input_dim, config.hidden_dim)
        self._statistics = config.statistics
        width = 2 * input_dim if config.statistics else input_dim
        self.output = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, classes))

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch class"]:
        """Return the scores (logits) or values of each clip."""
        mask = frame_mask(frames, features.shape[1])
        if not self._statistics:
            return cast(Tensor, self.output(self.attention(features, mask)))
        weights = self.attention.scores(features).masked_fill(~mask, float("-inf")).softmax(-1)
        return cast(Tensor, self.output(mean_and_deviation(features, mask, weights)))

    def losses(self, outputs: Tensor, frames: Tensor, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return cross-entropy for classes, binary cross-entropy for tags, squared error for values."""
        return clip_losses(outputs, targets, self._values)


def build(config: Config, input_dim: int, classes: int, output: Output) -> AttentiveHead:
    """Make the head."""
    return AttentiveHead(config, input_dim, classes, output)
