"""Log-mel frontend: torchaudio's mel spectrogram, frames stacked in time (BEST-RQ, Chiu et al. 2022, arXiv 2202.01855).

Frames are not centred, so none looks beyond its clip: a padded clip's frames are those it has alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from audio_ssl.data.frames import FrameGrid
from audio_ssl.errors import UserError


@dataclass(frozen=True)
class Config:
    """Spectrogram and stacking."""

    n_mels: int = 80
    """Mel bands (BEST-RQ)."""

    window_seconds: float = 0.025
    """Length of the analysis window."""

    hop_seconds: float = 0.01
    """From one spectrogram frame to the next."""

    stack: int = 4
    """Spectrogram frames that make one output frame (BEST-RQ: 4, so 25 frames/s)."""

    normalize: bool = True
    """Zero mean and unit variance of each band over the clip (per-utterance CMVN)."""


class MelFrontend(nn.Module):
    """Stacked log-mel frames."""

    def __init__(self, config: Config, sample_rate: int) -> None:
        super().__init__()
        self._hop = round(config.hop_seconds * sample_rate)
        self._window = round(config.window_seconds * sample_rate)
        self._stack, self._normalize = config.stack, config.normalize
        self.grid = FrameGrid(sample_rate, self._hop * config.stack, self._window + (config.stack - 1) * self._hop)
        self.dim = config.n_mels * config.stack
        self._mel = MelSpectrogram(
            sample_rate, n_fft=self._window, hop_length=self._hop, n_mels=config.n_mels, center=False
        )
        # Constants of the config, not weights: they are made again, never saved.
        for module in self._mel.modules():
            for name in list(module._buffers):
                module._non_persistent_buffers_set.add(name)

    def forward(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return stacked log-mel frames, zero past each clip's frames, and the frames of each clip."""
        with torch.autocast(waveform.device.type, enabled=False):
            mel = torch.log(self._mel(waveform.float()) + 1e-6).transpose(1, 2)
        frames = self.grid.num_frames(lengths)
        if self._normalize:
            mel = _standardise(mel, frames * self._stack)
        total = self.grid.num_frames(waveform.shape[1])
        stacked = mel[:, : total * self._stack].reshape(len(mel), total, self.dim)
        inside = torch.arange(total, device=mel.device) < frames[:, None]
        return torch.where(inside[..., None], stacked, 0.0), frames


def _standardise(mel: Float[Tensor, "batch frame bin"], frames: Int[Tensor, " batch"]) -> Tensor:
    inside = (torch.arange(mel.shape[1], device=mel.device) < frames[:, None])[..., None]
    count = frames.clamp(min=1)[:, None, None]
    mean = torch.where(inside, mel, 0.0).sum(1, keepdim=True) / count
    centred = torch.where(inside, mel - mean, 0.0)
    return centred * (centred.square().sum(1, keepdim=True) / count + 1e-5).rsqrt()


def build(config: Config, sample_rate: int) -> MelFrontend:
    """Make the frontend; UserError for a stack below 1."""
    if config.stack < 1:
        raise UserError(f"`stack` must be at least 1, but is {config.stack}")
    return MelFrontend(config, sample_rate)
