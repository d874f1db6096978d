"""CTC (Graves et al. 2006): SUPERB's projection and bidirectional LSTM, or a single linear layer; greedy decoding.

Decoding is speechbrain's ``ctc_greedy_decode``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from speechbrain.decoders.ctc import ctc_greedy_decode
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from audio_ssl.probing.heads._base import Batch, Head
from audio_ssl.probing.tasks._base import Output


@dataclass(frozen=True)
class Config:
    """Sizes; SUPERB has 1024 and 2 layers of 1024."""

    projection_dim: int = 256
    """Width of the projection before the LSTM (SUPERB: 1024)."""

    lstm_layers: int = 2
    """Bidirectional layers (SUPERB: 2); 0: a linear layer on the features, nothing else."""

    lstm_dim: int = 256
    """Width of each direction (SUPERB: 1024)."""

    dropout: float = 0.2
    """Between the LSTM's layers (SUPERB: 0.2)."""


class CTCHead(Head):
    """Characters from frames; class 0 is the blank."""

    outputs: tuple[Output, ...] = ("tokens",)

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        self._recurrent = config.lstm_layers > 0
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

    def loss(self, batch: Batch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the CTC loss per character."""
        lengths = torch.tensor([len(target) for target in targets])
        logits = self._log_probabilities(batch).transpose(0, 1)
        return F.ctc_loss(logits, torch.cat(list(targets)) + 1, batch.frames, lengths, zero_infinity=False)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Tensor]:
        """Return the greedy decoding of each clip."""
        probabilities = self._log_probabilities(batch)
        # speechbrain takes lengths as shares of the longest clip.
        shares = batch.frames / batch.features.shape[1]
        decoded = ctc_greedy_decode(probabilities, shares, blank_id=0)
        return [torch.tensor(tokens, dtype=torch.long) - 1 for tokens in decoded]

    def why_not(self, frames: int, target: Tensor) -> str | None:
        """CTC needs a frame for each character, and one more between equal neighbours."""
        needed = len(target) + int((target[1:] == target[:-1]).sum())
        return None if needed <= frames else f"{len(target)} characters need {needed} frames, but there are {frames}"

    def _log_probabilities(self, batch: Batch) -> Float[Tensor, "batch frame class"]:
        x = batch.features
        if self._recurrent:
            packed = pack_padded_sequence(
                self.projection(x), batch.frames.cpu(), batch_first=True, enforce_sorted=False
            )
            x, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return F.log_softmax(self.output(x), dim=-1)


def build(config: Config, input_dim: int, classes: int) -> CTCHead:
    """Make the head."""
    return CTCHead(config, input_dim, classes)
