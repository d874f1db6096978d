"""Additive quantisation: a frame is the sum of one code from each of several codebooks, all found together.

Residual quantisation (Chen, Guan and Wang 2010) finds codebooks one after the other and chooses codes in that order.
From there both are improved in turns (Babenko and Lempitsky 2014):

- **codes of a frame** (`AdditiveCodes.encode`): several sums are kept from codebook to codebook (beam search);
- **codebooks** (`improve`): all at once, by least squares of the frames on their codes.

So no codebook comes before another, as in the multi-codebook quantiser of Guo et al. 2022 (arXiv 2211.00508), which
finds the same kind of codes by gradient descent.
"""

from __future__ import annotations

import logging
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.targets.clustering import cluster, half_squares, nearest

logger = logging.getLogger(__name__)

_SCORES = 1 << 22
"""Scores of codes that are held at once (16 MiB): memory does not grow with the clip."""

_RIDGE = 1.0
"""Frames' worth of holding on to what a code was: codes that nothing has stay, and least squares has one solution."""

_TOLERANCE = 1e-3
"""Rounds end where the error falls by less than this share of itself."""


class AdditiveCodes:
    """Codebooks whose codes add up, ready to encode frames.

    Parameters
    ----------
    codes
        ``[codebook, code, dim]``.
    """

    def __init__(self, codes: Float[Tensor, "codebook code dim"]) -> None:
        self.codes = codes
        number, size, dim = codes.shape
        flat = codes.reshape(-1, dim)
        self._flat, self._bias = flat, half_squares(flat)
        # What the codes taken from other codebooks cost each code of this one; the last row is of none taken.
        shared = torch.cat([flat @ flat.T, flat.new_zeros(1, len(flat))])
        self._shared = []
        for book in range(number):
            block = shared[:, book * size : (book + 1) * size].clone()
            block[book * size : (book + 1) * size] = 0
            self._shared.append(block)

    def encode(self, frames: Float[Tensor, "frame dim"], beam: int) -> Int[Tensor, "frame codebook"]:
        """Return the codes of frames, on the device of the codebooks.

        Parameters
        ----------
        frames
            Of the codebooks' width.
        beam
            How many sums of a frame, the best ones, are kept from codebook to codebook; 1: residual quantisation.
        """
        if len(frames) == 0:
            return torch.zeros(0, len(self.codes), dtype=torch.int64, device=frames.device)
        rows = max(1, _SCORES // (beam * self.codes.shape[1]))
        return torch.cat([self._encode(part, beam) for part in torch.split(frames, rows)])

    def decode(self, labels: Int[Tensor, "frame codebook"]) -> Float[Tensor, "frame dim"]:
        """Return the sum of the codes of each frame."""
        return F.embedding_bag(labels + self._offsets(labels.device), self._flat, mode="sum")

    def _encode(self, frames: Tensor, beam: int) -> Tensor:
        number, size, _ = self.codes.shape
        scores = torch.addmm(self._bias, frames, self._flat.T).reshape(-1, number, size)
        taken = torch.full((len(frames), 1, number), number * size, device=frames.device)
        reached = scores.new_zeros(len(frames), 1)
        for book in range(number):
            kept = taken.shape[1]
            others = F.embedding_bag(taken.flatten(0, 1), self._shared[book], mode="sum").reshape(-1, kept, size)
            # Of a sum s of codes, x.s - |s|^2 / 2: the larger, the nearer s is to x.
            reach = reached[..., None] + scores[:, book, None] - others
            reached, best = reach.flatten(1).topk(min(beam, kept * size), dim=1)
            taken = taken.gather(1, (best // size)[..., None].expand(-1, -1, number))
            taken[..., book] = best % size + book * size
        return taken[:, 0] - self._offsets(frames.device)

    def _offsets(self, device: torch.device) -> Tensor:
        number, size, _ = self.codes.shape
        return torch.arange(number, device=device) * size


def residual(
    frames: Float[Tensor, "frame dim"], codebooks: int, size: int, generator: torch.Generator, batch_frames: int
) -> Float[Tensor, "codebook code dim"]:
    """Return codebooks found one after the other, by k-means of what those before left over."""
    rest, books = frames, []
    for _ in range(codebooks):
        codes = cluster(rest, size, generator, batch_frames, tries=1)
        rest = rest - codes[nearest(rest, codes, half_squares(codes))[0]]
        books.append(codes)
    return torch.stack(books)


def improve(
    frames: Float[Tensor, "frame dim"],
    codes: Float[Tensor, "codebook code dim"],
    labels: Int[Tensor, "frame codebook"],
) -> Float[Tensor, "codebook code dim"]:
    """Return the codebooks of least squared error for frames whose codes are given."""
    number, size, dim = codes.shape
    together = torch.zeros(number * size, number * size, dtype=torch.float64)
    sums = torch.zeros(number * size, dim, dtype=torch.float64)
    error = (frames - AdditiveCodes(codes).decode(labels)).double()
    for book in range(number):
        mine = slice(book * size, (book + 1) * size)
        sums[mine] = (
            torch.zeros(size, dim, dtype=torch.float64, device=frames.device)
            .index_add_(0, labels[:, book], error)
            .cpu()
        )
        for other in range(number):
            both = torch.bincount(labels[:, book] * size + labels[:, other], minlength=size * size)
            together[mine, other * size : (other + 1) * size] = both.reshape(size, size).double().cpu()
    together.diagonal().add_(_RIDGE)
    change = torch.cholesky_solve(sums, torch.linalg.cholesky(together))
    return codes + change.reshape(number, size, dim).to(codes)


def fit_codes(
    frames: Float[Tensor, "frame dim"],
    sizes: tuple[int, int],
    rounds: int,
    beam: int,
    generator: torch.Generator,
    batch_frames: int,
) -> Float[Tensor, "codebook code dim"]:
    """Find codebooks for frames of zero mean, on their device.

    Parameters
    ----------
    frames
        At least as many as codes of a codebook.
    sizes
        Codebooks, and codes of each.
    rounds
        Of improving codes and codebooks in turns, at most.
    beam
        Of `AdditiveCodes.encode`.
    generator
        On the CPU; decides where the codebooks start.
    batch_frames
        Of a mini-batch of k-means.
    """
    codes = residual(frames, *sizes, generator, batch_frames)
    whole, best, last, least = max(float(frames.square().mean()), 1e-12), codes, math.inf, math.inf
    for number in range(rounds + 1):
        found = AdditiveCodes(codes)
        labels = found.encode(frames, beam)
        error = float((frames - found.decode(labels)).square().mean())
        logger.info("%d codebooks leave %.1f %% of the variance after round %d", sizes[0], 100 * error / whole, number)
        if error < least:
            best, least = codes, error
        if number == rounds or last - error <= _TOLERANCE * error:
            break
        last, codes = error, improve(frames, codes, labels)
    return best
