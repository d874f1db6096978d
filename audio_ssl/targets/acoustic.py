"""Acoustic features of one clip: log-mel, MFCC, Kaldi's MFCC, chroma, and two of them as one frame.

Windows are not centred, so that no frame looks beyond the clip; `CenteredLogMel` is the exception.

`KaldiMfcc39`: HuBERT's features of iteration 1. ``dump_mfcc_feature.py`` of fairseq (Hsu et al. 2021, arXiv 2106.07447,
section IV-B) takes ``torchaudio.compliance.kaldi.mfcc`` with ``use_energy=False`` and two ``compute_deltas``. Values
here are theirs to 1e-4, and torchaudio is not needed. Theirs come every 10 ms, differences span five of them, and
training uses every second one for frames of 20 ms: here the others are dropped at once. Left out on purpose: dither and
energy, which fairseq turns off.

`Chroma`: how much of each pitch class sounds, whatever the octave. MERT's first models (Li et al. 2023, arXiv
2306.00107, section 3.2) cluster log-mel and 264-dimensional chroma, 22 per semitone. The paper does not say from which
transform; here it is the power spectrum of long windows, folded over the octaves by Ellis' Gaussian filters (2007, the
ones of ``librosa.filters.chroma``), and each frame has unit length. A constant-Q transform would separate low notes
better at many times the cost.

`Blocks`: two features clustered as one frame, each with its share of the distances. MERT's first models have two
k-means teachers, of log-mel and of chroma; labels of both together say timbre and harmony in one code. Chroma has unit
length and log-mel hundreds of bands that vary by several units each, so a plain concatenation would be clustered by
log-mel alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.spectra import DecibelMel, MelSpectrogram, cepstra, deltas, power_spectrum


class StackedLogMel:
    """Log-mel frames, `stack` of them side by side as one; equal to the `mel` frontend's with the same `normalize`.

    Parameters
    ----------
    sample_rate
        Of the clips, in Hz.
    hop_samples
        From one spectrogram frame to the next.
    window_samples
        Of the window.
    n_mels
        Bands.
    stack
        Spectrogram frames side by side in one frame.
    normalize
        Zero mean and unit variance of each band over the clip.
    form, fft_samples
        Of the spectrogram, see `MelSpectrogram`.
    """

    def __init__(
        self,
        sample_rate: int,
        hop_samples: int,
        window_samples: int,
        n_mels: int,
        stack: int,
        normalize: bool = True,
        form: str = "plain",
        fft_samples: int | None = None,
    ) -> None:
        self._mel = MelSpectrogram(sample_rate, window_samples, hop_samples, n_mels, form=form, fft_samples=fft_samples)
        self._stack, self._normalize = stack, normalize
        self.dim = n_mels * stack
        self.grid = FrameGrid(sample_rate, hop_samples * stack, window_samples + (stack - 1) * hop_samples)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, n_mels * stack]``."""
        frames = self.grid.num_frames(len(waveform))
        if frames == 0:
            return waveform.new_zeros(0, self.dim)
        mel = self._mel.log(waveform)[: frames * self._stack]
        if self._normalize:
            mel = (mel - mel.mean(0)) * (mel.var(0, unbiased=False) + 1e-5).rsqrt()
        return mel.reshape(frames, self.dim)


class DecibelPatches:
    """Standardised decibels, `stack` frames side by side as one; what the `mel_res2d` frontend hears of a clip.

    Parameters
    ----------
    sample_rate, hop_samples, window_samples, n_mels, stack, fft_samples
        As of `StackedLogMel`.
    mean, std
        Of all values of the corpus, in dB.
    """

    def __init__(
        self,
        sample_rate: int,
        hop_samples: int,
        window_samples: int,
        n_mels: int,
        stack: int,
        mean: float,
        std: float,
        fft_samples: int | None = None,
    ) -> None:
        self._mel = DecibelMel(sample_rate, window_samples, hop_samples, n_mels, stack, mean, std, fft_samples)
        self.dim = n_mels * stack
        self.grid = FrameGrid(sample_rate, hop_samples * stack, window_samples + (stack - 1) * hop_samples, "floor")

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, n_mels * stack]``."""
        mel: Tensor = self._mel(waveform[None], torch.tensor([len(waveform)]))
        return mel.reshape(-1, self.dim)


class CenteredLogMel:
    """Log-mel frames centred on their hops, for windows much longer than a hop; the clip's edges see zeros."""

    def __init__(
        self, sample_rate: int, hop_samples: int, window_samples: int, n_mels: int, fft_samples: int | None = None
    ) -> None:
        self._mel = MelSpectrogram(sample_rate, window_samples, hop_samples, n_mels, True, fft_samples=fft_samples)
        self.dim = n_mels
        self.grid = FrameGrid(sample_rate, hop_samples, window_samples, "center")

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, n_mels]``."""
        return self._mel.log(waveform).contiguous()


class Mfcc39:
    """13 MFCCs with first and second differences, HuBERT's features of iteration 1 (Hsu et al. 2021, section IV-B)."""

    dim = 39

    def __init__(self, sample_rate: int, hop_samples: int, window_samples: int) -> None:
        self._mel = MelSpectrogram(sample_rate, window_samples, hop_samples, 23)
        self.grid = FrameGrid(sample_rate, hop_samples, window_samples)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, 39]``."""
        if self.grid.num_frames(len(waveform)) == 0:
            return waveform.new_zeros(0, self.dim)
        coefficients = cepstra(self._mel.log(waveform), 13)
        first = deltas(coefficients)
        return torch.cat([coefficients, first, deltas(first)], dim=1)


_SHIFTS_A_SECOND = 100
"""Kaldi's frames come every 10 ms whatever the label rate."""

_BANDS, _COEFFICIENTS, _LIFTER = 23, 13, 22.0
_LOWEST_HERTZ = 20.0
_PREEMPHASIS = 0.97
_WINDOW_POWER = 0.85
_FLOOR = torch.finfo(torch.float32).eps
_FRAMES_AT_ONCE = 8192


class KaldiMfcc39:
    """13 MFCCs with first and second differences every 10 ms, of which every n-th is given.

    Parameters
    ----------
    sample_rate
        Of the clips, in Hz; a multiple of 100.
    hop_samples
        From one frame that is given to the next: a multiple of 10 ms.
    window_samples
        Of one frame (Kaldi: 25 ms).

    Raises
    ------
    UserError
        If the hop is no multiple of 10 ms.
    """

    dim = 3 * _COEFFICIENTS

    def __init__(self, sample_rate: int, hop_samples: int, window_samples: int) -> None:
        self._shift, rest = divmod(sample_rate, _SHIFTS_A_SECOND)
        if rest or hop_samples % self._shift:
            raise UserError(
                f"`hop_samples` must be a multiple of 10 ms for kaldi_mfcc, but is {hop_samples} at {sample_rate} Hz",
                remedy="take `features: mfcc`, whose frames come at any rate",
            )
        self._every = hop_samples // self._shift
        self.grid = FrameGrid(sample_rate, hop_samples, window_samples)
        self._window = torch.hann_window(window_samples, periodic=False) ** _WINDOW_POWER
        self._padded = 1 << (window_samples - 1).bit_length()
        self._filters = kaldi_mel_filters(sample_rate, self._padded, _BANDS)
        orders = torch.arange(float(_COEFFICIENTS))
        self._lifter = 1 + _LIFTER / 2 * torch.sin(math.pi / _LIFTER * orders)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, 39]``, the coefficients not scaled."""
        if self.grid.num_frames(len(waveform)) == 0:
            return waveform.new_zeros(0, self.dim)
        frames = waveform.unfold(0, self.grid.window_samples, self._shift)
        coefficients = torch.cat([self._cepstra(part) for part in torch.split(frames, _FRAMES_AT_ONCE)])
        first = deltas(coefficients)
        return torch.cat([coefficients, first, deltas(first)], dim=1)[:: self._every].contiguous()

    def _cepstra(self, frames: Float[Tensor, "frame sample"]) -> Float[Tensor, "frame coefficient"]:
        centred = frames - frames.mean(1, keepdim=True)
        # The first sample of a frame stands for the one before it.
        before = torch.cat([centred[:, :1], centred[:, :-1]], 1)
        spectrum = torch.fft.rfft((centred - _PREEMPHASIS * before) * self._window, n=self._padded)
        power = spectrum.real.square() + spectrum.imag.square()
        return cepstra((power @ self._filters.T).clamp(min=_FLOOR).log(), _COEFFICIENTS) * self._lifter


def kaldi_mel_filters(sample_rate: int, window_samples: int, bands: int) -> Float[Tensor, "band line"]:
    """Return Kaldi's filters: triangles in mel, not in hertz, from 20 Hz to half the rate.

    Parameters
    ----------
    sample_rate
        In Hz.
    window_samples
        Of the Fourier transform; it has ``window_samples // 2 + 1`` lines, of which the last is not used.
    bands
        Number of filters.
    """
    lowest, highest = (_mel(torch.tensor(hertz)) for hertz in (_LOWEST_HERTZ, sample_rate / 2))
    step = (highest - lowest) / (bands + 1)
    left = lowest + torch.arange(float(bands))[:, None] * step
    lines = _mel(sample_rate / window_samples * torch.arange(float(window_samples // 2)))
    inside = torch.minimum((lines - left) / step, (left + 2 * step - lines) / step).clamp(min=0)
    return torch.nn.functional.pad(inside, (0, 1))


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log(1.0 + hertz / 700.0)


_SILENCE = 1e-8
"""Frames with less energy in their chroma than this are zero instead of noise of unit length."""

_CENTER_OCTAVE, _OCTAVE_WIDTH = 5.0, 2.0
"""Octaves above A0 that count most, and the width of the Gaussian around them (Ellis, librosa)."""


class Chroma:
    """Chroma frames centred on their hops; the clip's edges see zeros."""

    def __init__(self, sample_rate: int, hop_samples: int, window_samples: int, bins: int) -> None:
        self._hop = hop_samples
        self._window = torch.hann_window(window_samples)
        self._filters = chroma_filters(sample_rate, window_samples, bins)
        self.dim = bins
        self.grid = FrameGrid(sample_rate, hop_samples, window_samples, "center")

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, bin]`` from C upwards, each frame of unit length, zero in silence."""
        power = power_spectrum(waveform, self._window, self._hop, center=True)
        chroma = power.T @ self._filters
        length = chroma.norm(dim=1, keepdim=True)
        return torch.where(length > _SILENCE, chroma / length.clamp(min=_SILENCE), 0.0)


def chroma_filters(sample_rate: int, window_samples: int, bins: int) -> Float[Tensor, "line bin"]:
    """Return the weights from spectral lines to pitch classes, from C upwards at A = 440 Hz.

    Parameters
    ----------
    sample_rate
        In Hz.
    window_samples
        Of the Fourier transform; it has ``window_samples // 2 + 1`` lines.
    bins
        Pitch classes; a multiple of 12 puts one on each semitone.
    """
    hertz = np.arange(1, window_samples) * (sample_rate / window_samples)
    place = bins * np.log2(hertz / 27.5)
    # 0 Hz is put an octave and a half below the first line.
    place = np.concatenate([[place[0] - 1.5 * bins], place])
    width = np.concatenate([np.maximum(np.diff(place), 1.0), [1.0]])[: window_samples // 2 + 1, None]
    place = place[: window_samples // 2 + 1, None]
    half = round(bins / 2)
    away = np.remainder(place - np.arange(bins) + half, bins) - half
    weights = np.exp(-0.5 * (2 * away / width) ** 2)
    weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    weights *= np.exp(-0.5 * ((place / bins - _CENTER_OCTAVE) / _OCTAVE_WIDTH) ** 2)
    return torch.from_numpy(np.roll(weights, -3 * (bins // 12), axis=1).astype(np.float32))


class FramesOf(Protocol):
    """Features of one clip."""

    grid: FrameGrid
    dim: int

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return the frames of one whole clip."""
        ...


class Blocks:
    """Features side by side; all are centred on the same hops, so they have as many frames.

    Parameters
    ----------
    blocks
        The kinds, in order.
    """

    def __init__(self, blocks: Sequence[FramesOf]) -> None:
        self._blocks = tuple(blocks)
        self.dims = [block.dim for block in blocks]
        self.dim = sum(self.dims)
        self.grid = max((block.grid for block in blocks), key=lambda grid: grid.window_samples)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return the frames of one whole clip."""
        return torch.cat([block(waveform) for block in self._blocks], 1)


def scaling(
    kinds: Sequence[str],
    dims: Sequence[int],
    mean: Float[Tensor, " dim"],
    variance: Float[Tensor, " dim"],
    standardize: bool,
    second_share: float,
) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
    """Return the offset that is subtracted from features before they are clustered, and the factor after it.

    Parameters
    ----------
    kinds, dims
        Of each block.
    mean, variance
        Of each feature over the corpus.
    standardize
        Give each feature zero mean and unit variance; never chroma, whose unit length makes frames of any loudness
        alike.
    second_share
        Of the variance, where there are two blocks; both together then have variance 1.

    Examples
    --------
    >>> variance = torch.tensor([1.0, 3.0, 100.0])
    >>> _, scale = scaling(["logmel", "chroma"], [2, 1], torch.zeros(3), variance, False, 0.5)
    >>> [round(float(one), 3) for one in scale.square() * variance]
    [0.125, 0.375, 0.5]
    """
    shares = (1.0,) if len(kinds) == 1 else (1 - second_share, second_share)
    means, scales = [], []
    blocks = zip(kinds, torch.split(mean, list(dims)), torch.split(variance, list(dims)), shares, strict=True)
    for kind, own_mean, own_variance, share in blocks:
        scaled = standardize and kind != "chroma"
        means.append(own_mean if scaled else torch.zeros_like(own_mean))
        scale = (own_variance + 1e-8).rsqrt() if scaled else torch.ones_like(own_variance)
        if len(kinds) > 1:
            scale = scale * (share / (scale.square() * own_variance).sum().clamp(min=1e-12)).sqrt()
        scales.append(scale)
    return torch.cat(means), torch.cat(scales)
