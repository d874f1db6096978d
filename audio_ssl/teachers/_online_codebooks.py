"""Codebooks that follow the frames they label: the online clustering of DinoSR (Liu et al. 2023, arXiv 2305.10005).

A code is the sum of the frames nearest to it over their number, both moving averages: with n frames of sum s in an
update, ``sum = decay * sum + (1 - decay) * s`` and ``number = decay * number + (1 - decay) * n``. A code that has no
frame in an update stays as it is, and none is ever drawn anew. First codes are normal noise, of zero mean and unit
variance over the codes of a codebook, each with a number of one.

Statistics are added up over the micro-batches of an update and over processes, and taken in after it. So codes do not
depend on how an update is split, and a skipped update leaves them, as batch norm's statistics (`batch_norm`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.teachers._kmeans_nearest import half_squares, nearest


class OnlineCodebooks(nn.Module):
    """One codebook a layer.

    Parameters
    ----------
    codebooks, codebook_size, dim
        Sizes.
    decay
        Share of a code's average that stays with each update in which it has frames; at 1 codes never move.
    """

    sums: Tensor
    sizes: Tensor
    usage: Tensor
    _totals: Tensor
    _counts: Tensor

    def __init__(self, codebooks: int, codebook_size: int, dim: int, decay: float) -> None:
        super().__init__()
        self._decay = decay
        first = torch.randn(codebooks, dim, codebook_size)
        if codebook_size > 1:
            first = F.instance_norm(first)
        self.register_buffer("sums", first.transpose(1, 2).contiguous())
        self.register_buffer("sizes", torch.ones(codebooks, codebook_size))
        # Share of the codes that had frames in the update before; for the log alone.
        self.register_buffer("usage", torch.zeros(codebooks))
        # Of the update under way; between updates they are zero, so no checkpoint needs them.
        self.register_buffer("_totals", torch.zeros(codebooks, codebook_size, dim), persistent=False)
        self.register_buffer("_counts", torch.zeros(codebooks, codebook_size), persistent=False)

    @property
    def codes(self) -> Float[Tensor, "codebook code dim"]:
        """The codes: averages of the frames that they were nearest to."""
        return self.sums / self.sizes[..., None]

    @torch.no_grad()
    def forward(
        self, states: Sequence[Float[Tensor, "batch frame dim"]], counted: Int[Tensor, "batch frame"]
    ) -> Int[Tensor, "batch frame codebook"]:
        """Return the nearest code of every frame of each layer; in training, count what codes are used for.

        Parameters
        ----------
        states
            Of the layers, float32, one for each codebook.
        counted
            How often each frame counts for the averages.
        """
        # Distances need float32 whatever the model runs in.
        with torch.autocast(states[0].device.type, enabled=False):
            return torch.stack([self._label(state, book, counted) for book, state in enumerate(states)], -1)

    def _label(self, state: Tensor, book: int, counted: Tensor) -> Int[Tensor, "batch frame"]:
        codes = self.sums[book] / self.sizes[book][:, None]
        frames = state.flatten(0, 1)
        index, _ = nearest(frames, codes, half_squares(codes))
        if self.training:
            weights = counted.flatten().to(frames.dtype)
            rows = weights.nonzero()[:, 0]
            weights, found = weights[rows], index[rows]
            self._counts[book].index_add_(0, found, weights)
            self._totals[book].index_add_(0, found, frames[rows] * weights[:, None])
        return index.reshape(state.shape[:2])

    @torch.no_grad()
    def follow(self, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let the codes take in the frames counted since the last call.

        Parameters
        ----------
        sum_over_processes
            Adds a tensor up over the processes that share the update; every one of them calls this.
        """
        # One sum for both: each is a word with every other process.
        gathered = sum_over_processes(torch.cat([self._totals, self._counts[..., None]], -1))
        totals, counts = gathered[..., :-1], gathered[..., -1]
        used = counts > 0
        keep = torch.where(used, self._decay, 1.0)
        self.sums.mul_(keep[..., None]).add_((1 - keep)[..., None] * totals)
        self.sizes.mul_(keep).add_((1 - keep) * counts)
        self.usage.copy_(used.float().mean(1))
        self._totals.zero_()
        self._counts.zero_()
