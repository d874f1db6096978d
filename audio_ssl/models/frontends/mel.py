"""Log-mel frontend: a mel spectrogram, stacked in time or subsampled by convolutions.

Stacking: BEST-RQ (Chiu et al. 2022, arXiv 2202.01855). Convolutions: two of stride 2, as before the Conformer (Gulati
et al. 2020, arXiv 2005.08100) and in SpeechBrain's BEST-RQ (Whetten et al. 2024, arXiv 2405.04296). The spectrogram is
not centred or padded in time, and convolutions see at most a clip's start mirrored. So no frame looks beyond its clip:
a padded clip's frames are those it has alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least, check_choice
from audio_ssl.base.versions import added
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.fast.cpu import is_inference
from audio_ssl.models.interfaces import Frontend, FrontendTraits, MelSettings
from audio_ssl.models.normalisation import Collector, Moments, check_statistics, standardise, standardise_by
from audio_ssl.models.padding import HiddenNoise, frames_inside
from audio_ssl.models.spectra import FORMS, MelSpectrogram, hop_and_window


@dataclass(frozen=True)
class Config:
    """Spectrogram, normalisation, and how frames are made fewer."""

    n_mels: int = 80
    """Mel bands (BEST-RQ)."""

    window_seconds: float = 0.025
    """Length of the analysis window."""

    hop_seconds: float = 0.01
    """From one spectrogram frame to the next."""

    stack: int = 4
    """Spectrogram frames that make one output frame (BEST-RQ: 4, so 25 frames/s)."""

    normalize: bool = True
    """Zero mean and unit variance of each band over the clip (per-utterance CMVN); looks at the whole clip."""

    mean: float | None = None
    """Mean of all log-mel values of the data, in place of the clip's; null: not used."""

    std: float | None = None
    """Standard deviation of all log-mel values of the data, with `mean`."""

    conv_channels: tuple[int, ...] = ()
    """Channels of convolutions that halve frames and bands, in place of `stack` (SpeechBrain's BEST-RQ: 128, 32)."""

    form: str = added("plain")
    """``plain``, or ``speechbrain`` (of its BEST-RQ: Hamming window and symmetric triangles; convolutions mirror the
    clip's start and the outer bands, and a layer norm over bands and channels follows each)."""

    dropout: float = added(0.0)
    """After each convolution (SpeechBrain's BEST-RQ: 0.1)."""

    fft_samples: int | None = added(None)
    """Length of the Fourier transform: longer than the window where many bands would have no spectral line between
    them; null: the window's."""


class MelFrontend(Frontend):
    """Stacked or subsampled log-mel frames."""

    def __init__(self, config: Config, sample_rate: int) -> None:
        mel = LogMel(_settings(config), sample_rate)
        mirrors = config.form == "speechbrain" and bool(config.conv_channels)
        shrink, reach, bands, sizes = config.stack, config.stack - 1, config.n_mels, []
        for channels in config.conv_channels:
            reach, shrink, bands = reach + 2 * shrink, 2 * shrink, (bands + 1) // 2
            sizes.append([bands, channels])
        # A frame whose convolutions mirror the start looks back; it needs no more frames than a stack does.
        reach = shrink - 1 if mirrors else reach
        hop = mel.grid.hop_samples
        super().__init__(
            FrameGrid(sample_rate, hop * shrink, mel.grid.window_samples + reach * hop),
            bands * (config.conv_channels[-1] if config.conv_channels else config.stack),
            noise_width=shrink * config.n_mels,
        )
        self._mel, self._mirrors, self._together = mel, mirrors, shrink if mirrors else config.stack
        inputs = (1, *config.conv_channels)
        # Bands are padded, frames are not.
        padding = (0, 0) if mirrors else (0, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2, padding=padding) for i, o in zip(inputs, config.conv_channels, strict=False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in sizes) if mirrors else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: Moments | None = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return frames, zero past each clip's, and the frames of each clip; see `Frontend.forward`."""
        frames, total = self.grid.num_frames(lengths), self.grid.num_frames(waveform.shape[1])
        if is_inference(waveform) and bool((lengths < waveform.shape[1]).any()):
            return self._clip_by_clip(waveform, lengths, statistics, noise, total), frames
        # Stacked frames are normalised by what is in a stack, so that a clip's rest does not count.
        overlap = len(self.convs) and not self._mirrors
        counted = self._mel.grid.num_frames(lengths) if overlap else frames * self._together
        mel = self._mel(waveform, counted, statistics)
        if total == 0:
            return mel.new_zeros(len(mel), 0, self.dim), frames
        if noise is not None:
            mel = noise.put(mel)
        if not overlap:
            mel = mel[:, : total * self._together]
        if len(self.convs):
            features = self._subsample(mel).flatten(2)
        else:
            # A view, and one whose shape is proved where the number of frames is open.
            features = mel.unfold(1, self._together, self._together).transpose(2, 3).flatten(2)
        return torch.where(frames_inside(frames, total), features, 0.0), frames

    def _clip_by_clip(
        self, waveform: Tensor, lengths: Tensor, statistics: Moments | None, noise: HiddenNoise | None, total: int
    ) -> Float[Tensor, "batch frame dim"]:
        """Do the same without padding: a norm of few values makes much of the rounding that another length gives."""
        out = waveform.new_zeros(len(waveform), total, self.dim)
        for row, samples in enumerate(lengths.tolist()):
            if count := self.grid.num_frames(samples):
                own = None if noise is None else noise.row(row, count)
                found, _ = self(waveform[row : row + 1, :samples], lengths[row : row + 1], statistics, own)
                out[row, : found.shape[1]] = found[0]
        return out

    def collector(self) -> Collector | None:
        """Return what gathers the statistics of a waveform in pieces; None where no frame looks at the whole clip."""
        return self._mel.collector(self._together)

    def _subsample(self, mel: Float[Tensor, "batch frame bin"]) -> Float[Tensor, "batch frame ..."]:
        """Return channels of bins, or bins of channels where each convolution has a norm over both."""
        x = mel[:, None]
        if self.norms is None:
            for conv in self.convs:
                # Leaky, as SpeechBrain's: without normalisation log-mel values are all negative, and relu could die.
                x = self.dropout(F.leaky_relu(conv(x)))
            return x.transpose(1, 2)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            # The number of frames is even, so that nothing past the last one is looked at.
            x = conv(F.pad(x, (1, 1, 1, 0), mode="reflect"))
            x = self.dropout(F.leaky_relu(norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        return x.permute(0, 2, 3, 1)


def _settings(config: Config) -> MelSettings:
    return MelSettings(
        config.n_mels,
        config.hop_seconds,
        config.window_seconds,
        config.fft_samples,
        config.form,
        config.normalize,
        config.mean,
        config.std,
    )


TRAITS = FrontendTraits(mel=_settings, training=("dropout",))


def build(config: Config, sample_rate: int) -> MelFrontend:
    """Make the frontend; UserError where the options do not go together."""
    check_at_least(config, 1, "stack")
    if config.conv_channels and config.stack != 1:
        raise UserError(
            f"`stack` must be 1 with `conv_channels`, which make frames fewer themselves, but is {config.stack}"
        )
    check_choice("form", config.form, FORMS)
    check_statistics(config.normalize, config.mean, config.std)
    return MelFrontend(config, sample_rate)


class LogMel(nn.Module):
    """Mel spectrogram, logarithm, normalisation.

    Parameters
    ----------
    settings
        Spectrogram and normalisation.
    sample_rate
        Of the waveforms, in Hz.
    """

    def __init__(self, settings: MelSettings, sample_rate: int) -> None:
        super().__init__()
        hop, window = hop_and_window(sample_rate, settings.hop_seconds, settings.window_seconds)
        self.grid = FrameGrid(sample_rate, hop, window)
        self._normalize, self._mean, self._std = settings.normalize, settings.mean, settings.std
        self._mel = MelSpectrogram(
            sample_rate, window, hop, settings.n_mels, form=settings.form, fft_samples=settings.fft_samples
        )

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
