"""Chroma of one clip: how much of each pitch class sounds, whatever the octave.

MERT's first models (Li et al. 2023, arXiv 2306.00107, section 3.2) cluster log-mel and 264-dimensional chroma, 22 per
semitone. The paper does not say from which transform; here it is the power spectrum of long windows, folded over the
octaves by Ellis' Gaussian filters (2007, the ones of ``librosa.filters.chroma``), and each frame has unit length. A
constant-Q transform would separate low notes better at many times the cost.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.spectra import power_spectrum

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
