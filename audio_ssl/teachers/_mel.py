"""Log-mel and MFCC of one clip; not centred, so that no frame looks beyond the clip, but for one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.spectra import DecibelMel, MelSpectrogram, cepstra, deltas


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
