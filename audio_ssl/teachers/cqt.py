"""Constant-Q magnitudes, MERT's continuous teacher: nnAudio's CQT1992v2 at a small part of its cost.

MERT (Li et al. 2023, arXiv 2306.00107) predicts 336 bins, 48 per octave, at 24 kHz and hop 320. nnAudio applies each
kernel as a dense convolution as long as the longest one, 33 GFLOP for 5 s. Here blocks of frames are computed in the
frequency domain, the low bins at an eighth of the rate (``_cqt_levels.py``): the same numbers, to 1e-5 of a file's
maximum (``benchmarks/teachers.py`` prints error and speed).

Edges: beyond a clip are zeros, as in nnAudio with ``pad_mode="constant"``; frame *i* is centred on sample ``i * hop``,
and a clip of n samples has ``n // hop + 1`` frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.targets import TargetSpec
from audio_ssl.spectra import check_constant_q
from audio_ssl.teachers._base import fingerprint_of
from audio_ssl.teachers._cqt_levels import GROUP_BLOCKS, Decimator, Kernels, LevelBins, low_pass

_COLUMNS = 128
"""Frames of a block at the full rate: its spectrum stays in a core's cache."""

_LOW_COLUMNS = 640
"""Frames of a block at the lower rate, whose kernels are longer."""

_LOW_REACH = 100.0
"""Main-lobe widths from a kernel's frequency to the end of the lower rate's pass band; 1e-6 of it lies beyond."""

_PASS_BAND = 0.85
"""End of the pass band, as a share of half the lower rate."""


@dataclass(frozen=True)
class Config:
    """Bins and scale of the transform; the defaults are MERT's."""

    n_bins: int = 336
    """Number of bins (MERT: 7 octaves of 48)."""

    bins_per_octave: int = 48
    """Bins per octave (MERT: 48)."""

    fmin_hz: float = 32.7
    """Frequency of the lowest bin, in Hz (C1)."""

    hop_samples: int = 320
    """From one frame to the next (MERT: 320 at 24 kHz, 75 frames/s)."""

    filter_scale: float = 1.0
    """Length of the kernels relative to constant Q; below 1 is sharper in time."""

    log: bool = False
    """``log(1 + 100 x)`` of the magnitude x, which weighs soft and loud alike; MERT uses the magnitude itself."""


class CQTTeacher:
    """Computes the magnitudes of one clip.

    Parameters
    ----------
    config
        Bins and scale.
    sample_rate
        Of the clips, in Hz.
    device
        Where to compute.
    """

    def __init__(self, config: Config, sample_rate: int, device: torch.device) -> None:
        quality = config.filter_scale / (2 ** (1 / config.bins_per_octave) - 1)
        frequencies = config.fmin_hz * 2 ** (np.arange(config.n_bins) / config.bins_per_octave) / sample_rate
        kernels = Kernels(frequencies, np.ceil(quality / frequencies))
        self._log, self._hop, self._device = config.log, config.hop_samples, device
        longest = int(kernels.lengths.max())
        grid = FrameGrid(sample_rate, config.hop_samples, longest, "center")
        self.spec = TargetSpec("values", config.n_bins, None, grid)
        self.fingerprint = fingerprint_of(config, {"sample_rate": torch.tensor(sample_rate)})
        self._factor = next(factor for factor in (8, 4, 2, 1) if config.hop_samples % factor == 0)
        limit = _PASS_BAND / (2 * self._factor) / (1 + _LOW_REACH / quality)
        low = int(np.searchsorted(frequencies, limit)) if self._factor > 1 else 0
        low = low if low < config.n_bins else 0
        # Without low bins there is one level, whose blocks must hold the longest kernel.
        self._level = LevelBins(kernels, slice(low, config.n_bins), config.hop_samples, 1, _COLUMNS, device)
        self._low: LevelBins | None = None
        # Frames that the low-pass rings on, before and after a clip.
        self._ringing = 0
        if low:
            self._low = LevelBins(kernels, slice(0, low), config.hop_samples, self._factor, _LOW_COLUMNS, device)
            self._decimate = Decimator(self._factor, self._level, device)
            self._ringing = -(-(len(low_pass(self._factor)) // 2) // self._hop)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame bin"]:
        """Return ``[frame, bin]`` of one whole clip, float32."""
        frames = self.spec.grid.num_frames(len(waveform))
        # A float32 island: autocast would lose the low bins.
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            samples = waveform.to(self._device, torch.float32)
            magnitude = self._magnitude(samples, frames)
            return torch.log1p(100.0 * magnitude) if self._log else magnitude

    def _magnitude(self, samples: Tensor, frames: int) -> Tensor:
        around, low = self._ringing, 0 if self._low is None else self._low.bins
        out = samples.new_empty(frames, self.spec.width)
        low_audio, first = [], -around
        for blocks in torch.split(self._level.blocks(samples, frames + 2 * around, around), GROUP_BLOCKS):
            spectrum = torch.fft.fft(blocks)
            first = _place(out[:, low:], self._level.magnitudes(spectrum), first)
            if self._low is not None:
                low_audio.append(self._decimate(spectrum))
        if self._low is not None:
            first = -around
            for blocks in torch.split(self._low.blocks(torch.cat(low_audio), frames + 2 * around), GROUP_BLOCKS):
                first = _place(out[:, :low], self._low.magnitudes(torch.fft.fft(blocks)), first)
        return out


def _place(out: Tensor, frames: Tensor, first: int) -> int:
    """Write frames from number `first` on, as far as `out` has them; return the number after the last."""
    last = first + len(frames)
    start, end = max(first, 0), min(last, len(out))
    if start < end:
        out[start:end] = frames[start - first : end - first]
    return last


def build(config: Config, sample_rate: int, device: torch.device) -> CQTTeacher:
    """Make the teacher; UserError where the lowest bin is not above 0 Hz or the top bin above half the sample rate."""
    check_constant_q(config.n_bins, config.bins_per_octave, config.fmin_hz, sample_rate)
    return CQTTeacher(config, sample_rate, device)
