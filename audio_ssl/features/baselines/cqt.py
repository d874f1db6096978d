"""Log constant-Q frames: 84 bins, 12 per octave from C1, every 20 ms."""

from __future__ import annotations

import torch
from torch import Tensor

from audio_ssl.base.catalog import load_part
from audio_ssl.features.baselines._base import HOP_SAMPLES, SAMPLE_RATE, Baseline

FEATURES: tuple[str, ...] = ()


class CqtSource(Baseline):
    """Log constant-Q frames as the only layer."""

    name, dim = "cqt", 84

    def __init__(self) -> None:
        cqt = load_part("teachers", "cqt")
        config = cqt.Config(n_bins=self.dim, bins_per_octave=12, hop_samples=HOP_SAMPLES, log=True)
        self._teacher = cqt.build(config, SAMPLE_RATE, self.device)
        self.grid, self.fingerprint = self._teacher.spec.grid, self._teacher.fingerprint

    @torch.inference_mode()
    def __call__(
        self, waveform: Tensor, lengths: Tensor, *, top: int | None = None, statistics: object | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return CQT frames as the only layer; clips are transformed one by one, so none sees another's padding."""
        clips = [self._teacher(row[: int(n)]) for row, n in zip(waveform, lengths, strict=True)]
        counts = torch.tensor([len(clip) for clip in clips])
        return [torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)], counts


def build(name: str, features: tuple[str, ...]) -> CqtSource:
    """Make the source."""
    return CqtSource()
