"""Constant-Q magnitudes, MERT's continuous teacher: nnAudio's CQT1992v2 at a small part of its cost.

MERT (Li et al. 2023, arXiv 2306.00107) predicts 336 bins, 48 per octave, at 24 kHz and hop 320. nnAudio applies each
kernel as a dense convolution as long as the longest one, 33 GFLOP for 5 s. A constant-Q kernel is narrow in
frequency, so here one FFT of a block is multiplied with the few spectral lines of each kernel, folded to the hop rate
and transformed back by a short inverse FFT: the same numbers (``benchmarks/cqt.py`` prints error and speed). Edges
see zeros, as in nnAudio with ``pad_mode="constant"``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from nnAudio.utils import create_cqt_kernels
from scipy.fft import fft, next_fast_len
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.teachers._base import fingerprint_of

_BLOCK_FRAMES = 512
"""Frames computed from one FFT; fixed, so that a clip's values do not depend on what else is computed."""

_KEEP_ABOVE = 1e-4
"""Spectral lines of a kernel below this share of its peak are left out; errors stay near 1e-4 of the maximum."""


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
        kernels, width, lengths, _ = create_cqt_kernels(
            quality, sample_rate, config.fmin_hz, config.n_bins, config.bins_per_octave, topbin_check=False
        )
        self._log, self._hop, self._device = config.log, config.hop_samples, device
        self._kernel_samples = int(width)
        grid = FrameGrid(sample_rate, config.hop_samples, self._kernel_samples, "center")
        self.spec = TargetSpec("values", config.n_bins, None, grid)
        self.fingerprint = fingerprint_of(config, {"sample_rate": torch.tensor(sample_rate)})
        # The FFT covers a block and the kernel, in a whole number of hops (folding decimates exactly) of a fast size.
        self._rate_bins = next_fast_len(_BLOCK_FRAMES + -(-self._kernel_samples // self._hop))
        scaled = kernels * np.sqrt(lengths.numpy())[:, None]
        self._bands = _bands(scaled, self._hop, self._rate_bins, config.bins_per_octave, device)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame bin"]:
        """Return ``[frame, bin]`` of one whole clip, float32."""
        frames = self.spec.grid.num_frames(len(waveform))
        half = self._kernel_samples // 2
        blocks = []
        # A float32 island: autocast would lose the low bins.
        with torch.autocast(self._device.type, enabled=False):
            samples = waveform.to(self._device, torch.float32)
            size = self._rate_bins * self._hop
            for first in range(0, frames, _BLOCK_FRAMES):
                start = first * self._hop - half
                block = samples.new_zeros(size)
                source = samples[max(start, 0) : start + size]
                offset = max(-start, 0)
                block[offset : offset + len(source)] = source
                blocks.append(self._block(block)[: frames - first])
            magnitude = torch.cat(blocks) if blocks else samples.new_zeros(0, self.spec.width)
        return torch.log1p(100.0 * magnitude) if self._log else magnitude

    def _block(self, block: Float[Tensor, " sample"]) -> Float[Tensor, "frame bin"]:
        spectrum = torch.fft.fft(block).view(self._hop, self._rate_bins)
        # Line l of the spectrum folds to line l mod rate_bins: to its column here.
        folded = torch.cat([(spectrum[band.rows] * band.values).sum(1) for band in self._bands])
        magnitude: Tensor = torch.fft.ifft(folded, dim=1).abs() / self._hop
        return magnitude.T[:_BLOCK_FRAMES]


@dataclass(frozen=True)
class _Band:
    """The spectra of some kernels where they are not negligible, as rows of the folded spectrum."""

    rows: Tensor
    """``[bin, row]`` which rows of ``rate_bins`` spectral lines each kernel covers."""

    values: Tensor
    """``[bin, row, rate_bins]`` conjugate spectrum of the kernel, zero where negligible."""


def _bands(
    kernels: npt.NDArray[np.complex64], hop: int, rate_bins: int, bins_per_octave: int, device: torch.device
) -> list[_Band]:
    """Transform the kernels an octave at a time: kernels of one octave are about equally wide in frequency."""
    bands = []
    for first in range(0, len(kernels), bins_per_octave):
        spectra = np.conj(fft(kernels[first : first + bins_per_octave], n=hop * rate_bins, axis=1))
        size = np.abs(spectra)
        spectra[size < _KEEP_ABOVE * size.max(1, keepdims=True)] = 0
        by_row = spectra.reshape(len(spectra), hop, rate_bins)
        used = [np.flatnonzero(np.abs(rows).any(1)) for rows in by_row]
        width = max(len(rows) for rows in used)
        # Kernels with fewer rows are filled up with row 0 and zeros.
        rows = np.stack([np.pad(r, (0, width - len(r))) for r in used])
        values = np.take_along_axis(by_row, rows[:, :, None], axis=1)
        for index, kept in enumerate(used):
            values[index, len(kept) :] = 0
        bands.append(_Band(torch.from_numpy(rows).to(device), torch.from_numpy(values).to(device)))
    return bands


def build(config: Config, sample_rate: int, device: torch.device) -> CQTTeacher:
    """Make the teacher; UserError where the top bin lies above half the sample rate."""
    top = config.fmin_hz * 2 ** ((config.n_bins - 1) / config.bins_per_octave)
    if top > sample_rate / 2:
        raise UserError(
            f"the top bin of `n_bins` {config.n_bins} lies at {top:.0f} Hz, above half of {sample_rate} Hz",
            remedy="give fewer bins or a higher data.sample_rate",
        )
    return CQTTeacher(config, sample_rate, device)
