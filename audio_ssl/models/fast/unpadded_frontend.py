"""The convolutional frontend on a GPU without gradients: frames of all clips in rows, one clip after the other.

- Rows are ``[frame, channel]``: convolutions run channels last, as tensor cores want them, and nothing is transposed.
- Each clip begins at a multiple of the hop, so a frame's place is the same in every layer and frames that look at two
  clips are simply not taken: padding is a frame a clip.
- The first layer's norm is folded into a kernel per clip, from the covariance of the samples under it.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.models.fast.cpu import gelu_
from audio_ssl.models.frontends.conv import ConvFrontend
from audio_ssl.models.normalisation import Moments
from audio_ssl.models.padding import frames_inside

_ALIGNED = 16
"""Columns of the first product: the kernel, a column of ones for the shift, zeros up to what tensor cores take."""


class FrameRows(NamedTuple):
    """Frames of several clips, one clip after the other."""

    frames: Float[Tensor, "row dim"]
    counts: list[int]
    """Frames of each clip."""


class UnpaddedFrontend(nn.Module):
    """`ConvFrontend` in a dtype, with weights laid out once.

    Parameters
    ----------
    frontend
        Its weights are copied.
    dtype
        Of the products.
    """

    def __init__(self, frontend: ConvFrontend, dtype: torch.dtype) -> None:
        super().__init__()
        self.grid, self.dim, self.collector = frontend.grid, frontend.dim, frontend.collector
        self._stack, self._dtype = frontend._stack, dtype
        first, *later = (cast(nn.Conv1d, conv) for conv in frontend.convs)
        self._first = _kept(first.weight[:, 0].double())
        self._shift = _kept(torch.zeros(len(first.weight)) if first.bias is None else first.bias)
        self._kernels = nn.ParameterList(
            _kept(conv.weight[:, :, None].to(dtype).contiguous(memory_format=torch.channels_last)) for conv in later
        )
        self._biases = nn.ParameterList(_kept(conv.bias.to(dtype)) for conv in later if conv.bias is not None)
        self._per_clip = frontend._per_clip
        self._norms = nn.ModuleList(frontend.norms)

    def forward(
        self, waveform: Float[Tensor, "batch sample"], lengths: list[int], statistics: Moments | None = None
    ) -> FrameRows:
        """Return the features of a padded batch, in the dtype.

        Parameters
        ----------
        waveform, lengths
            As of `ConvFrontend.forward`; lengths on the CPU.
        statistics
            Of the clip that all rows are parts of.
        """
        counts = [self._stack.frames(samples) for samples in lengths]
        steps = math.prod(self._stack.strides[1:])
        # Frames of the first layer under one frame of the last, and slots of a frame of the last that a clip takes.
        field = (self.grid.window_samples - self._stack.kernels[0]) // self._stack.strides[0] + 1
        taken = [count[-1] - 1 + -(-field // steps) if count[-1] else 0 for count in counts]
        windows = waveform.unfold(1, self._stack.kernels[0], self._stack.strides[0])
        kernels = self._kernels_of(windows, [count[0] for count in counts], statistics)
        columns = windows.new_zeros(*windows.shape[:2], _ALIGNED, dtype=self._dtype)
        columns[..., : windows.shape[2]] = windows
        columns[..., windows.shape[2]] = 1.0
        x = columns.new_empty(sum(taken) * steps, kernels.shape[2])
        start, chosen = 0, []
        for row, (count, slots) in enumerate(zip(counts, taken, strict=True)):
            if slots:
                needed = (count[-1] - 1) * steps + field
                place = slice(start * steps, start * steps + needed)
                torch.mm(columns[row, :needed], kernels[row], out=x[place])
                # These rows are not used, but memory that was never written may hold NaN.
                x[place.stop : (start + slots) * steps] = 0.0
                chosen.append(torch.arange(start, start + count[-1]))
            start += slots
        counts_last = [count[-1] for count in counts]
        if not chosen:
            return FrameRows(x.new_zeros(0, self.dim), counts_last)
        if not self._per_clip:
            x = self._normed(x, 0)
        x = gelu_(x)
        for layer, (kernel, stride) in enumerate(zip(self._kernels, self._stack.strides[1:], strict=True), start=1):
            bias = self._biases[layer - 1] if len(self._biases) else None
            image = F.conv2d(x[None, None].permute(0, 3, 1, 2), kernel, bias, stride=(1, stride))
            x = image.permute(0, 2, 3, 1)[0, 0].contiguous()
            x = gelu_(x if self._per_clip else self._normed(x, layer))
        return FrameRows(x[torch.cat(chosen).to(x.device)], counts_last)

    def _normed(self, x: Tensor, layer: int) -> Tensor:
        norm = cast(nn.LayerNorm, self._norms[layer])
        return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)

    def _kernels_of(
        self, windows: Float[Tensor, "batch frame kernel"], frames: list[int], given: Moments | None
    ) -> Float[Tensor, "batch column dim"]:
        """Return each clip's kernel of the first layer, its norm and the shift folded in."""
        weight = self._first
        if not self._per_clip:
            scaled = weight.expand(len(windows), -1, -1)
            shifts = self._shift.double().expand(len(windows), -1)
        else:
            mean, covariance = _moments(windows, frames) if given is None else _repeated(given, windows)
            variance = torch.einsum("ck,bkl,cl->bc", weight, covariance, weight).clamp(min=0)
            norm = self._norms[0]
            factor = (variance + self._stack.eps).rsqrt() * cast(Tensor, norm.weight).double()
            scaled = weight * factor[..., None]
            # The norm takes a bias away again.
            shifts = cast(Tensor, norm.bias).double() - (mean @ weight.T) * factor
        kernels = weight.new_zeros(len(windows), _ALIGNED, len(weight))
        kernels[:, : weight.shape[1]] = scaled.transpose(1, 2)
        kernels[:, weight.shape[1]] = shifts
        return kernels.to(self._dtype)


def frontend_fits(frontend: nn.Module) -> bool:
    """Return whether a frontend can be computed in rows."""
    if not isinstance(frontend, ConvFrontend) or not frontend._gelu:
        return False
    return len(frontend.convs) > 1 and frontend._stack.kernels[0] < _ALIGNED


def _kept(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone(), requires_grad=False)


def _moments(windows: Tensor, frames: list[int]) -> tuple[Tensor, Tensor]:
    """Return mean ``[batch, kernel]`` and covariance ``[batch, kernel, kernel]`` of each clip's own windows."""
    count = torch.tensor(frames, device=windows.device)
    inside = frames_inside(count, windows.shape[1])
    own = torch.where(inside, windows.double(), 0.0)
    total = count.clamp(min=1)[:, None]
    mean = own.sum(1) / total
    centred = torch.where(inside, own - mean[:, None], 0.0)
    return mean, centred.transpose(1, 2) @ centred / total[..., None]


def _repeated(given: Moments, windows: Tensor) -> tuple[Tensor, Tensor]:
    mean, covariance = (value.to(windows.device).expand(len(windows), *value.shape) for value in given)
    return mean, covariance
