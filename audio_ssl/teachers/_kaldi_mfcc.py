"""Kaldi's MFCCs with their differences, HuBERT's features of iteration 1 as fairseq computes them.

``dump_mfcc_feature.py`` of fairseq (Hsu et al. 2021, arXiv 2106.07447, section IV-B) takes
``torchaudio.compliance.kaldi.mfcc`` with ``use_energy=False`` and two ``compute_deltas``; values here are theirs to
1e-4, and torchaudio is not needed. They come every 10 ms, differences span five of them, and training uses every second
one for frames of 20 ms: here the others are dropped at once. Left out on purpose: dither and energy, which fairseq
turns off.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.errors import UserError
from audio_ssl.spectra import cepstra, deltas

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
