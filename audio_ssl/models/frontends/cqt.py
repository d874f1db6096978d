"""Constant-Q frontend: log magnitudes on a musical scale, computed in the frequency domain.

A bin's kernel is a windowed wave of a fixed number of periods (Brown 1991, JASA 89(1)); kernels and scale are those of
nnAudio's CQT1992v2 and librosa. MERT (Li et al. 2023, arXiv 2306.00107) and OMAR-RQ (Alonso-Jiménez et al. 2025, arXiv
2507.03482) predict such frames; here they are the input. A kernel is narrow in frequency: one FFT of a block is
multiplied with the few spectral lines of each kernel, folded to the hop rate and transformed back by a short inverse
FFT. Frames are centred on hops and see zeros past both ends of their clip; low bins look far (the lowest of 24 per
octave: over a second in all), so this frontend is not causal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.base.errors import check_at_least
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.interfaces import Frontend, FrontendTraits
from audio_ssl.models.normalisation import check_statistics, standardise
from audio_ssl.models.padding import HiddenNoise, frames_inside
from audio_ssl.models.spectra import check_constant_q

TRAITS = FrontendTraits()

BLOCK_FRAMES = 256
"""Frames computed from one FFT; fixed, so that a clip's values do not depend on what else is computed."""

_REACH_LINES = 15
"""Lines of a kernel's own length kept on each side of its peak; those beyond are below 1e-4 of the peak."""

_FLOOR = 1e-3
"""Added to the magnitudes before the logarithm; a full-scale sine has magnitudes above 10."""


@dataclass(frozen=True)
class Config:
    """Bins, hop and normalisation."""

    n_bins: int = 168
    """Number of bins (7 octaves of 24)."""

    bins_per_octave: int = 24
    """Bins per octave (OMAR-RQ: 24; MERT's targets: 48)."""

    fmin_hz: float = 32.7
    """Frequency of the lowest bin, in Hz (C1)."""

    hop_samples: int = 320
    """From one frame to the next (320: 50 frames/s at 16 kHz, 75 at 24 kHz)."""

    normalize: bool = True
    """Zero mean and unit variance of each bin over the clip."""

    mean: float | None = None
    """Mean of all log magnitudes of the data, in place of the clip's; null: not used."""

    std: float | None = None
    """Standard deviation of all log magnitudes of the data, with `mean`."""


class CQTFrontend(Frontend):
    """Log constant-Q magnitudes."""

    def __init__(self, config: Config, sample_rate: int) -> None:
        hop = config.hop_samples
        quality = 1.0 / (2.0 ** (1.0 / config.bins_per_octave) - 1.0)
        lengths = [ceil(quality * sample_rate / _frequency(config, number)) for number in range(config.n_bins)]
        longest = lengths[0]
        super().__init__(FrameGrid(sample_rate, hop, longest, "center"), config.n_bins)
        self._config = config
        # A block sees half a kernel more on both sides, in whole hops, so that folding decimates exactly.
        self._margin_frames = -(-(longest // 2 + 1) // hop)
        self._rate_bins = fast_length(BLOCK_FRAMES + 2 * self._margin_frames)
        self._first_rows: list[int] = []
        for first, values in _octaves(config, lengths, sample_rate, self._rate_bins):
            # Constants of the config, not weights: they are made again, never saved.
            self.register_buffer(f"_values_{len(self._first_rows)}", torch.view_as_real(values), persistent=False)
            self._first_rows.append(first)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: None = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return normalised log magnitudes, zero past each clip's frames, and the frames of each clip."""
        assert noise is None, "it takes none; refused by the checks of a recipe"
        config = self._config
        frames, total = self.grid.num_frames(lengths), self.grid.num_frames(waveform.shape[1])
        # A float32 island: autocast would lose the low bins.
        with torch.autocast(waveform.device.type, enabled=False):
            inside = frames_inside(lengths, waveform.shape[1])[..., 0]
            x = torch.log(self.magnitudes(torch.where(inside, waveform.float(), 0.0)) + _FLOOR)
            if config.mean is not None and config.std is not None:
                x = (x - config.mean) / config.std
            if config.normalize:
                x = standardise(x, frames)
        return torch.where(frames_inside(frames, total), x, 0.0), frames

    def magnitudes(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch frame bin"]:
        """Return the magnitudes of float32 waveforms, with zeros past both ends."""
        hop, size = self._config.hop_samples, self._rate_bins * self._config.hop_samples
        total = self.grid.num_frames(waveform.shape[1])
        blocks = -(-total // BLOCK_FRAMES)
        step, margin = BLOCK_FRAMES * hop, self._margin_frames * hop
        padded = F.pad(waveform, (margin, (blocks - 1) * step + size - margin - waveform.shape[1]))
        # One block after the other, so that memory does not grow with the square of anything.
        parts = [self._block(padded[:, start : start + size]) for start in range(0, blocks * step, step)]
        return torch.cat(parts, 1)[:, :total]

    def _block(self, block: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch frame bin"]:
        hop, rate_bins = self._config.hop_samples, self._rate_bins
        spectrum = torch.fft.rfft(block)
        spectrum = F.pad(spectrum, (0, -spectrum.shape[1] % rate_bins)).view(len(block), -1, rate_bins)
        # Line l of the spectrum folds to line l mod rate_bins: for each of these, a product of kernels with clips.
        lines = spectrum.permute(2, 1, 0).contiguous()
        folded = torch.cat([values @ lines[:, first : first + values.shape[2]] for first, values in self._kernels()], 1)
        magnitude = cast(Tensor, torch.fft.ifft(folded.permute(2, 1, 0), dim=2).abs() / hop)
        return magnitude[..., self._margin_frames : self._margin_frames + BLOCK_FRAMES].transpose(1, 2)

    def _kernels(self) -> Iterator[tuple[int, Tensor]]:
        for number, first in enumerate(self._first_rows):
            yield first, torch.view_as_complex(self.get_buffer(f"_values_{number}"))


def fast_length(least: int) -> int:
    """Return the next length that Fourier transforms like: its prime factors are at most 11 (scipy's `next_fast_len`).

    Importing scipy's takes longer than reading a small model.

    Examples
    --------
    >>> fast_length(284), fast_length(310)
    (288, 315)
    """
    rest = least
    for prime in (2, 3, 5, 7, 11):
        while rest % prime == 0:
            rest //= prime
    return least if rest == 1 else fast_length(least + 1)


def _octaves(config: Config, lengths: list[int], sample_rate: int, rate_bins: int) -> Iterator[tuple[int, Tensor]]:
    """Give the first row of ``rate_bins`` lines of each octave, and its kernels from there, ``[line, bin, row]``."""
    size = config.hop_samples * rate_bins
    for first in range(0, config.n_bins, config.bins_per_octave):
        spectra = []
        for number in range(first, min(first + config.bins_per_octave, config.n_bins)):
            spectra.append(_spectrum(_frequency(config, number) / sample_rate, lengths[number], size))
        row = min(line for line, _ in spectra) // rate_bins
        end = max(line + len(lines) for line, lines in spectra)
        values = np.zeros((len(spectra), -(-end // rate_bins) - row, rate_bins), np.complex64)
        for of_bin, (line, lines) in zip(values, spectra, strict=True):
            offset = line - row * rate_bins
            of_bin.reshape(-1)[offset : offset + len(lines)] = lines
        yield row, torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def _spectrum(frequency: float, length: int, size: int) -> tuple[int, npt.NDArray[np.complex128]]:
    """Return the first line and the conjugate lines of a kernel's spectrum, in closed form, where not negligible.

    The kernel is a Hann window times a wave of `frequency` cycles per sample whose phase is 0 at the sample
    ``ceil(length / 2)``, the block's sample 0; its magnitudes add up to the square root of the length, librosa's scale.
    """
    centre, reach = frequency * size, _REACH_LINES * size / length
    lines = np.arange(max(int(np.ceil(centre - reach)), 0), min(int(centre + reach), size // 2) + 1)
    # A Hann window is a constant less two waves of one period: three sums of exp(1j * angle * n) over `length` samples,
    # each sin(length * angle / 2) / sin(angle / 2) but for its phase, and all three have the same numerator.
    half, step = np.pi * (lines / size - frequency), np.pi / length
    sine, cosine, numerator = np.sin(half), np.cos(half), np.sin(length * half)
    middle = _quotient(numerator, sine, length)
    below = _quotient(numerator, sine * np.cos(step) - cosine * np.sin(step), -length)
    above = _quotient(numerator, sine * np.cos(step) + cosine * np.sin(step), -length)
    window = 0.5 * middle - 0.25 * np.cos(step) * (below + above) - 0.25j * np.sin(step) * (below - above)
    # From the window's start to its middle: half a sample or a whole one is left of the phases.
    phase = cosine - 1j * sine
    return int(lines[0]), window * (phase if length % 2 == 0 else phase * phase) * (2 / np.sqrt(length))


def _quotient(
    numerator: npt.NDArray[np.float64], divisor: npt.NDArray[np.float64], limit: int
) -> npt.NDArray[np.float64]:
    """Return the quotient, and its limit where both vanish."""
    flat = np.abs(divisor) < 1e-7
    return np.asarray(np.where(flat, limit, numerator / np.where(flat, 1.0, divisor)))


def _frequency(config: Config, number: int) -> float:
    return float(config.fmin_hz * 2.0 ** (number / config.bins_per_octave))


def build(config: Config, sample_rate: int) -> CQTFrontend:
    """Make the frontend; UserError for sizes below 1 or a top bin above half the sample rate."""
    check_at_least(config, 1, "n_bins", "bins_per_octave", "hop_samples")
    check_constant_q(config.n_bins, config.bins_per_octave, config.fmin_hz, sample_rate)
    check_statistics(config.normalize, config.mean, config.std)
    return CQTFrontend(config, sample_rate)
