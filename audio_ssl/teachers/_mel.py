"""Log-mel and MFCC of one clip, by torchaudio; not centred, so that no frame looks beyond the clip, but for one."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor
from torchaudio.functional import compute_deltas, melscale_fbanks
from torchaudio.transforms import MFCC, MelSpectrogram

from audio_ssl.data.frames import FrameGrid
from audio_ssl.errors import UserError

_FLOOR = 1e-6


class LogMel:
    """Log-mel frames, `stack` of them side by side as one; equal to the `mel` frontend's with the same `normalize`.

    Parameters
    ----------
    sample_rate
        Of the clips, in Hz.
    hop_samples
        From one spectrogram frame to the next.
    window_samples
        Of the Fourier transform.
    n_mels
        Bands.
    stack
        Spectrogram frames side by side in one frame.
    normalize
        Zero mean and unit variance of each band over the clip.
    """

    def __init__(
        self, sample_rate: int, hop_samples: int, window_samples: int, n_mels: int, stack: int, normalize: bool = True
    ) -> None:
        self._mel = MelSpectrogram(
            sample_rate, n_fft=window_samples, hop_length=hop_samples, n_mels=n_mels, center=False
        )
        self._stack, self._normalize = stack, normalize
        self.dim = n_mels * stack
        self.grid = FrameGrid(sample_rate, hop_samples * stack, window_samples + (stack - 1) * hop_samples)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, n_mels * stack]``."""
        frames = self.grid.num_frames(len(waveform))
        if frames == 0:
            return waveform.new_zeros(0, self.dim)
        mel = torch.log(self._mel(waveform) + _FLOOR).T[: frames * self._stack]
        if self._normalize:
            mel = (mel - mel.mean(0)) * (mel.var(0, unbiased=False) + 1e-5).rsqrt()
        return mel.reshape(frames, self.dim)


class CenteredLogMel:
    """Log-mel frames centred on their hops, for windows much longer than a hop; the clip's edges see zeros."""

    def __init__(self, sample_rate: int, hop_samples: int, window_samples: int, n_mels: int) -> None:
        self._mel = MelSpectrogram(
            sample_rate, n_fft=window_samples, hop_length=hop_samples, n_mels=n_mels, pad_mode="constant"
        )
        self.dim = n_mels
        self.grid = FrameGrid(sample_rate, hop_samples, window_samples, "center")

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, n_mels]``."""
        return torch.log(self._mel(waveform) + _FLOOR).T.contiguous()


def check_bands(n_mels: int, window_samples: int, sample_rate: int) -> None:
    """Raise UserError if a band is so narrow that no spectral line falls into it: it would be constant."""
    with warnings.catch_warnings():
        # torchaudio warns of what is raised here.
        warnings.simplefilter("ignore", UserWarning)
        filters = melscale_fbanks(window_samples // 2 + 1, 0.0, sample_rate / 2, n_mels, sample_rate)
    empty = int((filters.amax(0) == 0).sum())
    if empty:
        raise UserError(
            f"{empty} of `n_mels` {n_mels} bands are empty with a window of {window_samples / sample_rate:g} s",
            remedy="give fewer bands or a longer `window_seconds`",
        )


class Mfcc39:
    """13 MFCCs with first and second differences, HuBERT's features of iteration 1 (Hsu et al. 2021, section IV-B)."""

    dim = 39

    def __init__(self, sample_rate: int, hop_samples: int, window_samples: int) -> None:
        mel = {"n_fft": window_samples, "hop_length": hop_samples, "n_mels": 23, "center": False}
        self._mfcc = MFCC(sample_rate, n_mfcc=13, melkwargs=mel, log_mels=True)
        self.grid = FrameGrid(sample_rate, hop_samples, window_samples)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, 39]``."""
        if self.grid.num_frames(len(waveform)) == 0:
            return waveform.new_zeros(0, self.dim)
        cepstra = self._mfcc(waveform)
        first = compute_deltas(cepstra)
        return torch.cat([cepstra, first, compute_deltas(first)]).T.contiguous()
