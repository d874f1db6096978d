"""Whether one system has a smaller gap between two groups than another, on the same speakers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from audio_ssl.metrics.bootstrap import Array, Interval, Score, replicate_sums

ENUMERATE_UP_TO = 10_000
_ROUNDING = 1e-9
_CHUNK_ELEMENTS = 1 << 18


class GapDifference(NamedTuple):
    """The gap of system a minus the gap of system b."""

    difference: Interval
    p_value: float
    gap_a: float
    gap_b: float


def gap_difference(
    first_a: Array,
    second_a: Array,
    first_b: Array,
    second_b: Array,
    score: Score,
    replicates: int = 10_000,
    rng: np.random.Generator | None = None,
    confidence: float = 0.95,
) -> GapDifference:
    """Compare the gaps of systems a and b between a first and a second group.

    Parameters
    ----------
    first_a, second_a, first_b, second_b
        Statistics summed per speaker, ``[speaker, column]``; row ``i`` of `first_a` and `first_b` is the same speaker,
        so is that of `second_a` and `second_b`.
    score
        ``[..., column]`` to ``[...]``.
    replicates
        Resamples, and random swaps where they cannot be enumerated.
    rng
        Where the chance comes from; a generator seeded with 0 if None.
    confidence
        Coverage asked for.
    """
    rng = rng or np.random.default_rng(0)
    columns = first_a.shape[1]
    first, second = np.concatenate([first_a, first_b], 1), np.concatenate([second_a, second_b], 1)

    def gaps(ours: Array, theirs: Array) -> tuple[Array, Array]:
        a = score(ours[..., :columns]) - score(theirs[..., :columns])
        return a, score(ours[..., columns:]) - score(theirs[..., columns:])

    gap_a, gap_b = (float(gap) for gap in gaps(first.sum(0), second.sum(0)))
    a, b = gaps(replicate_sums(first, replicates, rng), replicate_sums(second, replicates, rng))
    draws = a - b
    draws = draws[np.isfinite(draws)]
    observed = gap_a - gap_b
    if not np.isfinite(observed) or len(draws) == 0:
        return GapDifference(Interval(observed, np.nan, np.nan), float("nan"), gap_a, gap_b)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    speakers = len(first) + len(second)
    exact = 2**speakers <= ENUMERATE_UP_TO
    extreme = tried = 0
    swapped_first, swapped_second = (np.roll(sums, columns, axis=1) for sums in (first, second))
    for signs in _all(speakers) if exact else _some(speakers, replicates, rng):
        one, other = signs[:, : len(first)], signs[:, len(first) :]
        a, b = gaps(
            one @ swapped_first + (1 - one) @ first,
            other @ swapped_second + (1 - other) @ second,
        )
        change = np.abs(a - b)
        change = change[np.isfinite(change)]
        extreme += int(np.sum(change >= abs(observed) - _ROUNDING * max(1.0, abs(observed))))
        tried += len(change)
    p_value = extreme / tried if exact else (extreme + 1) / (tried + 1)
    return GapDifference(Interval(observed, float(low), float(high)), p_value, gap_a, gap_b)


def _all(speakers: int) -> Iterator[Array]:
    yield (np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1).astype(np.float64)


def _some(speakers: int, count: int, rng: np.random.Generator) -> Iterator[Array]:
    chunk = max(1, _CHUNK_ELEMENTS // speakers)
    for start in range(0, count, chunk):
        yield rng.integers(0, 2, (min(chunk, count - start), speakers), np.uint8).astype(np.float64)
