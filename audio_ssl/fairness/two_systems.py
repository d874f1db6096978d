"""Whether one system has a smaller gap between two groups than another, on the same speakers.

The p-value swaps the two systems' answers speaker by speaker (approximate randomisation; Riezler & Maxwell 2005).
The difference of the gaps is measured in its own standard error: a plain one would call every difference of gaps chance
where one system is better for everybody, since swapping then spreads the gaps apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from audio_ssl.fairness.influence import slopes, studentised, variances
from audio_ssl.metrics.resampling import (
    Array,
    Interval,
    ScoreOfSums,
    expanded_levels,
    quantile_interval,
    replicate_sums,
)

ENUMERATE_UP_TO = 10_000
_ROUNDING = 1e-7
_CHUNK_ELEMENTS = 1 << 18


class GapDifference(NamedTuple):
    """How the gaps of systems a and b differ."""

    difference: Interval
    """Gap of a minus gap of b."""

    p_value: float
    """Two-sided; NaN where a gap is not defined."""

    gap_a: float
    gap_b: float


def gap_difference(
    first_a: Array,
    second_a: Array,
    first_b: Array,
    second_b: Array,
    score: ScoreOfSums,
    replicates: int = 10_000,
    rng: np.random.Generator | None = None,
    confidence: float = 0.95,
) -> GapDifference:
    """Compare the gaps of systems a and b between a first and a second group.

    Parameters
    ----------
    first_a, second_a, first_b, second_b
        Statistics summed per speaker, ``[speaker, column]``; row ``i`` of `first_a` and `first_b` is the same speaker,
        so is that of `second_a` and `second_b`. Resamples draw a speaker for both systems.
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
    gap_a, gap_b = (
        float(score(ours.sum(0)) - score(theirs.sum(0))) for ours, theirs in ((first_a, second_a), (first_b, second_b))
    )
    changes = []
    for a, b in ((first_a, first_b), (second_a, second_b)):
        both = replicate_sums(np.concatenate([a, b], axis=1), replicates, rng)
        changes.append(score(both[:, : a.shape[1]]) - score(both[:, a.shape[1] :]))
    levels = expanded_levels(changes[0], changes[1], len(first_a), len(second_a), confidence)
    return GapDifference(
        quantile_interval(gap_a - gap_b, changes[0] - changes[1], levels),
        _p_value(first_a, second_a, first_b, second_b, score, replicates, rng),
        gap_a,
        gap_b,
    )


def _p_value(
    first_a: Array,
    second_a: Array,
    first_b: Array,
    second_b: Array,
    score: ScoreOfSums,
    count: int,
    rng: np.random.Generator,
) -> float:
    ours_count = len(first_a)
    speakers = ours_count + len(second_a)

    def statistic(swaps: Array) -> Array:
        ours, our_variance = _change(score, first_a, first_b, swaps[:, :ours_count])
        theirs, their_variance = _change(score, second_a, second_b, swaps[:, ours_count:])
        change = ours - theirs
        # Scores of sums of the same numbers in another order differ in the last bits.
        change = np.where(np.abs(change) < _ROUNDING * (np.abs(ours) + np.abs(theirs)), 0.0, change)
        return studentised(change, our_variance + their_variance)

    observed = float(statistic(np.zeros((1, speakers)))[0])
    if np.isnan(observed):
        return float("nan")
    exact = 2**speakers <= ENUMERATE_UP_TO
    extreme = tried = 0
    for swaps in _all(speakers) if exact else _some(speakers, count, rng):
        found = statistic(swaps)
        found = found[~np.isnan(found)]
        extreme += int(np.sum(found >= observed * (1 - _ROUNDING)))
        tried += len(found)
    return extreme / tried if exact else (extreme + 1) / (tried + 1)


def _change(score: ScoreOfSums, a: Array, b: Array, swaps: Array) -> tuple[Array, Array]:
    """Return one group's score by system a minus that by b, and its variance, for each row of swaps."""
    stay = 1.0 - swaps
    sums_a, sums_b = stay @ a + swaps @ b, swaps @ a + stay @ b
    slope_a, slope_b = slopes(score, sums_a), slopes(score, sums_b)
    influences = stay * (slope_a @ a.T - slope_b @ b.T) + swaps * (slope_a @ b.T - slope_b @ a.T)
    size = np.einsum("rc,rc->r", np.abs(slope_a), np.abs(sums_a)) / len(a)
    return score(sums_a) - score(sums_b), variances(influences, np.ones_like(swaps), size)


def _all(speakers: int) -> Iterator[Array]:
    """Yield every choice of whose answers are swapped, ``[choice, speaker]``."""
    yield (np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1).astype(np.float64)


def _some(speakers: int, count: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield `count` random choices, some at a time."""
    chunk = max(1, _CHUNK_ELEMENTS // speakers)
    for start in range(0, count, chunk):
        yield rng.integers(0, 2, (min(chunk, count - start), speakers), np.uint8).astype(np.float64)
