"""Log-mel frames: 80 bands in windows of 25 ms every 20 ms."""

from __future__ import annotations

import torch
from torch import Tensor

from audio_ssl.base.catalog import load_part
from audio_ssl.data.frames import frame_mask
from audio_ssl.features.baselines._base import HOP_SAMPLES, SAMPLE_RATE, Baseline

FEATURES: tuple[str, ...] = ()

_BANDS = 80


class LogMelSource(Baseline):
    """Log-mel frames as the only layer.

    Not standardised over the clip: a head standardises every source alike.
    """

    name, dim, fingerprint = "logmel", _BANDS, "logmel-16000-80-400-320"

    def __init__(self) -> None:
        mel = load_part("frontends", "mel")
        config = mel.Config(_BANDS, 0.025, HOP_SAMPLES / SAMPLE_RATE, 1, normalize=False)
        self._frontend = mel.build(config, SAMPLE_RATE)
        self.grid = self._frontend.grid

    @torch.inference_mode()
    def __call__(
        self, waveform: Tensor, lengths: Tensor, *, top: int | None = None, statistics: object | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return log-mel frames as the only layer."""
        inside = frame_mask(lengths, waveform.shape[1])
        frames, counts = self._frontend(torch.where(inside, waveform, 0.0), lengths)
        return [frames], counts


def build(name: str, features: tuple[str, ...]) -> LogMelSource:
    """Make the source."""
    return LogMelSource()
