"""The convolutional frontend on a CPU without gradients: a few frames of the last layer at a time, through all layers.

So no layer ever exists as a whole: what one layer gives the next is still in the caches, memory does not grow with the
clip, and buffers are used again. Where two pieces meet, a handful of frames of the first layers is computed twice.
Pieces begin at the same frames of a clip whatever the batch, so a clip's features are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.models.fast.convolutions import ConvSizes, Source, under
from audio_ssl.models.fast.cpu import gelu_, product

_PIECE_FRAMES = 128
"""Of the last layer: 8,192 of the first, 17 MB for the base model, which a shared cache can hold."""

_FEW_FRAMES = 1000
"""For fewer frames the extra additions cost more than the saved product."""

Layer = Callable[[Tensor, int], Tensor]
"""Frames of the layer before, which may be overwritten, and the number of its own, to these: norm and GELU included."""


def conv_features(
    waveform: Float[Tensor, "batch sample"],
    lengths: Sequence[int],
    stack: ConvSizes,
    first: Callable[[Tensor, int], Source],
    layers: Sequence[Layer],
) -> Float[Tensor, "batch frame dim"]:
    """Return the features of a padded batch, zero past each clip's frames.

    Parameters
    ----------
    waveform
        On a CPU.
    lengths
        Samples of each clip.
    stack
        Kernels and strides.
    first
        Called with a clip's samples and the frames of the first layer; gives what computes a span of these, norm
        included.
    layers
        The others.
    """
    total = stack.frames(waveform.shape[1])[-1]
    features: Tensor | None = None
    for row, samples in enumerate(lengths):
        counts = stack.frames(samples)
        if not counts[-1]:
            continue
        source = first(waveform[row, :samples], counts[0])
        for begin in range(0, counts[-1], _PIECE_FRAMES):
            end = min(begin + _PIECE_FRAMES, counts[-1])
            piece = _through(source, begin, end, stack, layers)
            if features is None:
                features = piece.new_zeros(len(waveform), total, piece.shape[1])
            features[row, begin:end] = piece
    return waveform.new_zeros(len(waveform), total, 0) if features is None else features


def _through(source: Source, begin: int, end: int, stack: ConvSizes, layers: Sequence[Layer]) -> Tensor:
    """Return frames `begin` to `end` of the last layer."""
    counts = [end - begin]
    for kernel, stride in zip(stack.kernels[:0:-1], stack.strides[:0:-1], strict=True):
        begin, end = begin * stride, (end - 1) * stride + kernel
        counts.append(end - begin)
    x = gelu_(source(slice(begin, end)))
    for layer, count in zip(layers, counts[-2::-1], strict=True):
        x = layer(x, count)
    return x


def plain_first(
    samples: Tensor, stack: ConvSizes, weight: Tensor, bias: Tensor | None, norm: Callable[[Tensor], Tensor]
) -> Source:
    """Return what computes a span of the first layer where its norm looks at one frame only."""
    windows, kernel = samples.unfold(0, stack.kernels[0], stack.strides[0]), weight[:, 0]
    return lambda span: norm(F.linear(windows[span], kernel, bias))


class ColumnsLayer:
    """A convolution as a linear map of frames side by side.

    Parameters
    ----------
    linear
        ``[frame, taps * input]`` to ``[frame, dim]``; the frames overlap in memory.
    taps, stride
        In frames.
    norm
        Between convolution and GELU; None: none.
    """

    def __init__(
        self, linear: Callable[[Tensor], Tensor], taps: int, stride: int, norm: Callable[[Tensor], Tensor] | None
    ) -> None:
        self._linear, self._taps, self._stride, self._norm = linear, taps, stride, norm

    @classmethod
    def of(cls, layer: PlainLayer, linear: Callable[[Tensor, Tensor | None], Callable[[Tensor], Tensor]]) -> Self:
        """Return the layer with its map made otherwise, of weight ``[dim, taps * input]`` and bias."""
        return cls(linear(layer.columns, layer.bias), layer._taps, layer._stride, layer._norm)

    def __call__(self, x: Tensor, count: int) -> Tensor:
        """Return frames after norm and GELU."""
        y = self._convolved(x, count)
        return gelu_(y if self._norm is None else self._norm(y))

    def _convolved(self, x: Tensor, count: int) -> Tensor:
        return self._linear(under(x, count, 0, self._taps, self._stride))


class PlainLayer(ColumnsLayer):
    """The same in float32.

    Parameters
    ----------
    weight, bias
        Of the convolution.
    stride
        In frames.
    norm
        Between convolution and GELU; None: none.
    """

    def __init__(
        self,
        weight: Float[Tensor, "dim input tap"],
        bias: Tensor | None,
        stride: int,
        norm: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.columns, self.bias = weight.permute(0, 2, 1).flatten(1), bias
        super().__init__(lambda x: product(x, self.columns, bias), weight.shape[2], stride, norm)
        self._halved = None
        if (self._taps, stride) == (3, 2):
            first, middle, last = weight.unbind(2)
            self._halved = (first + last, torch.cat([first, middle], 1), torch.cat([middle, last], 1))

    def __call__(self, x: Tensor, count: int) -> Tensor:
        """Return frames after norm and GELU; `x` is overwritten."""
        if self._halved is None or self._norm is not None or count < _FEW_FRAMES:
            return super().__call__(x, count)
        y = x.new_empty(count, len(self.columns))
        if count % 2:
            y[-1:] = self._convolved(x[(count - 1) * self._stride :], 1)
        self._in_pairs(x, y)
        return gelu_(y)

    def _in_pairs(self, x: Tensor, out: Tensor) -> None:
        """Compute all pairs of frames; a pair of frames takes five products of taps and not six.

        With the frames a, b, c, d, e under two kernels (p, q, r), whose outputs are ap + bq + cr and cp + dq + er, the
        product c (p + r) is part of both: it leaves (a - c) p + bq and dq + (e - c) r (Winograd 1980, F(2, 2) on every
        other frame).
        """
        assert self._halved is not None
        both, left, right = self._halved
        pairs, width = len(out) // 2, x.shape[1]
        fours = x[: 4 * pairs].view(pairs, 4, width)
        middle = fours[:, 2]
        after = x.new_empty(pairs, 2, width)
        after[:, 0] = fours[:, 3]
        torch.sub(x[4 : 4 * pairs + 1 : 4], middle, out=after[:, 1])
        fours[:, 0] -= middle
        shared = product(middle, both, self.bias)
        outputs = out[: 2 * pairs].view(pairs, 2, -1)
        for place, (frames, weight) in enumerate(((fours.flatten(1)[:, : 2 * width], left), (after.flatten(1), right))):
            torch.add(product(frames, weight, None), shared, out=outputs[:, place])
