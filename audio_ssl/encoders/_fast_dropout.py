"""Dropout that does not wait for random numbers.

On a CPU, torch draws a float64 for every element, one after the other: with attention over 5 s of audio that is an
eighth of a training step in bfloat16. Here every 64 random bits decide over four elements. Elsewhere, and where nothing
is dropped, this is torch's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.nn import functional as F

_STEPS = 2**16


def share(p: float) -> float:
    """Return the chance that is really used: the nearest multiple of 1 / 65536.

    Examples
    --------
    >>> share(0.5)
    0.5
    >>> abs(share(0.1) - 0.1) < 1e-5
    True
    """
    return round(p * _STEPS) / _STEPS


def draw_kept(shape: Sequence[int], p: float) -> Shaped[Tensor, ...]:
    """Return a tensor of `shape` on the CPU, False with the chance ``share(p)``, from torch's own generator."""
    total = torch.Size(shape).numel()
    words = torch.empty((total + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return (words.view(torch.int16)[:total] >= round(p * _STEPS) - _STEPS // 2).view(*shape)


def is_fast(x: Tensor, p: float) -> bool:
    """Return whether the CPU's own way is taken."""
    return x.device.type == "cpu" and 0 < p < 1 and not torch.compiler.is_compiling()


class Dropout(nn.Dropout):
    """``nn.Dropout``, faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements in training and scale up the others."""
        if not self.training or not is_fast(x, self.p):
            return F.dropout(x, self.p, self.training)
        dropped = _Dropout.apply(x, self.p)  # type: ignore[no-untyped-call]
        assert isinstance(dropped, Tensor)
        return dropped


class _Dropout(torch.autograd.Function):
    """Keeps one byte per element for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept = draw_kept(x.shape, p)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - share(p))
        return (x * kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (grad * kept).mul_(ctx.scale), None
