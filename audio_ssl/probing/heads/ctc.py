"""CTC after SUPERB's projection and bidirectional LSTM (Yang et al. 2021), or after a single linear layer.

Recurrent layers are slow on CPUs with several threads; `ctc_conv` is the head for those.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from audio_ssl.probing.heads._ctc import CTCBase
from audio_ssl.probing.tasks._base import Output


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are SUPERB's."""

    projection_dim: int = 1024
    """Width of the projection before the LSTM."""

    lstm_layers: int = 2
    """Bidirectional layers; 0: a linear layer on the features, nothing else."""

    lstm_dim: int = 1024
    """Width of each direction."""

    dropout: float = 0.2
    """Between the LSTM's layers."""


class CTCHead(CTCBase):
    """Projection, bidirectional LSTM, output layer."""

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        self._recurrent = config.lstm_layers > 0
        self.stackable = not self._recurrent
        width = input_dim
        if self._recurrent:
            self.projection = nn.Linear(input_dim, config.projection_dim)
            self.lstm = nn.LSTM(
                config.projection_dim,
                config.lstm_dim,
                config.lstm_layers,
                batch_first=True,
                bidirectional=True,
                dropout=config.dropout if config.lstm_layers > 1 else 0.0,
            )
            width = 2 * config.lstm_dim
        self.output = nn.Linear(width, classes + 1)

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Return the logits of blank and tokens."""
        x = features
        if self._recurrent:
            packed = pack_padded_sequence(self.projection(x), frames.cpu(), batch_first=True, enforce_sorted=False)
            x, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        logits: Tensor = self.output(x)
        return logits


def build(config: Config, input_dim: int, classes: int, output: Output) -> CTCHead:
    """Make the head."""
    return CTCHead(config, input_dim, classes)
