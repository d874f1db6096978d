"""The group-normalised convolutional frontend on a CPU: the same numbers as layer by layer, in less time and memory.

- Frames lie as ``[frame, channel]``, so that a convolution is a product of matrices as they lie and nothing is
  transposed; each clip is computed over its own frames, so padding costs nothing and cannot leak.
- The first layer has one input channel: its mean and variance over time follow from the mean and the covariance of the
  samples under its kernel (10 numbers and 10 x 10), so that the norm becomes part of the kernel. Its gradients likewise
  follow from one product with the samples.
- Backward recomputes the first layer and every GELU, and so keeps one tensor per later layer: a fifth of what autograd
  keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.models.normalisation import Moments, moments

Source = Callable[[slice], Tensor]
"""Gives a span of the frames ``[frame, dim]`` that a layer's GELU takes: kept ones, or the first layer's, made anew."""

_CHUNK_FRAMES = 2048
"""Frames of a layer that are computed at once, for the caches and so that the first layer never exists as a whole."""


@dataclass(frozen=True)
class ConvSizes:
    """What stays the same from batch to batch."""

    kernels: tuple[int, ...]
    """Kernel of each layer, in frames of its input."""

    strides: tuple[int, ...]
    """Stride of each layer, in frames of its input."""

    eps: float
    """Of the norm."""

    def frames(self, samples: int) -> list[int]:
        """Return the frames of every layer for a clip; all 0 where the last has none."""
        counts = []
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = max(0, (samples - kernel) // stride + 1)
            counts.append(samples)
        return counts if samples else [0] * len(counts)


def conv_stack(
    waveform: Float[Tensor, "batch sample"],
    lengths: Sequence[int],
    stack: ConvSizes,
    norm: tuple[Tensor, Tensor],
    weights: Sequence[Tensor],
) -> Float[Tensor, "batch frame dim"]:
    """Return the features of a padded batch, zero past each clip's frames.

    Parameters
    ----------
    waveform
        Without gradient.
    lengths
        Samples of each clip.
    stack
        Kernels and strides of two or more layers.
    norm
        Weight and bias ``[dim]`` of the norm after the first layer.
    weights
        ``[dim, dim, kernel]`` of each layer.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weights[0].dtype
    with torch.autocast("cpu", enabled=False):
        features = _ConvStack.apply(waveform, tuple(lengths), stack, dtype, *norm, *weights)  # type: ignore[no-untyped-call]
    assert isinstance(features, Tensor)
    return features


class _ConvStack(torch.autograd.Function):
    """All layers of all clips."""

    @staticmethod
    def forward(
        ctx: Any,
        waveform: Tensor,
        lengths: tuple[int, ...],
        stack: ConvSizes,
        dtype: torch.dtype,
        scale: Tensor,
        shift: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        total = stack.frames(waveform.shape[1])[-1]
        features = waveform.new_zeros(len(waveform), total, len(weights[-1]), dtype=dtype)
        keep = any(ctx.needs_input_grad)
        # [dim, kernel, dim]: the order in which frames lie.
        later = [weight.to(dtype).permute(0, 2, 1).contiguous() for weight in weights[1:]]
        kept: list[Tensor] = []
        for row, samples in enumerate(lengths):
            counts = stack.frames(samples)
            if not counts[-1]:
                continue
            first = FirstLayer(waveform[row, :samples], counts[0], stack, weights[0], (scale, shift))
            source, states = first.output(dtype), []
            for weight, count, stride in zip(later, counts[1:], stack.strides[1:], strict=True):
                states.append(_layer(source, count, weight, stride))
                source = states[-1].__getitem__
            torch.ops.aten.gelu.out(states[-1], out=features[row, : counts[-1]])
            if keep:
                kept += states
        ctx.save_for_backward(waveform, scale, shift, *weights, *kept)
        ctx.lengths, ctx.stack, ctx.dtype = lengths, stack, dtype
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        stack, dtype, layers = ctx.stack, ctx.dtype, len(ctx.stack.kernels)
        waveform, scale, shift, *rest = ctx.saved_tensors
        weights, kept = rest[:layers], rest[layers:]
        later = [weight.to(dtype).permute(0, 2, 1).contiguous() for weight in weights[1:]]
        # [kernel, input, dim]
        sums = [torch.zeros_like(weight.permute(2, 1, 0), memory_format=torch.contiguous_format) for weight in weights]
        scale_sum, shift_sum = torch.zeros_like(scale), torch.zeros_like(shift)
        for row, samples in enumerate(ctx.lengths):
            counts = stack.frames(samples)
            if not counts[-1]:
                continue
            states, kept = kept[: layers - 1], kept[layers - 1 :]
            g = torch.ops.aten.gelu_backward(grad[row, : counts[-1]].to(dtype), states[-1])
            for layer in range(layers - 1, 1, -1):
                z = states[layer - 2]
                spans = _layer_backward(z.__getitem__, g, later[layer - 1], stack.strides[layer], sums[layer])
                g = _add_up(spans, z)
            first = FirstLayer(waveform[row, :samples], counts[0], stack, weights[0], (scale, shift))
            spans = _layer_backward(first.output(dtype), g, later[0], stack.strides[1], sums[1])
            kernel, norm, bias = first.gradients(spans)
            sums[0] += kernel.T[:, None].to(sums[0].dtype)
            scale_sum += norm.to(scale.dtype)
            shift_sum += bias.to(shift.dtype)
        return (None, None, None, None, scale_sum, shift_sum, *(total.permute(2, 1, 0) for total in sums))


class FirstLayer:
    """The first layer and its norm on one clip, as one product with the samples under the kernel."""

    def __init__(
        self,
        samples: Tensor,
        frames: int,
        stack: ConvSizes,
        weight: Tensor,
        norm: tuple[Tensor, Tensor],
        given: Moments | None = None,
    ) -> None:
        scale, shift = norm
        windows = samples.unfold(0, stack.kernels[0], stack.strides[0])[:frames]
        self.frames, self.weight, self.scale = frames, weight[:, 0].double(), scale.double()
        self.window_mean, self.covariance = moments(windows) if given is None else given
        variance = ((self.weight @ self.covariance) * self.weight).sum(1).clamp(min=0)
        self.deviation = (variance + stack.eps).rsqrt()
        self.mean = self.weight @ self.window_mean
        # A column of ones carries the shift.
        factor = self.scale * self.deviation
        kernel = torch.cat([self.weight * factor[:, None], (shift.double() - self.mean * factor)[:, None]], 1)
        self.windows = torch.cat([windows.to(weight.dtype), weight.new_ones(frames, 1)], 1)
        self.kernel = kernel.to(weight.dtype).T

    def output(self, dtype: torch.dtype) -> Source:
        """Return what computes a span of the normalised frames ``[frame, dim]``."""
        kernel = self.kernel.to(dtype)
        return lambda span: self.windows[span].to(dtype) @ kernel

    def gradients(self, spans: Iterator[tuple[slice, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of kernel ``[dim, window]``, scale and shift from those of spans of the output."""
        products = self.windows.new_zeros(self.windows.shape[1], len(self.weight), dtype=torch.float64)
        for span, g in spans:
            products += self.windows[span].to(g.dtype).T @ g
        total, along = products[-1], products[:-1].T
        projected = ((along * self.weight).sum(1) - self.mean * total) * self.deviation
        # What the norm takes away: the mean over time, and the part along its own output.
        spread = self.deviation[:, None] * (self.weight @ self.covariance)
        inner = along - total[:, None] * self.window_mean - projected[:, None] * spread
        return inner * (self.scale * self.deviation)[:, None], projected, total


def _chunks(frames: int, kernel: int, stride: int) -> list[tuple[slice, slice]]:
    """Return spans of a layer's frames, each with the span of its input that it is made of."""
    spans = []
    for begin in range(0, frames, _CHUNK_FRAMES):
        end = min(frames, begin + _CHUNK_FRAMES)
        spans.append((slice(begin, end), slice(begin * stride, (end - 1) * stride + kernel)))
    return spans


def _layer(source: Source, frames: int, weight: Float[Tensor, "dim kernel input"], stride: int) -> Tensor:
    """Return ``[frame, dim]``: the convolution of the GELU of a layer's input."""
    width, taps, inputs = weight.shape
    # As a convolution of width 1 over frames laid side by side, for which oneDNN is a tenth faster than a product.
    kernel = weight.reshape(width, taps * inputs, 1, 1)
    out = torch.empty(frames, width, dtype=weight.dtype)
    for inner, outer in _chunks(frames, taps, stride):
        x = F.gelu(source(outer))
        columns = under(x, inner.stop - inner.start, 0, taps, stride).contiguous()
        out[inner] = F.conv2d(_image(columns), kernel)[0, :, 0].T
    return out


def _layer_backward(
    source: Source, g: Float[Tensor, "frame dim"], weight: Tensor, stride: int, total: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the gradient of a layer's input in spans, whose borders overlap and add up; add the kernel's to `total`."""
    taps = weight.shape[1]
    kernel = weight.permute(0, 2, 1)[:, :, None]
    for inner, outer in _chunks(len(g), taps, stride):
        z, part = source(outer), g[inner]
        x = F.gelu(z)
        # As many taps as the stride see frames that lie one after the other, so they are one product.
        for tap in range(0, taps, stride):
            count = min(stride, taps - tap)
            total[tap : tap + count] += (under(x, len(part), tap, count, stride).T @ part).view(count, -1, len(weight))
        found = torch.ops.aten.convolution_backward(
            _image(part), _image(x), kernel, None, (1, stride), (0, 0), (1, 1), False, (0, 0), 1, (True, False, False)
        )[0]
        gradient = found[0, :, 0].T
        yield outer, torch.ops.aten.gelu_backward.grad_input(gradient, z, grad_input=gradient)


def _add_up(spans: Iterator[tuple[slice, Tensor]], like: Tensor) -> Tensor:
    """Return a tensor of spans in order, each of which begins at or before the last one's end."""
    out = torch.empty_like(like)
    done = 0
    for span, part in spans:
        overlap = max(0, done - span.start)
        out[done : span.start] = 0.0
        out[span.start : span.start + overlap] += part[:overlap]
        out[span.start + overlap : span.stop] = part[overlap:]
        done = span.stop
    out[done:] = 0.0
    return out


def under(x: Float[Tensor, "frame dim"], frames: int, tap: int, taps: int, stride: int) -> Tensor:
    """Return a view ``[frames, taps * dim]``: the frames under some taps of the kernel, side by side."""
    width = x.shape[1]
    return x.as_strided((frames, taps * width), (stride * width, 1), x.storage_offset() + tap * width)


def _image(x: Float[Tensor, "frame dim"]) -> Float[Tensor, "1 dim 1 frame"]:
    # An image of height 1 whose channels lie innermost: no copy.
    return x[None, None].permute(0, 3, 1, 2)
