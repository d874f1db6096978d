"""Convolutional waveform frontend of wav2vec 2.0, HuBERT and MERT, exact under padding.

Baevski et al. 2020 (arXiv 2006.11477, section 4.2) and Hsu et al. 2021 (arXiv 2106.07447): seven convolutions, GELU,
20 ms hop at 16 kHz (13.3 ms at 24 kHz). The published models normalise over time without regard to padding, so that a
clip's features change with its neighbours in the batch; here the group norm's statistics are those of the clip alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_choice
from audio_ssl.base.versions import added
from audio_ssl.data.frames import FrameGrid, frame_mask
from audio_ssl.models.fast.convolutions import ConvSizes, FirstLayer, Source, conv_stack
from audio_ssl.models.fast.convolutions_by_piece import Layer, PlainLayer, conv_features, plain_first
from audio_ssl.models.fast.cpu import is_inference
from audio_ssl.models.interfaces import Frontend, FrontendTraits
from audio_ssl.models.normalisation import Collector, Moments
from audio_ssl.models.padding import HiddenNoise, nothing_padded

TRAITS = FrontendTraits(training=("init",))


@dataclass(frozen=True)
class Config:
    """Layer sizes of the frontend."""

    channels: tuple[int, ...] = (512,) * 7
    """Output channels of each layer (wav2vec 2.0 base)."""

    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    """Kernel sizes, in samples of the layer's input (wav2vec 2.0)."""

    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    """Strides, in samples of the layer's input; their product is the hop (wav2vec 2.0: 320)."""

    norm: str = "group"
    """``group``: one channel-wise norm after the first layer (base, MERT); ``layer``: one after every layer (large)."""

    bias: bool = False
    """Bias of the convolutions (base: no, large: yes)."""

    activation: str = added("gelu")
    """``gelu`` (wav2vec 2.0) or ``relu`` (CPC; without the fast ways of CPUs, which are made for GELU)."""

    init: str = added("kaiming")
    """First weights of the convolutions: ``kaiming`` (wav2vec 2.0, HuBERT, MERT), or ``torch``, as its Conv1d starts
    (CPC_audio): 2.4 times narrower, which a norm hides, but Adam's steps do not. A trained model has its own."""


class ConvFrontend(Frontend):
    """Strided convolutions.

    Parameters
    ----------
    config
        Sizes.
    sample_rate
        Of the waveforms, in Hz.
    """

    def __init__(self, config: Config, sample_rate: int) -> None:
        super().__init__(frame_grid(config, sample_rate), config.channels[-1])
        inputs = (1, *config.channels[:-1])
        sizes = list(zip(inputs, config.channels, config.kernels, config.strides, strict=True))
        convs = [nn.Conv1d(i, o, kernel, stride, bias=config.bias) for i, o, kernel, stride in sizes]
        for conv in convs if config.init == "kaiming" else ():
            nn.init.kaiming_normal_(conv.weight)
        self.convs = nn.ModuleList(convs)
        self._sizes = tuple(zip(config.kernels, config.strides, strict=True))
        self._per_clip, self._gelu = config.norm == "group", config.activation == "gelu"
        # A bias, which the norm takes away again, and other norms have no part in the fast way.
        self.prepared: list[Layer] | None = None
        """Layers after the first for inference, made once; None: made from the weights as they are, at every call."""
        self._trains_fast = self._per_clip and not config.bias and len(convs) > 1
        self._stack = ConvSizes(config.kernels, config.strides, MaskedInstanceNorm.EPS)
        widths = config.channels[:1] if self._per_clip else config.channels
        self.norms = nn.ModuleList(
            MaskedInstanceNorm(width) if self._per_clip else nn.LayerNorm(width) for width in widths
        )

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: Moments | None = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return features, zero past each clip's frames, and the frames of each clip; see `Frontend.forward`."""
        assert noise is None, "it has no spectrogram; refused by the checks of a recipe"
        if self._gelu and _plain_cpu(waveform):
            if is_inference(waveform):
                return self._inferred(waveform, lengths.tolist(), statistics), self._frames(lengths)
            if self._trains_fast and statistics is None:
                norm = cast(MaskedInstanceNorm, self.norms[0])
                weights = [cast(nn.Conv1d, conv).weight for conv in self.convs]
                features = conv_stack(waveform, lengths.tolist(), self._stack, (norm.weight, norm.bias), weights)
                return features, self._frames(lengths)
        return self.layer_by_layer(waveform, lengths, statistics)

    def collector(self) -> Collector | None:
        """Return what gathers the statistics of a waveform in pieces; None where no frame looks at the whole clip."""
        # The norm's statistics follow from those of the samples under the first kernel.
        return Collector(*self._sizes[0]) if self._per_clip else None

    def layer_by_layer(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: Moments | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Do the same by one operation after the other: on GPUs, in compiled code and for gradients of waveforms."""
        x = waveform[:, None]
        for index, conv in enumerate(self.convs):
            x = conv(x)
            kernel, stride = self._sizes[index]
            lengths = ((lengths - kernel) // stride + 1).clamp(min=0)
            if self._per_clip and index == 0:
                first = cast(nn.Conv1d, conv)
                given = None if statistics is None else _of_channels(statistics, first.weight, first.bias)
                x = self.norms[0](x, lengths, given)
            elif not self._per_clip:
                x = self.norms[index](x.transpose(1, 2)).transpose(1, 2)
            x = F.gelu(x) if self._gelu else F.relu(x)
        features = x.transpose(1, 2)
        inside = frame_mask(lengths, features.shape[1])
        # where, not multiplication: garbage in the padding may be infinite, and inf * 0 is NaN.
        return torch.where(inside[..., None], features, 0.0), lengths

    def layers_after_first(self) -> list[PlainLayer]:
        """Return the layers after the first for inference, with copies of their weights as products need them."""
        convs = [cast(nn.Conv1d, conv) for conv in self.convs]
        norms = [None] * len(convs) if self._per_clip else list(self.norms)
        return [
            PlainLayer(conv.weight, conv.bias, stride, norm)
            for conv, norm, (_, stride) in zip(convs[1:], norms[1:], self._sizes[1:], strict=True)
        ]

    def _inferred(self, waveform: Tensor, lengths: list[int], statistics: Moments | None) -> Tensor:
        def first(samples: Tensor, frames: int) -> Source:
            conv, norm = cast(nn.Conv1d, self.convs[0]), self.norms[0]
            if not self._per_clip:
                return plain_first(samples, self._stack, conv.weight, conv.bias, norm)
            # The norm takes a bias away again.
            scale, shift = cast(Tensor, norm.weight), cast(Tensor, norm.bias)
            return FirstLayer(samples, frames, self._stack, conv.weight, (scale, shift), statistics).output(
                conv.weight.dtype
            )

        layers: Sequence[Layer] = self.layers_after_first() if self.prepared is None else self.prepared
        features = conv_features(waveform, lengths, self._stack, first, layers).to(waveform.dtype)
        return features if features.shape[2] else features.new_zeros(*features.shape[:2], self.dim)

    def _frames(self, lengths: Tensor) -> Tensor:
        for kernel, stride in self._sizes:
            lengths = ((lengths - kernel) // stride + 1).clamp(min=0)
        return lengths


def _of_channels(windows: Moments, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and variance ``[dim, 1]`` of each channel of a convolution, from those of what lies under it."""
    kernel = weight[:, 0].double()
    mean = kernel @ windows.mean.to(kernel.device)
    variance = ((kernel @ windows.covariance.to(kernel.device)) * kernel).sum(1).clamp(min=0)
    return (mean if bias is None else mean + bias)[:, None].float(), variance[:, None].float()


def _plain_cpu(waveform: Tensor) -> bool:
    return waveform.device.type == "cpu" and not waveform.requires_grad and not torch.compiler.is_compiling()


class MaskedInstanceNorm(nn.Module):
    """``GroupNorm(dim, dim)`` whose statistics are those of each clip's own frames, in float32."""

    EPS = 1e-5

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(
        self,
        x: Float[Tensor, "batch dim frame"],
        lengths: Int[Tensor, " batch"],
        given: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Normalise each channel of each clip over the clip's frames, or by a given mean and variance ``[dim, 1]``."""
        frames = x.shape[-1]
        if given is not None:
            mean, variance = given
            factor = (variance + self.EPS).rsqrt() * self.weight[:, None]
            return ((x.float() - mean) * factor + self.bias[:, None]).to(x.dtype)
        if nothing_padded(lengths == frames):
            return F.group_norm(x.float(), x.shape[1], self.weight, self.bias, self.EPS).to(x.dtype)
        inside = frame_mask(lengths, frames)[:, None]
        values = torch.where(inside, x.float(), 0.0)
        count = lengths.clamp(min=1)[:, None, None]
        mean = values.sum(-1, keepdim=True) / count
        centred = torch.where(inside, values - mean, 0.0)
        variance = centred.square().sum(-1, keepdim=True) / count
        scaled = centred * (variance + self.EPS).rsqrt() * self.weight[:, None] + self.bias[:, None]
        return scaled.to(x.dtype)


def frame_grid(config: Config, sample_rate: int) -> FrameGrid:
    """Return the hop and receptive field of a stack of convolutions.

    Examples
    --------
    >>> frame_grid(Config(), 16000)
    FrameGrid(sample_rate=16000, hop_samples=320, window_samples=400, edge='valid')
    """
    hop, window = 1, 1
    for kernel, stride in zip(config.kernels, config.strides, strict=True):
        window += (kernel - 1) * hop
        hop *= stride
    return FrameGrid(sample_rate, hop, window)


def build(config: Config, sample_rate: int) -> ConvFrontend:
    """Make the frontend; UserError where the lists of sizes do not belong together."""
    if not len(config.channels) == len(config.kernels) == len(config.strides) >= 1:
        raise UserError(
            f"`channels`, `kernels` and `strides` must have the same length, but have {len(config.channels)}, "
            f"{len(config.kernels)} and {len(config.strides)}"
        )
    check_choice("norm", config.norm, ("group", "layer"))
    check_choice("activation", config.activation, ("gelu", "relu"))
    check_choice("init", config.init, ("kaiming", "torch"))
    return ConvFrontend(config, sample_rate)
