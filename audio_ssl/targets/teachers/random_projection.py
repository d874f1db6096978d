"""BEST-RQ labels: a random projection of log-mel frames and the nearest of random codes.

Chiu et al. 2022 (arXiv 2202.01855).

Nothing is learned. Projection and codebooks come from a seed, Xavier and normal; the nearest normalised code is the
one with the largest dot product: a matrix product in tiles of fixed size, where a broadcast distance would hold
frames x codes x dims, 3 GB for five minutes at 25 frames/s.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.base.errors import check_at_least, check_choice
from audio_ssl.base.versions import added
from audio_ssl.models.interfaces import MelSettings
from audio_ssl.models.spectra import FORMS, hop_and_window
from audio_ssl.targets.acoustic import StackedLogMel
from audio_ssl.targets.clustering import nearest
from audio_ssl.targets.spec import TargetSpec, TeacherTraits, fingerprint_of


@dataclass(frozen=True)
class Config:
    """Frames, projection and codes; the defaults are BEST-RQ's."""

    n_mels: int = 80
    """Mel bands (BEST-RQ: 80)."""

    hop_seconds: float = 0.01
    """From one spectrogram frame to the next."""

    window_seconds: float = 0.025
    """Length of the analysis window."""

    stack: int = 4
    """Spectrogram frames of one label; equal to the mel frontend's."""

    codebooks: int = 1
    """Independent quantisers (BEST-RQ: 1; NEST and k2SSL use several)."""

    codebook_size: int = 8192
    """Codes of a codebook (BEST-RQ: 8192)."""

    code_dim: int = 16
    """Dimension after the projection (BEST-RQ: 16)."""

    seed: int = 0
    """Of projection and codes."""

    form: str = added("plain")
    """Of the spectrogram, equal to the mel frontend's: ``plain`` or ``speechbrain``."""

    fft_samples: int | None = added(None)
    """Length of the Fourier transform: longer than the window where many bands would have no spectral line between
    them; null: the window's."""


class RandomProjectionTeacher:
    """Labels one clip."""

    def __init__(self, config: Config, sample_rate: int, device: torch.device) -> None:
        hop, window = hop_and_window(sample_rate, config.hop_seconds, config.window_seconds)
        sizes = (sample_rate, hop, window, config.n_mels, config.stack)
        self._mel = StackedLogMel(*sizes, form=config.form, fft_samples=config.fft_samples)
        self.spec = TargetSpec("codes", config.codebooks, config.codebook_size, self._mel.grid)
        generator = torch.Generator().manual_seed(config.seed)
        bound = (6.0 / (self._mel.dim + config.code_dim)) ** 0.5
        shape = (config.codebooks, self._mel.dim, config.code_dim)
        self.projection = (2 * torch.rand(shape, generator=generator) - 1) * bound
        codes = torch.randn(config.codebooks, config.codebook_size, config.code_dim, generator=generator)
        self.codes = F.normalize(codes, dim=-1)
        self._device = device
        self._on_device = (self.projection.to(device), self.codes.to(device))
        self.fingerprint = fingerprint_of(config, {"projection": self.projection, "codes": self.codes})

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of one whole clip."""
        return self.quantize(self._mel(waveform.cpu().float()).to(self._device))

    def quantize(self, frames: Float[Tensor, "frame dim"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of stacked log-mel frames on the teacher's device."""
        projection, codes = self._on_device
        # The frame's own norm does not change which code is largest.
        return torch.stack([nearest(frames @ p, c)[0] for p, c in zip(projection, codes, strict=True)], dim=-1)


def _settings(config: Config) -> MelSettings:
    return MelSettings(config.n_mels, config.hop_seconds, config.window_seconds, config.fft_samples, config.form)


TRAITS = TeacherTraits(mel=_settings)


def build(config: Config, sample_rate: int, device: torch.device) -> RandomProjectionTeacher:
    """Make the teacher; UserError for empty codebooks."""
    check_at_least(config, 1, "codebooks", "codebook_size", "code_dim", "stack")
    check_choice("form", config.form, FORMS)
    return RandomProjectionTeacher(config, sample_rate, device)
