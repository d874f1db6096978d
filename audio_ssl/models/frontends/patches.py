"""Patches of a log-mel spectrogram: all bands of a few frames, which may overlap; the encoder's projection embeds them.

AST (Gong et al. 2021, arXiv 2104.01778) cuts overlapping patches of 16 x 16 and gives several to one instant; Myna
(Yonay et al. 2025, arXiv 2502.12511) also cuts tall ones of all bands and 2 frames. Here patches are tall: one per
instant, so that masks, targets and features share one frame grid, as everywhere in this package.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.base.versions import added
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.frontends.mel import LogMel
from audio_ssl.models.interfaces import Frontend, FrontendTraits, MelSettings
from audio_ssl.models.normalisation import Collector, Moments, check_statistics
from audio_ssl.models.padding import HiddenNoise, frames_inside


@dataclass(frozen=True)
class Config:
    """Spectrogram, normalisation and patches."""

    n_mels: int = 128
    """Mel bands (AST, Myna: 128)."""

    window_seconds: float = 0.064
    """Length of the analysis window; shorter ones leave some of 128 bands empty without a longer `fft_samples`."""

    hop_seconds: float = 0.01
    """From one spectrogram frame to the next (AST: 0.01)."""

    patch_frames: int = 4
    """Spectrogram frames of a patch."""

    stride_frames: int = 2
    """From one patch to the next; below `patch_frames` they overlap (2 frames of 0.01 s: 50 patches/s)."""

    normalize: bool = True
    """Zero mean and unit variance of each band over the clip."""

    mean: float | None = None
    """Mean of all log-mel values of the data, in place of the clip's (AST normalises so); null: not used."""

    std: float | None = None
    """Standard deviation of all log-mel values of the data, with `mean`."""

    fft_samples: int | None = added(None)
    """Length of the Fourier transform: longer than the window where many bands would have no spectral line between
    them; null: the window's."""


class PatchFrontend(Frontend):
    """Tall patches of log-mel frames."""

    def __init__(self, config: Config, sample_rate: int) -> None:
        mel = LogMel(_settings(config), sample_rate)
        hop, window = mel.grid.hop_samples, mel.grid.window_samples
        grid = FrameGrid(sample_rate, hop * config.stride_frames, window + (config.patch_frames - 1) * hop)
        super().__init__(grid, config.n_mels * config.patch_frames)
        self._mel, self._width, self._stride = mel, config.patch_frames, config.stride_frames

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: Moments | None = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return patches, frame after frame in each, zero past each clip's, and the patches of each clip."""
        assert noise is None, "patches may overlap, so it takes none; refused by the checks of a recipe"
        frames, total = self.grid.num_frames(lengths), self.grid.num_frames(waveform.shape[1])
        mel = self._mel(waveform, self._mel.grid.num_frames(lengths), statistics)
        if total == 0:
            return mel.new_zeros(len(mel), 0, self.dim), frames
        # The count is known already; saying so lets a graph of any length be captured.
        patches = mel.unfold(1, self._width, self._stride)[:, :total].transpose(2, 3).flatten(2)
        return torch.where(frames_inside(frames, total), patches, 0.0), frames

    def collector(self) -> Collector | None:
        """Return what gathers the statistics of a waveform in pieces; None where no frame looks at the whole clip."""
        return self._mel.collector(1)


def _settings(config: Config) -> MelSettings:
    return MelSettings(
        config.n_mels,
        config.hop_seconds,
        config.window_seconds,
        config.fft_samples,
        normalize=config.normalize,
        mean=config.mean,
        std=config.std,
    )


TRAITS = FrontendTraits(mel=_settings)


def build(config: Config, sample_rate: int) -> PatchFrontend:
    """Make the frontend; UserError where the sizes make no patches."""
    if not 1 <= config.stride_frames <= config.patch_frames:
        raise UserError(
            f"`stride_frames` must be between 1 and `patch_frames` {config.patch_frames}, but is {config.stride_frames}"
        )
    check_statistics(config.normalize, config.mean, config.std)
    return PatchFrontend(config, sample_rate)
