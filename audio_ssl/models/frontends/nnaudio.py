"""nnAudio's constant-Q, mel and Fourier transforms as a frontend, with kernels that are trained with the model.

A transform is a convolution with the waveforms that it looks for (nnAudio, Cheuk et al. 2020, IEEE Access 8,
arXiv 1912.12055), so these can be weights: they begin as the transform and learn from there. The forward pass is
nnAudio's own. Where kernels stay fixed, the parts `cqt` and `mel` give the same values at a small part of the cost.

Frames are centred on hops and see zeros past both ends of their clip. Three things differ from nnAudio's classes:

- A weight is a kernel divided by its peak. An update of Adam moves every weight by about the learning rate, and the
  lowest constant-Q kernels have peaks of 1e-4: one update would replace them by noise.
- A constant-Q kernel learns within its own length. nnAudio stores all kernels at the length of the longest; a high one
  would else become a hundred times as long as its Q allows.
- Magnitudes have no epsilon, and their gradient in silence is zero: `trainable` changes no value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import cast

import torch
from jaxtyping import Float, Int
from nnAudio.features.cqt import CQT1992v2
from nnAudio.features.mel import MelSpectrogram
from nnAudio.features.stft import STFT
from torch import Tensor, nn
from torch.func import functional_call

from audio_ssl.base.errors import UserError, check_at_least, check_choice
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.interfaces import Frontend, FrontendTraits
from audio_ssl.models.normalisation import check_statistics, standardise
from audio_ssl.models.padding import HiddenNoise, frames_inside
from audio_ssl.models.spectra import LOG_FLOOR, check_constant_q, empty_bands, mel_filters

TRAITS = FrontendTraits()

TRANSFORMS = ("cqt", "mel", "stft")

_FLOORS = {"cqt": 1e-3, "mel": LOG_FLOOR, "stft": 1e-3}
"""Added before the logarithm: what the parts `cqt` and `mel` add."""

_THEIR_NAMES = {
    "cqt": {"real": "cqt_kernels_real", "imag": "cqt_kernels_imag"},
    "mel": {"real": "wcos", "imag": "wsin"},
    "stft": {"real": "wcos", "imag": "wsin"},
}
"""What nnAudio calls the two halves of a transform's kernels."""


@dataclass(frozen=True)
class Config:
    """Transform, sizes, what is trained, and normalisation."""

    transform: str = "cqt"
    """``cqt`` (magnitudes), ``mel`` (powers in bands) or ``stft`` (magnitudes)."""

    trainable: bool = True
    """Train the kernels; of ``mel``, the Fourier kernels and the weights of the bands."""

    n_bins: int = 84
    """Bins of ``cqt`` (84: 7 octaves of 12), bands of ``mel``; ``stft`` has ``window_samples / 2 + 1``."""

    bins_per_octave: int = 12
    """Bins per octave of ``cqt``."""

    fmin_hz: float = 32.7
    """Frequency of the lowest bin of ``cqt``, in Hz (C1); ``mel`` and ``stft`` begin at 0 Hz."""

    window_samples: int = 1024
    """Length of the Fourier kernels of ``mel`` and ``stft``, an even number; ``cqt`` has a length for each bin."""

    hop_samples: int = 320
    """From one frame to the next (320: 50 frames/s at 16 kHz, 75 at 24 kHz)."""

    log: bool = True
    """Natural logarithm of magnitudes or powers, as in the parts `cqt` and `mel`; false: the values themselves."""

    normalize: bool = True
    """Zero mean and unit variance of each bin over the clip."""

    mean: float | None = None
    """Mean of all values of the data, in place of the clip's; null: not used."""

    std: float | None = None
    """Standard deviation of all values of the data, with `mean`."""


class NNAudioFrontend(Frontend):
    """One of nnAudio's transforms, with its kernels as weights or as constants."""

    def __init__(self, config: Config, sample_rate: int) -> None:
        kind = config.transform
        # Constants of the config are made again, never saved; on the CPU, also where a model is laid out elsewhere.
        with torch.device("cpu"):
            transform, bands = _MAKERS[kind](config, sample_rate)
        longest = config.window_samples
        if kind == "cqt":
            longest = ceil(sample_rate / (config.fmin_hz * (2 ** (1 / config.bins_per_octave) - 1)))
        kernels = {ours: transform.get_buffer(theirs) for ours, theirs in _THEIR_NAMES[kind].items()}
        dim = len(kernels["real"]) if bands is None else len(bands)
        super().__init__(FrameGrid(sample_rate, config.hop_samples, longest, "center"), dim)
        self._config, self._transform = config, transform
        self.kernels = nn.ParameterDict()
        """Each kernel divided by its peak; empty where none is trained."""
        for name, constant in list(self._transform.named_buffers()):
            self._transform.register_buffer(name, constant, persistent=False)
        self.register_buffer("_bands", bands, persistent=False)
        if not config.trainable:
            return
        level = torch.hypot(kernels["real"], kernels["imag"])
        self.register_buffer("_scale", level.amax(-1, keepdim=True) * (level > 0), persistent=False)
        for ours, theirs in _THEIR_NAMES[kind].items():
            unit = torch.where(level > 0, kernels[ours] / level.amax(-1, keepdim=True), 0.0)
            self.kernels[ours] = nn.Parameter(unit)
            # Its place in nnAudio's module is filled for every call.
            self._transform.register_buffer(theirs, torch.empty(0), persistent=False)
        if bands is not None:
            self.register_buffer("_bands", bands.amax(1, keepdim=True), persistent=False)
            self.kernels["bands"] = nn.Parameter(bands / bands.amax(1, keepdim=True))

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: None = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return normalised values, zero past each clip's frames, and the frames of each clip."""
        assert noise is None, "it takes none; refused by the checks of a recipe"
        config = self._config
        frames, total = self.grid.num_frames(lengths), self.grid.num_frames(waveform.shape[1])
        # A float32 island: autocast would lose the low bins.
        with torch.autocast(waveform.device.type, enabled=False):
            inside = frames_inside(lengths, waveform.shape[1])[..., 0]
            x = self.values(torch.where(inside, waveform.float(), 0.0))
            if config.log:
                x = torch.log(x + _FLOORS[config.transform])
            if config.mean is not None and config.std is not None:
                x = (x - config.mean) / config.std
            if config.normalize:
                x = standardise(x, frames)
        return torch.where(frames_inside(frames, total), x, 0.0), frames

    def values(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch frame bin"]:
        """Return the magnitudes or powers of float32 waveforms, with zeros past both ends."""
        given = {
            theirs: self.kernels[ours] * self.get_buffer("_scale")
            for ours, theirs in _THEIR_NAMES[self._config.transform].items()
            if ours in self.kernels
        }
        found = functional_call(self._transform, given, (waveform,), {"output_format": "Complex"})
        magnitude = self.magnitude(found)
        if self._config.transform == "mel":
            bands = self.get_buffer("_bands")
            bands = bands * self.kernels["bands"] if "bands" in self.kernels else bands
            # Weights that are learnt may turn negative, and a power must have a logarithm.
            magnitude = (bands @ magnitude.square()).clamp(min=0)
        return magnitude.transpose(1, 2)

    def magnitude(self, parts: Float[Tensor, "batch bin frame 2"]) -> Float[Tensor, "batch bin frame"]:
        """Return the magnitudes of complex numbers."""
        # Its gradient at zero is finite, where that of a square root is not.
        return torch.view_as_complex(parts).abs()


def _cqt(config: Config, sample_rate: int) -> tuple[nn.Module, None]:
    made = CQT1992v2(
        sr=sample_rate,
        hop_length=config.hop_samples,
        fmin=config.fmin_hz,
        n_bins=config.n_bins,
        bins_per_octave=config.bins_per_octave,
        pad_mode="constant",
        verbose=False,
    )
    return cast(nn.Module, made), None


def _stft(config: Config, sample_rate: int) -> tuple[nn.Module, None]:
    made = STFT(
        n_fft=config.window_samples,
        hop_length=config.hop_samples,
        sr=sample_rate,
        pad_mode="constant",
        verbose=False,
    )
    return cast(nn.Module, made), None


def _mel(config: Config, sample_rate: int) -> tuple[nn.Module, Tensor]:
    # Before nnAudio warns of them.
    if empty := empty_bands(mel_filters(sample_rate, config.window_samples, config.n_bins)):
        raise UserError(
            f"{empty} of `n_bins` {config.n_bins} mel bands are empty with `window_samples` {config.window_samples} at "
            f"{sample_rate} Hz: they would be the same for every sound",
            remedy="give fewer bins or a longer window",
        )
    # HTK's scale and triangles of peak 1, as in the part `mel`.
    made = MelSpectrogram(
        sr=sample_rate,
        n_fft=config.window_samples,
        n_mels=config.n_bins,
        hop_length=config.hop_samples,
        pad_mode="constant",
        htk=True,
        norm=None,
        verbose=False,
    )
    return cast(nn.Module, made.stft), cast(Tensor, made.mel_basis)


_MAKERS: dict[str, Callable[[Config, int], tuple[nn.Module, Tensor | None]]] = {
    "cqt": _cqt,
    "mel": _mel,
    "stft": _stft,
}


def build(config: Config, sample_rate: int) -> NNAudioFrontend:
    """Make the frontend; UserError for sizes that make no transform, or a top bin above half the sample rate."""
    check_choice("transform", config.transform, TRANSFORMS)
    check_at_least(config, 1, "n_bins", "bins_per_octave", "hop_samples")
    if config.window_samples < 2 or config.window_samples % 2:
        raise UserError(f"`window_samples` must be an even number above 0, but is {config.window_samples}")
    if config.transform == "cqt":
        check_constant_q(config.n_bins, config.bins_per_octave, config.fmin_hz, sample_rate)
    check_statistics(config.normalize, config.mean, config.std)
    return NNAudioFrontend(config, sample_rate)
