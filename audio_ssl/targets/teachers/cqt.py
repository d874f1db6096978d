"""Constant-Q magnitudes, MERT's continuous teacher: nnAudio's CQT1992v2 at a small part of its cost.

MERT (Li et al. 2023, arXiv 2306.00107) predicts 336 bins, 48 per octave, at 24 kHz and hop 320. nnAudio applies each
kernel as a dense convolution as long as the longest one, 33 GFLOP for 5 s. Here blocks of frames are computed in the
frequency domain, the low bins at an eighth of the rate: the same numbers, to 1e-5 of a file's
maximum (``benchmarks/teachers.py`` prints error and speed).

Edges: beyond a clip are zeros, as in nnAudio with ``pad_mode="constant"``; frame *i* is centred on sample ``i * hop``,
and a clip of n samples has ``n // hop + 1`` frames.

The arithmetic is an FFT of a block, small matrix products and an inverse FFT. A frame every `hop` samples is wanted,
not a value at every sample. So the spectrum of a block of ``columns * hop`` samples, times a kernel's, is folded to
`columns` lines (decimation) and transformed back by an FFT of that length. Folding is a sum over the `hop` rows of the
spectrum: for one column and many kernels, a matrix product. Kernels are symmetric about their middle, so their spectra
are real, if the spectrum of the audio is turned by half a sample where a kernel has an odd length. Low bins are
computed at a lower rate, from a low-passed spectrum of the same blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy.fft import fft, next_fast_len
from scipy.signal import firwin, kaiser_atten, kaiser_beta
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.spectra import check_constant_q
from audio_ssl.targets.spec import TargetSpec, TeacherTraits, fingerprint_of

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


TRAITS = TeacherTraits()


def build(config: Config, sample_rate: int, device: torch.device) -> CQTTeacher:
    """Make the teacher; UserError where the lowest bin is not above 0 Hz or the top bin above half the sample rate."""
    check_constant_q(config.n_bins, config.bins_per_octave, config.fmin_hz, sample_rate)
    return CQTTeacher(config, sample_rate, device)


Array = npt.NDArray[np.float64]

_KEEP_ABOVE = 2e-7
"""Spectral lines of a kernel below this share of its peak are left out: 117 main-lobe widths from it on."""

GROUP_BLOCKS = 8
"""Blocks computed at a time: bounds the memory, and each product has many rows."""

_BAND_BINS = 48
"""Bins of one product; their kernels are about equally wide in frequency."""

_MOST = 8
"""The largest decimation."""

_STOP_DECIBEL = 130.0
"""Attenuation of the low-pass in front of a lower rate."""

_PASS, _STOP = 0.85, 1.15
"""Edges of that low-pass, as shares of half the lower rate."""


@dataclass(frozen=True)
class Kernels:
    """Hann-windowed complex exponentials of constant Q, scaled as librosa and nnAudio do."""

    frequencies: Array
    """``[bin]``, in cycles per sample."""

    lengths: Array
    """``[bin]``, in whole samples; an odd kernel's middle lies half a sample before the frame's."""

    def spectra(self, bins: slice, decimation: int, lines: npt.NDArray[np.int64]) -> Array:
        """Return the real spectra ``[bin, line]`` of kernels sampled every `decimation` samples.

        `lines` are all lines of a spectrum of ``len(lines)``, in any order, from minus to plus half their number.
        """
        rows, size = [], len(lines)
        for frequency, length in zip(self.frequencies[bins], self.lengths[bins], strict=True):
            shift = 0.5 * (length % 2)
            reach = int(length / 2 // decimation) + 1
            steps = np.arange(-reach, reach + 1)
            moment = steps * decimation + shift
            window = np.where(np.abs(moment) < length / 2, 1 + np.cos(2 * np.pi * moment / length), 0.0)
            kernel = np.zeros(size, np.complex128)
            kernel[steps] = window * np.exp(2j * np.pi * frequency * moment) * (decimation / np.sqrt(length))
            turned = fft(kernel)[lines % size]
            if shift:
                turned *= np.exp(-2j * np.pi * shift / (size * decimation) * lines)
            rows.append(turned.real)
        return np.stack(rows)


def low_pass(decimation: int) -> Array:
    """Return the taps, an odd number, of the filter before taking every `decimation`-th sample."""
    width = (_STOP - _PASS) / decimation
    taps = int(np.ceil((_STOP_DECIBEL - 7.95) / (2.285 * np.pi * width))) | 1
    assert kaiser_atten(taps, width) >= _STOP_DECIBEL - 1
    filtered: Array = firwin(taps, 1 / decimation, window=("kaiser", kaiser_beta(_STOP_DECIBEL)))
    return filtered


@dataclass(frozen=True)
class _Band:
    """Some kernels of one parity: the rows of the spectrum that they cover, and their spectra there."""

    bins: npt.NDArray[np.int64]
    odd: int
    rows: slice
    weights: Tensor  # [column, row, bin]


class LevelBins:
    """Computes some bins from audio at one rate.

    Parameters
    ----------
    kernels
        All kernels.
    bins
        Which of them.
    hop
        Samples from frame to frame at the full rate.
    decimation
        Full rate over this level's; divides `hop`.
    columns
        At least so many frames are transformed at a time.
    device
        Where to compute.
    """

    def __init__(
        self, kernels: Kernels, bins: slice, hop: int, decimation: int, columns: int, device: torch.device
    ) -> None:
        self.hop, self._rows = hop, hop // decimation
        # The blocks of a level are also what a lower one is filtered from.
        longest = max(float(kernels.lengths[bins].max()), len(low_pass(_MOST)))
        self.margin = int(np.ceil(longest / 2 / hop)) + 1
        # An even number, so that the spectrum has two halves.
        self._columns: int = 2 * next_fast_len(max(columns, 4 * self.margin) // 2)
        self.useful = self._columns - 2 * self.margin
        size = self.block_samples
        # Rows of the spectrum from the most negative frequency up: what a kernel covers is then one range.
        lines = np.arange(size) - self._rows // 2 * self._columns
        # Of an odd number of rows the last begins positive and ends negative.
        lines = (lines + size // 2) % size - size // 2
        self._bands = self._split(kernels, range(len(kernels.lengths))[bins], decimation, lines, device)
        turn = np.exp(-1j * np.pi / (size * decimation) * lines).astype(np.complex64)
        self._turn = torch.from_numpy(turn).view(self._rows, self._columns).to(device)
        order = np.concatenate([band.bins for band in self._bands])
        self._order = torch.from_numpy(np.argsort(order)).to(device)
        self.bins = len(order)

    def _split(
        self, kernels: Kernels, bins: range, decimation: int, lines: npt.NDArray[np.int64], device: torch.device
    ) -> list[_Band]:
        bands = []
        size = len(lines)
        undone = _response(low_pass(decimation), size * decimation)[lines] if decimation > 1 else 1.0
        for first in range(bins.start, bins.stop, _BAND_BINS):
            some = slice(first, min(first + _BAND_BINS, bins.stop))
            # All at once, the spectra of many long kernels would be gigabytes.
            spectra = (kernels.spectra(some, decimation, lines) / undone).reshape(-1, self._rows, self._columns)
            for odd in (0, 1):
                chosen = np.flatnonzero(kernels.lengths[some] % 2 == odd)
                if not len(chosen):
                    continue
                height = np.abs(spectra[chosen])
                used = np.flatnonzero((height > _KEEP_ABOVE * height.max((1, 2), keepdims=True)).any((0, 2)))
                rows = slice(int(used[0]), int(used[-1]) + 1)
                weights = np.ascontiguousarray(spectra[chosen][:, rows].transpose(2, 1, 0).astype(np.float32))
                bands.append(_Band(chosen + first, odd, rows, torch.from_numpy(weights).to(device)))
        return bands

    @property
    def block_samples(self) -> int:
        """Samples of one block at this level's rate."""
        return self._rows * self._columns

    def blocks(self, samples: Float[Tensor, " sample"], frames: int, lead: int = 0) -> Float[Tensor, "block sample"]:
        """Cut audio into overlapping blocks for `frames` frames; zeros around it, its sample 0 amid frame `lead`."""
        count = -(-frames // self.useful)
        before, step = (self.margin + lead) * self._rows, self.useful * self._rows
        total = (count - 1) * step + self.block_samples
        padded = F.pad(samples[: max(total - before, 0)], (before, max(total - before - len(samples), 0)))
        return padded.unfold(0, self.block_samples, step)

    def magnitudes(self, spectrum: Float[Tensor, "block line"]) -> Float[Tensor, "frame bin"]:
        """Return the frames of some blocks, given their spectra."""
        blocks, negative = len(spectrum), self._rows // 2
        rows = spectrum.view(blocks, self._rows, self._columns)
        pieces = (
            (rows[:, self._rows - negative :], slice(0, negative)),
            (rows[:, : self._rows - negative], slice(negative, self._rows)),
        )
        # [column, part, block, row], as they lie and turned by half a sample
        sides = spectrum.real.new_empty(2, self._columns, 2, blocks, self._rows)
        for piece, place in pieces:
            sides[0, ..., place] = torch.view_as_real(piece).permute(2, 3, 0, 1)
            sides[1, ..., place] = torch.view_as_real(piece * self._turn[place]).permute(2, 3, 0, 1)
        sides = sides.view(2, self._columns, 2 * blocks, self._rows)
        products = [torch.bmm(sides[band.odd][:, :, band.rows], band.weights) for band in self._bands]
        parts = torch.cat(products, 2).view(self._columns, 2, blocks, -1)
        frames = torch.fft.ifft(torch.complex(parts[:, 0], parts[:, 1]), dim=0)
        # The sum over lines is over rows and columns, the inverse FFT divides by the columns alone.
        useful: Tensor = frames[self.margin : self.margin + self.useful].abs() / self._rows
        return useful.transpose(0, 1).flatten(0, 1)[:, self._order]


def _response(taps: Array, size: int) -> Array:
    padded = np.zeros(size)
    padded[np.arange(len(taps)) - len(taps) // 2] = taps
    response: Array = fft(padded).real
    return response


class Decimator:
    """Takes every n-th sample of the low-passed blocks of a level, from their spectra."""

    def __init__(self, decimation: int, level: LevelBins, device: torch.device) -> None:
        self._factor, self._level = decimation, level
        response = _response(low_pass(decimation), level.block_samples).astype(np.float32)
        self._response = torch.from_numpy(response).to(device)

    def __call__(self, spectrum: Float[Tensor, "block line"]) -> Float[Tensor, " sample"]:
        """Return the audio of the blocks' useful frames, one block after another, at the lower rate."""
        folded = (spectrum * self._response).view(len(spectrum), self._factor, -1).sum(1)
        rows = self._level.hop // self._factor
        start, count = self._level.margin * rows, self._level.useful * rows
        audio: Tensor = torch.fft.ifft(folded).real / self._factor
        return audio[:, start : start + count].flatten()
