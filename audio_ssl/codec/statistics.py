"""What a codec needs to know of more than one clip, however an update is split: a norm, and a sample of an update."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

Sum = Callable[[Tensor], Tensor]
"""Adds a tensor up over all processes."""

_LOT_BITS, _DIGIT_BITS = 24, 4
_POSITIVE = (1 << 63) - 1


class LatentNorm(nn.Module):
    """Norm by a reference batch (virtual batch norm, Salimans et al. 2016, arXiv 1606.03498).

    Without a norm latents drift faster than codebooks can follow, and all frames get one code until the learning rate
    has decayed. Batch norm prevents that, as its gradient knows that every shift is taken back, but it ties a frame's
    codes to its micro-batch; averages over earlier batches lack that gradient.

    Parameters
    ----------
    dim
        Of the frames.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(
        self, frames: Float[Tensor, "frame dim"], reference: Float[Tensor, "other dim"] | None = None
    ) -> Float[Tensor, "frame dim"]:
        """Normalise by the frames of a reference batch, or by those that `set` was given."""
        mean, variance = self.mean, self.variance
        if reference is not None:
            mean, variance = reference.mean(0), reference.var(0, unbiased=False)
        return (frames - mean) * (variance + 1e-5).rsqrt()

    @torch.no_grad()
    def set(self, reference: Float[Tensor, "other dim"]) -> None:
        """Keep mean and variance of frames."""
        self.mean.copy_(reference.mean(0))
        self.variance.copy_(reference.var(0, unbiased=False))


class Sample(nn.Module):
    """A random sample of an update's frames or clips, which does not depend on how the update is split.

    Every row has a lot, drawn from its crop's key; the lot says which slot the row competes for, and how strongly.

    Parameters
    ----------
    slots
        Most rows of the sample.
    dim
        Numbers of each.
    """

    _rows: Tensor
    _best: Tensor

    def __init__(self, slots: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("_rows", torch.zeros(slots, dim), persistent=False)
        self.register_buffer("_best", torch.full((slots,), -1), persistent=False)

    @torch.no_grad()
    def add(self, rows: Float[Tensor, "row dim"], lots: Int[Tensor, " row"]) -> None:
        """Let rows compete for the slots."""
        slots = len(self._best)
        slot, strength = lots % slots, (lots // slots) % (1 << _LOT_BITS)
        self._best.scatter_reduce_(0, slot, strength, "amax")
        won = strength == self._best[slot]
        self._rows[slot[won]] = rows[won].to(self._rows.dtype)

    @torch.no_grad()
    def gather(self, sum_over_processes: Sum) -> Float[Tensor, "row dim"]:
        """Return the rows that won, the same in every process."""
        # The strongest of all processes by sums alone: digit by digit, whoever has less than the highest leaves.
        alive = self._best >= 0
        for shift in range(_LOT_BITS - _DIGIT_BITS, -1, -_DIGIT_BITS):
            digit = (self._best >> shift) & ((1 << _DIGIT_BITS) - 1)
            votes = sum_over_processes(F.one_hot(digit, 1 << _DIGIT_BITS).float() * alive[:, None])
            highest = (votes.shape[1] - 1) - (votes.flip(1) > 0).float().argmax(1)
            alive = alive & (digit == highest)
        winners = sum_over_processes(alive.float())
        rows = sum_over_processes(self._rows * alive[:, None])
        return rows[winners > 0] / winners[winners > 0][:, None]

    def clear(self) -> None:
        """Forget the update."""
        self._best.fill_(-1)


def lots(keys: Sequence[int], frames: int) -> Int[Tensor, "batch frame"]:
    """Return a random number below 2^63 per frame, a function of its crop's key and its place (splitmix64)."""
    key = torch.tensor([key & _POSITIVE for key in keys], dtype=torch.long)
    mixed = key[:, None] + torch.arange(1, frames + 1) * (0x9E3779B97F4A7C15 - (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - (1 << 64)), (27, 0x94D049BB133111EB - (1 << 64))):
        mixed = mixed & _POSITIVE
        mixed = (mixed ^ (mixed >> shift)) * factor
    mixed = mixed & _POSITIVE
    return mixed ^ (mixed >> 31)
