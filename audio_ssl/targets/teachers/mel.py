"""Log-mel frames as targets: for autoregressive prediction (APC) and for reconstruction (Mockingjay, TERA).

APC: Chung et al. 2019 (arXiv 1904.03240); Mockingjay: Liu et al. 2019 (arXiv 1910.12638). The frames are those of the
`mel` frontend with the same settings, each band with zero mean and unit variance over the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import check_at_least
from audio_ssl.base.versions import added
from audio_ssl.models.interfaces import MelSettings
from audio_ssl.models.spectra import hop_and_window
from audio_ssl.targets.acoustic import StackedLogMel
from audio_ssl.targets.spec import TargetSpec, TeacherTraits, fingerprint_of


@dataclass(frozen=True)
class Config:
    """Spectrogram and stacking; the defaults are those of the `mel` frontend."""

    n_mels: int = 80
    """Mel bands (APC: 80)."""

    window_seconds: float = 0.025
    """Length of the analysis window (APC: 25 ms)."""

    hop_seconds: float = 0.01
    """From one spectrogram frame to the next (APC: 10 ms)."""

    stack: int = 4
    """Spectrogram frames side by side in one target; equal to the mel frontend's (APC: 1)."""

    fft_samples: int | None = added(None)
    """Length of the Fourier transform: longer than the window where many bands would have no spectral line between
    them; null: the window's."""


class MelTeacher:
    """Computes the log-mel frames of one clip."""

    def __init__(self, config: Config, sample_rate: int, device: torch.device) -> None:
        hop, window = hop_and_window(sample_rate, config.hop_seconds, config.window_seconds)
        self._mel = StackedLogMel(sample_rate, hop, window, config.n_mels, config.stack, fft_samples=config.fft_samples)
        self._device = device
        self.spec = TargetSpec("values", self._mel.dim, None, self._mel.grid)
        self.fingerprint = fingerprint_of(config, {"sample_rate": torch.tensor(sample_rate)})

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame bin"]:
        """Return ``[frame, n_mels * stack]`` of one whole clip, float32."""
        with torch.autocast("cpu", enabled=False):
            return self._mel(waveform.cpu().float()).to(self._device)


def _settings(config: Config) -> MelSettings:
    return MelSettings(config.n_mels, config.hop_seconds, config.window_seconds, config.fft_samples)


TRAITS = TeacherTraits(mel=_settings)


def build(config: Config, sample_rate: int, device: torch.device) -> MelTeacher:
    """Make the teacher; UserError for no bands or no frames."""
    check_at_least(config, 1, "n_mels", "stack")
    return MelTeacher(config, sample_rate, device)
