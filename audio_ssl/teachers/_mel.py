"""Log-mel and MFCC of one clip, by torchaudio, not centred: no frame looks beyond the clip."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torchaudio.functional import compute_deltas
from torchaudio.transforms import MFCC, MelSpectrogram

from audio_ssl.data.frames import FrameGrid

_FLOOR = 1e-6


class LogMel:
    """Log-mel frames, `stack` of them side by side as one; equal to the `mel` frontend's without normalisation."""

    def __init__(self, sample_rate: int, hop_samples: int, window_samples: int, n_mels: int, stack: int) -> None:
        self._mel = MelSpectrogram(
            sample_rate, n_fft=window_samples, hop_length=hop_samples, n_mels=n_mels, center=False
        )
        self._stack = stack
        self.dim = n_mels * stack
        self.grid = FrameGrid(sample_rate, hop_samples * stack, window_samples + (stack - 1) * hop_samples)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, n_mels * stack]``, each band with zero mean and unit variance over the clip."""
        frames = self.grid.num_frames(len(waveform))
        if frames == 0:
            return waveform.new_zeros(0, self.dim)
        mel = torch.log(self._mel(waveform) + _FLOOR).T[: frames * self._stack]
        mel = (mel - mel.mean(0)) * (mel.var(0, unbiased=False) + 1e-5).rsqrt()
        return mel.reshape(frames, self.dim)


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
