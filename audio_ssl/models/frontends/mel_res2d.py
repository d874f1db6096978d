"""Mel spectrogram in decibels and residual 2-D convolutions: the frontend of MusicFM and MuQ.

Won et al. 2023 (arXiv 2311.03318) and Zhu et al. 2025 (arXiv 2501.01108): 128 mel bands of 24 kHz, 100 frames a second,
by a fixed mean and deviation; two residual modules of 3 x 3 convolutions with batch norm, each of which halves time and
bands; a linear layer. 25 frames a second.

A clip's first and last windows see the clip mirrored, and the convolutions see zeros past its ends, as in a batch of
equal clips; so it is whatever else is in the batch. In training the batch norms know the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.base.versions import added
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.interfaces import Frontend, FrontendTraits, MelSettings
from audio_ssl.models.normalisation import BatchNorm, check_statistics
from audio_ssl.models.padding import HiddenNoise, frames_inside, nothing_padded
from audio_ssl.models.spectra import DecibelMel, hop_and_window

_STACK = 4
"""Spectrogram frames of one output frame: two modules of stride 2."""

_REACH = 9
"""Spectrogram frames that an output frame sees on either side of its middle: 1, 2, 2 and 4 by four convolutions."""


@dataclass(frozen=True)
class Config:
    """Spectrogram, statistics of the corpus, and sizes; the defaults are those of MuQ."""

    n_mels: int = 128
    """Mel bands, a multiple of 4 (MusicFM, MuQ: 128)."""

    window_seconds: float = 0.0853333
    """Length of the analysis window (MusicFM, MuQ: 2048 samples at 24 kHz)."""

    hop_seconds: float = 0.01
    """From one spectrogram frame to the next (MusicFM, MuQ: 240 samples at 24 kHz)."""

    mean: float = 6.768444971712967
    """Mean of all mel values of the corpus, in dB (MuQ's, of 14,282,760,192 values: 310 hours of music)."""

    std: float = 18.417922652295623
    """Their standard deviation, in dB (MuQ's)."""

    channels: int = 512
    """Channels of the convolutions (MusicFM, MuQ: 512)."""

    dim: int = 1024
    """Width of the frames, by a linear layer (MusicFM, MuQ: 1024)."""

    fft_samples: int | None = added(None)
    """Length of the Fourier transform: longer than the window where many bands would have no spectral line between
    them; null: the window's."""


class MelRes2dFrontend(Frontend):
    """Spectrogram, two residual modules, linear layer."""

    def __init__(self, config: Config, sample_rate: int) -> None:
        hop, window = hop_and_window(sample_rate, config.hop_seconds, config.window_seconds)
        grid = FrameGrid(sample_rate, _STACK * hop, window + 2 * _REACH * hop, "floor")
        super().__init__(grid, config.dim, noise_width=_STACK * config.n_mels)
        self._mel = DecibelMel(
            sample_rate, window, hop, config.n_mels, _STACK, config.mean, config.std, config.fft_samples
        )
        self.modules_2d = nn.ModuleList(Residual(inputs, config.channels) for inputs in (1, config.channels))
        self.linear = nn.Linear(config.channels * config.n_mels // 4, config.dim)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: None = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return frames, zero past each clip's, and the frames of each clip; see `Frontend.forward`."""
        frames, total = self.grid.num_frames(lengths), self.grid.num_frames(waveform.shape[1])
        mel = self._mel(waveform, lengths)
        if total == 0:
            return mel.new_zeros(len(mel), 0, self.dim), frames
        if noise is not None:
            mel = noise.put(mel)
        padded = not nothing_padded(frames == total)
        x = mel.transpose(1, 2)[:, None]
        for number, module in enumerate(self.modules_2d):
            counts = frames * (_STACK >> number)
            x = module(x, counts if padded else None)
        x = self.linear(x.permute(0, 3, 1, 2).flatten(2))
        return torch.where(frames_inside(frames, total), x, 0.0), frames


class Residual(nn.Module):
    """Two convolutions beside one, all with batch norm; time and bands are halved."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.beside = nn.Conv2d(inputs, channels, 3, stride=2, padding=1)
        self.first_norm, self.second_norm, self.beside_norm = (BatchNorm(channels) for _ in range(3))

    def forward(
        self, x: Float[Tensor, "batch input band frame"], frames: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch channel half_band half_frame"]:
        """Return half as many frames; `frames` of each clip are even, and None where nothing is padded."""
        after = None if frames is None else _inside(frames // 2, x.shape[-1] // 2)
        x = x if frames is None else torch.where(_inside(frames, x.shape[-1]), x, 0.0)
        y = F.relu(self.first_norm(self.first(x), after))
        # A clip alone sees zeros past its end at every convolution; so must it in a batch.
        y = y if after is None else torch.where(after, y, 0.0)
        y = self.second_norm(self.second(y), after)
        return F.relu(cast(Tensor, y + self.beside_norm(self.beside(x), after)))


def _inside(frames: Tensor, total: int) -> Tensor:
    return frames_inside(frames, total)[:, None].transpose(2, 3)


def _settings(config: Config) -> MelSettings:
    return MelSettings(
        config.n_mels,
        config.hop_seconds,
        config.window_seconds,
        config.fft_samples,
        mean=config.mean,
        std=config.std,
        decibels=True,
    )


TRAITS = FrontendTraits(mel=_settings)


def build(config: Config, sample_rate: int) -> MelRes2dFrontend:
    """Make the frontend; UserError for sizes that cannot be."""
    check_at_least(config, 1, "channels", "dim", "n_mels")
    if config.n_mels % 4:
        raise UserError(f"`n_mels` must be a multiple of 4, as bands are halved twice, but is {config.n_mels}")
    check_statistics(False, config.mean, config.std)
    return MelRes2dFrontend(config, sample_rate)
