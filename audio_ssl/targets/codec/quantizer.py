"""Residual vector quantiser with moving-average codebooks (SoundStream, Zeghidour et al. 2021, arXiv 2107.03312).

Codebook k codes what the codebooks before it left over. Codes are the moving average of their frames (van den Oord et
al. 2017, arXiv 1711.00937, appendix A.1), start with k-means, and are replaced by frames once hardly any frame uses
them. Statistics are added up over the micro-batches of an update and applied after it, so that nothing depends on how
an update is split. Codes are those of the encodec package for the same codebooks; its training differs in that every
codebook's commitment reaches the encoder here, and that revived codes stay revived.

`LatentNorm` and `UpdateSample` hold what a codec needs of more than one clip: a norm, and a sample of an update's
frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

_KMEANS_ITERATIONS = 10
_REVIVED_SHARE = 0.5
"""A revived code starts with this share of the mean usage, so that it has time to find its frames."""


class Quantized(NamedTuple):
    """What quantising gives."""

    values: Float[Tensor, "frame dim"]
    """Sums of codes; gradients pass straight through."""

    codes: Int[Tensor, "frame codebook"]
    """Index of the code, codebook by codebook."""

    commitment: Float[Tensor, " frame"]
    """Mean over codebooks of the mean squared distance between what is left and its code."""


class ResidualQuantizer(nn.Module):
    """Residual quantiser of frames.

    In training, frames pass unchanged until `start` was called.

    Parameters
    ----------
    dim, codebooks, codebook_size
        Sizes.
    decay
        Of the moving averages, per update.
    dead_share
        A code used less than this share of the mean code is replaced by a frame; 0: never.
    """

    codebooks: Tensor
    sizes: Tensor
    sums: Tensor
    started: Tensor
    _counts: Tensor
    _totals: Tensor

    def __init__(self, dim: int, codebooks: int, codebook_size: int, decay: float, dead_share: float) -> None:
        super().__init__()
        self._decay, self._dead_share = decay, dead_share
        self.register_buffer("codebooks", torch.zeros(codebooks, codebook_size, dim))
        self.register_buffer("sizes", torch.zeros(codebooks, codebook_size))
        self.register_buffer("sums", torch.zeros(codebooks, codebook_size, dim))
        self.register_buffer("started", torch.tensor(False))
        # Of the update under way; between updates they are zero, so no checkpoint needs them.
        self.register_buffer("_counts", torch.zeros(codebooks, codebook_size), persistent=False)
        self.register_buffer("_totals", torch.zeros(codebooks, codebook_size, dim), persistent=False)

    def forward(self, frames: Float[Tensor, "frame dim"], used: Int[Tensor, " frame"] | None = None) -> Quantized:
        """Quantise; in training, count which frames each code is used for.

        Parameters
        ----------
        frames
            float32 (distances need it).
        used
            How many codebooks make up each frame's value (quantiser dropout); None: all.
        """
        number = len(self.codebooks)
        if self.training and not self.started:
            return Quantized(frames, frames.new_zeros(len(frames), number, dtype=torch.long), frames[:, 0] * 0)
        residual, values, commitment = frames, torch.zeros_like(frames), frames.new_zeros(len(frames))
        codes = []
        for book in range(number):
            index, vectors = self._lookup(residual.detach(), book)
            if self.training:
                self._count(residual.detach(), index, book)
            inside = torch.ones_like(commitment) if used is None else (used > book).to(frames.dtype)
            commitment = commitment + inside * (residual - vectors).square().mean(1)
            values = values + inside[:, None] * vectors
            residual = residual - vectors
            codes.append(index)
        straight = frames + (values - frames).detach()
        return Quantized(straight, torch.stack(codes, 1), commitment / number)

    @torch.no_grad()
    def encode(self, frames: Float[Tensor, "frame dim"]) -> Int[Tensor, "frame codebook"]:
        """Return the codes of frames."""
        codes = []
        for book in range(len(self.codebooks)):
            index, vectors = self._lookup(frames, book)
            frames = frames - vectors
            codes.append(index)
        return torch.stack(codes, 1)

    def decode(self, codes: Int[Tensor, "frame codebook"]) -> Float[Tensor, "frame dim"]:
        """Return the sums of the codes' vectors; the first codebooks alone are enough."""
        values = self.codebooks.new_zeros(len(codes), self.codebooks.shape[2])
        for book, index in enumerate(codes.unbind(1)):
            values = values + F.embedding(index, self.codebooks[book])
        return values

    @torch.no_grad()
    def start(self, frames: Float[Tensor, "frame dim"], seed: int) -> None:
        """Set every codebook by k-means, from frames that are the same in every process."""
        residual, number = frames, self.codebooks.shape[1]
        for book in range(len(self.codebooks)):
            centres, counts = kmeans(residual, number, _generator(seed, book))
            self.codebooks[book] = centres
            self.sizes[book] = counts
            self.sums[book] = centres * self.sizes[book][:, None]
            residual = residual - self._lookup(residual, book)[1]
        self.started.fill_(True)
        self._clear()

    @torch.no_grad()
    def follow(self, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Move the codes towards the mean of the frames counted since the last call."""
        counts, totals = sum_over_processes(self._counts), sum_over_processes(self._totals)
        if counts.sum() > 0:
            self.sizes.lerp_(counts, 1 - self._decay)
            self.sums.lerp_(totals, 1 - self._decay)
            # Both averages of a code that is never used fade to zero, and their quotient means nothing then.
            moving = self.sizes > 1e-6
            means = self.sums / self.sizes.clamp(min=1e-6)[..., None]
            self.codebooks.copy_(torch.where(moving[..., None], means, self.codebooks))
        self._clear()

    @property
    def dead(self) -> Tensor:
        """Which codes are hardly used, ``[codebook, code]``."""
        return self.sizes < self._dead_share * self.sizes.mean(1, keepdim=True)

    @torch.no_grad()
    def revive(self, frames: Float[Tensor, "frame dim"], seed: int) -> None:
        """Replace dead codes by frames drawn at random, the same in every process."""
        residual, dead = frames, self.dead
        for book in range(len(self.codebooks)):
            (codes,) = torch.nonzero(dead[book], as_tuple=True)
            drawn = torch.randperm(len(frames), generator=_generator(seed, book))[: len(codes)].to(frames.device)
            codes = codes[: len(drawn)]
            size = _REVIVED_SHARE * self.sizes[book].mean()
            self.codebooks[book, codes] = residual[drawn]
            self.sizes[book, codes] = size
            self.sums[book, codes] = residual[drawn] * size
            residual = residual - self._lookup(residual, book)[1]

    def _lookup(self, frames: Tensor, book: int) -> tuple[Tensor, Tensor]:
        index = nearest(frames, self.codebooks[book])
        return index, F.embedding(index, self.codebooks[book])

    def _count(self, frames: Tensor, index: Tensor, book: int) -> None:
        self._counts[book].index_add_(0, index, torch.ones_like(frames[:, 0]))
        self._totals[book].index_add_(0, index, frames)

    def _clear(self) -> None:
        self._counts.zero_()
        self._totals.zero_()


def nearest(frames: Float[Tensor, "frame dim"], codes: Float[Tensor, "code dim"]) -> Int[Tensor, " frame"]:
    """Return the index of the code nearest to each frame, to the rounding of the encodec package."""
    table = codes.T
    distance = frames.square().sum(1, keepdim=True) - 2 * frames @ table + table.square().sum(0, keepdim=True)
    return (-distance).max(1).indices


def kmeans(
    frames: Float[Tensor, "frame dim"], clusters: int, generator: torch.Generator
) -> tuple[Float[Tensor, "code dim"], Float[Tensor, " code"]]:
    """Return centres and the number of frames nearest to each.

    Where there are fewer frames than clusters, some centres are equal and the later ones have no frames.
    """
    drawn = torch.randperm(len(frames), generator=generator).to(frames.device)
    centres = frames[drawn.repeat(-(-clusters // len(frames)))[:clusters]]
    for _ in range(_KMEANS_ITERATIONS):
        index = nearest(frames, centres)
        counts = torch.bincount(index, minlength=clusters).to(frames.dtype)
        totals = torch.zeros_like(centres).index_add_(0, index, frames)
        centres = torch.where(counts[:, None] > 0, totals / counts.clamp(min=1)[:, None], centres)
    counts = torch.bincount(nearest(frames, centres), minlength=clusters).to(frames.dtype)
    return centres, counts


def _generator(seed: int, book: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * seed + book)


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


class UpdateSample(nn.Module):
    """A random sample of an update's frames or clips, which does not depend on how the update is split.

    Every row has a random draw from its crop's key, which says for which slot the row competes, and how strongly.

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
        # The strongest of all processes, by sums alone: digit by digit, those below the highest digit drop out.
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


def draw_lots(keys: Sequence[int], frames: int) -> Int[Tensor, "batch frame"]:
    """Return a random number below 2^63 per frame, a function of its crop's key and its place (splitmix64)."""
    key = torch.tensor([key & _POSITIVE for key in keys], dtype=torch.long)
    mixed = key[:, None] + torch.arange(1, frames + 1) * (0x9E3779B97F4A7C15 - (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - (1 << 64)), (27, 0x94D049BB133111EB - (1 << 64))):
        mixed = mixed & _POSITIVE
        mixed = (mixed ^ (mixed >> shift)) * factor
    mixed = mixed & _POSITIVE
    return mixed ^ (mixed >> 31)
