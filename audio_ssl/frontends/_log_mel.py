"""Log-mel frames of a padded batch, not centred: no frame looks beyond its clip."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.data.frames import FrameGrid
from audio_ssl.frontends._moments import Collector, Moments
from audio_ssl.frontends._statistics import standardise, standardise_by
from audio_ssl.spectra import MelSpectrogram, hop_and_window


class LogMel(nn.Module):
    """Mel spectrogram, logarithm, normalisation.

    Parameters
    ----------
    sample_rate
        Of the waveforms, in Hz.
    n_mels
        Bands.
    window_seconds, hop_seconds
        Of the spectrogram, at least one sample each.
    normalize
        Zero mean and unit variance of each band over the clip.
    mean, std
        Of all values of the data; None: not used.
    form
        Of the spectrogram, see `MelSpectrogram`.
    fft_samples
        Of the Fourier transform; None: those of the window.
    """

    def __init__(
        self,
        sample_rate: int,
        n_mels: int,
        window_seconds: float,
        hop_seconds: float,
        normalize: bool,
        mean: float | None,
        std: float | None,
        form: str = "plain",
        fft_samples: int | None = None,
    ) -> None:
        super().__init__()
        hop, window = hop_and_window(sample_rate, hop_seconds, window_seconds)
        self.grid = FrameGrid(sample_rate, hop, window)
        self._normalize, self._mean, self._std = normalize, mean, std
        self._mel = MelSpectrogram(sample_rate, window, hop, n_mels, form=form, fft_samples=fft_samples)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        frames: Int[Tensor, " batch"],
        statistics: Moments | None = None,
    ) -> Float[Tensor, "batch frame bin"]:
        """Return the frames.

        Parameters
        ----------
        waveform
            A padded batch.
        frames
            How many of each clip count for its normalisation.
        statistics
            What a `collector` gathered of a longer waveform whose parts the rows are; None: rows are whole clips.
        """
        mel = self._unnormalised(waveform)
        if not self._normalize:
            return mel
        return standardise(mel, frames) if statistics is None else standardise_by(mel, statistics)

    def collector(self, together: int) -> Collector | None:
        """Return what gathers the statistics of a waveform in pieces; None where no frame looks at the whole clip.

        Parameters
        ----------
        together
            As many frames count together or not at all.
        """
        if not self._normalize:
            return None
        hop = self.grid.hop_samples
        reach = self.grid.window_samples + (together - 1) * hop
        return Collector(reach, together * hop, lambda samples: self._unnormalised(samples[None])[0])

    def _unnormalised(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch frame bin"]:
        missing = self.grid.window_samples - waveform.shape[1]
        # A float32 island: autocast would lose the quiet bands.
        with torch.autocast(waveform.device.type, enabled=False):
            mel: Tensor = self._mel.log(F.pad(waveform.float(), (0, max(missing, 0))))
            if self._mean is not None and self._std is not None:
                mel = (mel - self._mean) / self._std
            return mel
