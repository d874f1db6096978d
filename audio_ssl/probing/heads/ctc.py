"""CTC after SUPERB's projection and bidirectional LSTM (Yang et al. 2021), or after linear layers alone.

Recurrent layers are slow on CPUs with several threads; `ctc_conv` is the head for those.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from audio_ssl.probing.head import CTCHeadBase, masked
from audio_ssl.probing.task import Output


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are SUPERB's."""

    projection_dim: int | None = None
    """Width of the projection that comes first (SUPERB's phones: 256). Left out: 1024 before an LSTM, none without."""

    lstm_layers: int = 2
    """Bidirectional layers; 0: linear layers alone."""

    lstm_dim: int = 1024
    """Width of each direction."""

    dropout: float = 0.2
    """After each of the LSTM's layers."""

    specaugment: bool = False
    """Hide stretches of time and bands of dimensions in training (SUPERB's recognition and slots: true)."""

    time_masks: int = 2
    """Stretches of a clip (with `specaugment`)."""

    time_mask_frames: int = 40
    """Longest stretch."""

    dim_masks: int = 4
    """Bands of a clip."""

    dim_mask_width: int = 50
    """Widest band."""


class CTCHead(CTCHeadBase):
    """Projection, bidirectional LSTM, output layer."""

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        self._config = config
        self._recurrent = config.lstm_layers > 0
        self.stackable = not self._recurrent
        width = config.projection_dim or (1024 if self._recurrent else 0)
        self.projection = nn.Linear(input_dim, width) if width else nn.Identity()
        width = width or input_dim
        if self._recurrent:
            self.lstm = nn.LSTM(
                width,
                config.lstm_dim,
                config.lstm_layers,
                batch_first=True,
                bidirectional=True,
                dropout=config.dropout if config.lstm_layers > 1 else 0.0,
            )
            self.dropout = nn.Dropout(config.dropout)
            width = 2 * config.lstm_dim
        self.output = nn.Linear(width, classes + 1)

    @property
    def reach_frames(self) -> int | None:
        """Return 0 for linear layers, None for an LSTM, which sees the whole clip."""
        return None if self._recurrent else 0

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Return the logits of blank and tokens."""
        config, x = self._config, features
        if config.specaugment and self.training:
            time, dims = (config.time_masks, config.time_mask_frames), (config.dim_masks, config.dim_mask_width)
            x = masked(x, frames, time, dims)
        x = self.projection(x)
        if self._recurrent:
            packed = pack_padded_sequence(x, frames.cpu(), batch_first=True, enforce_sorted=False)
            x, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
            x = self.dropout(x)
        logits: Tensor = self.output(x)
        return logits

    def linear_layers(self) -> tuple[nn.Linear, ...] | None:
        """Return projection and output layer, where there is no LSTM."""
        first = (self.projection,) if isinstance(self.projection, nn.Linear) else ()
        return None if self._recurrent else (*first, self.output)


def build(config: Config, input_dim: int, classes: int, output: Output) -> CTCHead:
    """Make the head."""
    return CTCHead(config, input_dim, classes)
