"""Which crops make up which update: a pure function of (seed, epoch, position).

An epoch visits every clip once. Crops are chosen here only, on frame boundaries, so that stored targets and targets
computed on the fly are cut at the same frames.

Clips of similar length form groups, which need little padding. An update (global batch) consists of random groups, as
in fairseq, where a group is the batch of one GPU. The lengths in an update are then those of the corpus, and its
gradient is less noisy than that of an update of clips of similar length (``docs/benchmarks.md``). An update that is no
longer than a group is one group.

An update is chosen first and then divided into micro-batches that fit into memory. Micro-batches are distributed over
the processes, so neither the memory of a machine nor the number of machines changes an update. A group that fits into a
micro-batch is not cut, so up to as many processes as an update has groups are busy.

Left out on purpose: weighting of corpora, and updates that span two epochs. The clips of a batch are padded; fairseq
cuts them to the shortest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio_ssl.base.errors import UserError

_POOL_UPDATES = 8
"""Crops are sorted by length within pools of this many updates, so there is little padding and updates stay random."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A span of one clip."""

    clip: int
    """Index of the clip."""

    start_samples: int
    """First sample, a multiple of the hop."""

    num_samples: int
    """Length of the span."""

    key: int
    """Random number of the crop. Its mask is drawn from it, so the mask does not depend on the batch."""


MicroBatch = tuple[Crop, ...]
Update = tuple[MicroBatch, ...]


@dataclass(frozen=True)
class Batching:
    """The order of a training run.

    Parameters
    ----------
    lengths_samples
        Length of each clip, at the model's sample rate.
    hop_samples
        Hop of the frame grid; crops start on multiples of it.
    crop_samples
        Maximum length of a crop. Longer clips are cropped at a random position.
    update_samples
        Audio of one optimiser update: that of all its groups if they were full.
    batch_samples
        Maximum audio of a micro-batch, padding included.
    seed
        Seed of the order.
    group_samples
        Maximum audio of a group of clips of similar length, padding included. The number of groups of an update is
        the one closest to `update_samples`. None: an update is one group.

    Examples
    --------
    >>> plan = Batching((800, 800, 1600), 10, 800, 1600, 800, seed=1)
    >>> sorted(len(update) for update in plan.epoch(0))  # micro-batches of each update
    [1, 2]
    """

    lengths_samples: tuple[int, ...]
    hop_samples: int
    crop_samples: int
    update_samples: int
    batch_samples: int
    seed: int
    group_samples: int | None = None

    def __post_init__(self) -> None:
        if not self.lengths_samples:
            raise ValueError("`lengths_samples` must name at least one clip")
        if self.batch_samples < self.crop_samples:
            raise UserError(
                f"a micro-batch must hold at least one crop: {self.batch_samples} samples are fewer than a crop's "
                f"{self.crop_samples}",
                where="$.data.seconds_per_batch",
                remedy="raise data.seconds_per_batch or lower data.crop_seconds",
            )

    @property
    def groups(self) -> int:
        """Number of groups of an update."""
        return max(1, round(self.update_samples / self._group_samples))

    @property
    def most_samples(self) -> int:
        """Audio of an update if all its groups are full and all crops have the maximum length."""
        if self.groups == 1:
            return self.update_samples
        return self.groups * (self._group_samples // self.crop_samples) * self.crop_samples

    @property
    def _group_samples(self) -> int:
        """Maximum audio of a group, at least one crop."""
        return max(self.group_samples or self.update_samples, self.crop_samples)

    def epoch(self, epoch: int) -> list[Update]:
        """Return the updates of one epoch in order; they depend on (seed, epoch) only."""
        rng = np.random.default_rng([self.seed, epoch])
        group_samples, number = self._group_samples, self.groups
        updates: list[list[list[Crop]]] = []
        groups: list[list[Crop]] = []
        for pool in _fill(self._crops(rng), _POOL_UPDATES * self.update_samples):
            pool.sort(key=_by_length)
            groups += _fill(pool, self.update_samples) if number == 1 else _fit(pool, group_samples)
        order = rng.permutation(len(groups)).tolist()
        for first in range(0, len(order), number):
            some = [groups[index] for index in order[first : first + number]]
            if updates and len(some) < number / 2:
                # A short rest joins the last update, so that no update is tiny.
                updates[-1].extend(some)
            else:
                updates.append(some)
        return [self._micro_batches(update) for update in updates]

    def _crops(self, rng: np.random.Generator) -> list[Crop]:
        lengths = np.asarray(self.lengths_samples, dtype=np.int64)
        order = rng.permutation(len(lengths))
        spare_hops = np.maximum(lengths - self.crop_samples, 0) // self.hop_samples
        starts = rng.integers(0, spare_hops + 1) * self.hop_samples
        keys = rng.integers(0, 2**62, size=len(lengths))
        sizes = np.minimum(lengths, self.crop_samples)
        return [Crop(int(i), int(starts[i]), int(sizes[i]), int(keys[i])) for i in order]

    def _micro_batches(self, groups: Sequence[Sequence[Crop]]) -> Update:
        """Cut groups that are too large for a micro-batch, and combine others as long as they fit."""
        parts = [part for group in groups for part in _fit(sorted(group, key=_by_length), self.batch_samples)]
        micro: list[list[Crop]] = []
        for part in sorted(parts, key=lambda part: _by_length(part[0])):
            if micro and micro[-1][0].num_samples * (len(micro[-1]) + len(part)) <= self.batch_samples:
                micro[-1].extend(part)
            else:
                micro.append(list(part))
        return tuple(tuple(one) for one in micro)


def _by_length(crop: Crop) -> tuple[int, int]:
    return -crop.num_samples, crop.key


def _fit(crops: Sequence[Crop], samples: int) -> list[list[Crop]]:
    """Divide crops, longest first, into groups of at most `samples` with padding, or of one crop."""
    groups: list[list[Crop]] = []
    for crop in crops:
        # The first crop of a group is the longest, so it sets the padded length.
        if groups and groups[-1][0].num_samples * (len(groups[-1]) + 1) <= samples:
            groups[-1].append(crop)
        else:
            groups.append([crop])
    return groups


def _fill(crops: Sequence[Crop], samples: int) -> list[list[Crop]]:
    """Divide a sequence of crops into groups of `samples`; a short rest joins the last group."""
    groups: list[list[Crop]] = [[]]
    filled = 0
    for crop in crops:
        if filled >= samples:
            groups.append([])
            filled = 0
        groups[-1].append(crop)
        filled += crop.num_samples
    if len(groups) > 1 and filled < samples / 2:
        rest = groups.pop()
        groups[-1].extend(rest)
    return groups
