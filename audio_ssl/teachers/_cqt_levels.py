"""The arithmetic of the CQT teacher: kernels, and blocks of frames by FFT, small matrix products and inverse FFT.

A frame every `hop` samples is wanted, not a value at every sample. So the spectrum of a block of ``columns * hop``
samples, times a kernel's, is folded to `columns` lines (decimation) and transformed back by an FFT of that length.
Folding is a sum over the `hop` rows of the spectrum: for one column and many kernels, a matrix product. Kernels are
symmetric about their middle, so their spectra are real, if the spectrum of the audio is turned by half a sample where
a kernel has an odd length. Low bins are computed at a lower rate, from a low-passed spectrum of the same blocks.
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
