"""Tests of a gap between two groups: confidence interval, permutation test, and comparison with another system's gap.

**Intervals** (`contrast`). Speakers are resampled within their group. The limits are expanded percentiles
(`audio_ssl.metrics.resampling`), for any number of speakers. With 5 to 40 speakers per group, 95 % intervals miss a gap
of zero in 4 to 7 % of simulated studies (``python benchmarks/fairness.py``); plain percentiles and BCa miss it in up to
15 %. If the speakers of the smaller group also vary more, 10 % are missed.

**p-values** (`permutation_test`). If the groups do not differ, the assignment of group labels to speakers is arbitrary.
The p-value is the share of assignments with a gap at least as large: of all assignments if they can be enumerated, else
of random ones, as ``(c + 1) / (n + 1)`` (Phipson & Smyth 2010). The gap is divided by its standard error (Janssen 1997;
Chung & Romano 2013), which comes from the delta method and is cheap enough to be computed for every permutation. The
test is exact if the groups have the same distribution. If only their scores are equal, permuting undivided gaps rejects
too often where the smaller group varies more (20 % at a level of 5 %; this test 10 %) or has fewer clips. If it has far
more clips per speaker, both reject too rarely (1 %). ``python benchmarks/fairness.py`` prints these shares.

**Two systems** (`gap_difference`). The p-value exchanges the two systems' answers speaker by speaker (approximate
randomisation; Riezler & Maxwell 2005). The difference of the gaps is divided by its standard error, too: if one system
is better for everybody, exchanging answers increases the variance of both gaps, and an undivided difference would
hardly ever be significant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, islice
from math import comb
from typing import NamedTuple

import numpy as np

from audio_ssl.metrics.resampling import (
    CONFIDENCE,
    Array,
    Interval,
    ScoreOfSums,
    expanded_levels,
    quantile_interval,
    replicate_sums,
)

EQUIVALENCE = 0.9
"""Confidence of the interval that must lie within a tolerance: two one-sided tests at 5 % (Schuirmann 1987)."""


class Contrast(NamedTuple):
    """The gap between a first and a second group."""

    difference: Interval
    """``score(first) - score(second)``."""

    ratio: Interval
    """``score(first) / score(second)``; NaN where the second is 0, with an infinite limit if it is 0 in resamples."""

    relative_symmetric: Interval
    """``100 * (a - b) / ((a + b) / 2)``; NaN where both are 0."""

    within: Interval
    """The difference with its 90 % interval, which is compared with a tolerance."""

    standard_error: float
    """Standard error of the difference. The bootstrap variance of each group is multiplied by n / (n - 1)."""


def contrast(
    first: Array,
    second: Array,
    score: ScoreOfSums,
    replicates: int,
    rng: np.random.Generator,
) -> Contrast:
    """Return the gap between two groups that share no speaker.

    Parameters
    ----------
    first, second
        Statistics summed per speaker, ``[speaker, column]``.
    score
        ``[..., column]`` to ``[...]``.
    replicates
        Number of bootstrap resamples.
    rng
        Of the resamples.
    """
    a, b = score(replicate_sums(first, replicates, rng)), score(replicate_sums(second, replicates, rng))
    levels = [expanded_levels(a, b, len(first), len(second), one) for one in (CONFIDENCE, EQUIVALENCE)]
    defined = np.isfinite(a) & np.isfinite(b)
    variances = [_unbiased(draws[defined], n) for draws, n in ((a, len(first)), (b, len(second)))]
    return _contrast(score(first.sum(0)), score(second.sum(0)), a, b, levels, math.sqrt(sum(variances)))


def contrast_crossed(
    first: Array,
    second: Array,
    score: ScoreOfSums,
    replicates: int,
    rng: np.random.Generator,
) -> Contrast:
    """Return the gap between two groups of clips that have speakers in common.

    Row ``i`` of both is the same speaker, with zeros if the speaker has no clips in a group. A resample draws a speaker
    with all clips. Parameters are those of `contrast`.
    """
    both = replicate_sums(np.concatenate([first, second], axis=1), replicates, rng)
    a, b = score(both[:, : first.shape[1]]), score(both[:, first.shape[1] :])
    gaps = a - b
    # The number of speakers is that of the smaller group: one sample of that many differences.
    speakers = min(int(group.any(1).sum()) for group in (first, second))
    levels = [expanded_levels(gaps, np.zeros(replicates), speakers, speakers, one) for one in (CONFIDENCE, EQUIVALENCE)]
    variance = _unbiased(gaps[np.isfinite(gaps)], speakers)
    return _contrast(score(first.sum(0)), score(second.sum(0)), a, b, levels, math.sqrt(variance))


def _unbiased(draws: Array, speakers: int) -> float:
    """Return the variance of resamples of so many speakers, corrected by n / (n - 1)."""
    return float(draws.var()) * speakers / (speakers - 1) if speakers > 1 and len(draws) > 1 else math.nan


def _contrast(
    value_a: Array, value_b: Array, a: Array, b: Array, both_levels: Sequence[Array], error: float
) -> Contrast:
    """Return a contrast. Ratios are defined for scores that are not negative."""
    levels, narrower = both_levels
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(value_a / value_b) if value_b > 0 <= value_a else np.nan
        relative = float(200.0 * (value_a - value_b) / (value_a + value_b)) if min(value_a, value_b) >= 0 else np.nan
        return Contrast(
            quantile_interval(float(value_a - value_b), a - b, levels),
            quantile_interval(ratio, a / b, levels),
            quantile_interval(relative, 200.0 * (a - b) / (a + b), levels),
            quantile_interval(float(value_a - value_b), a - b, narrower),
            error,
        )


_STEP = 1e-6
# Influences are differences of products. A variance below this share of the squared products is rounding error.
_ROUNDING = 1e-14


def slopes(score: ScoreOfSums, sums: Array) -> Array:
    """Return the derivative of the score by each column at `sums`, ``[row, column]``; 0 if the column sums to 0."""
    base = score(sums)
    found = np.zeros(sums.shape)
    for column in range(sums.shape[1]):
        step = _STEP * np.abs(sums[:, column])
        moved = sums.copy()
        moved[:, column] += step
        np.divide(score(moved) - base, step, out=found[:, column], where=step > 0)
    return found


def variances(influences: Array, members: Array, scale: Array) -> Array:
    """Return the variance of a score in each row.

    Parameters
    ----------
    influences
        ``[row, speaker]``: slopes times the speaker's sums.
    members
        ``[row, speaker]``: 1 for the speakers whose score it is, else 0.
    scale
        ``[row]``: size of the products whose differences the influences are.
    """
    counts = members.sum(1)
    ours = influences * members
    squares = np.einsum("rs,rs->r", ours, ours) - ours.sum(1) ** 2 / counts
    found = squares * counts / np.maximum(counts - 1, 1)
    return np.where(found > _ROUNDING * scale**2, found, 0.0)


def studentised(gaps: Array, variance: Array) -> Array:
    """Return gaps in standard errors: 0 for no gap, infinite for a gap without variance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gaps == 0, 0.0, np.abs(gaps) / np.sqrt(variance))


ENUMERATE_UP_TO = 10_000
_EQUAL_SCORES = 1e-7
_CHUNK_ELEMENTS = 1 << 18


class Permutation(NamedTuple):
    """A p-value and how it was computed."""

    p_value: float
    """Two-sided; NaN where the gap is not defined."""

    exact: bool
    """Whether every assignment was tried."""

    assignments: int
    """Number of assignments tried that have a defined gap; random ones do not include the observed one."""


def permutation_test(
    first: Array,
    second: Array,
    score: ScoreOfSums,
    rng: np.random.Generator,
    permutations: int = ENUMERATE_UP_TO,
    *,
    studentise: bool = True,
) -> Permutation:
    """Test ``score(first) - score(second)`` against no difference between the groups.

    Parameters
    ----------
    first, second
        Statistics summed per speaker, ``[speaker, column]``.
    score
        ``[..., column]`` to ``[...]``.
    rng
        For random assignments.
    permutations
        All assignments are tried if there are at most this many, else this many random ones.
    studentise
        Divide gaps by their standard errors. False for a score that is not a smooth function of a few sums, such as an
        equal error rate.
    """
    pooled = np.concatenate([first, second])
    total = pooled.sum(0)
    exact = comb(len(pooled), len(first)) <= permutations
    sizes = len(pooled), len(first)

    def statistic(members: Array) -> Array:
        ours = members @ pooled
        gaps = score(ours) - score(total - ours)
        # Sums of the same numbers in another order differ in the last bits.
        gaps = np.where(np.abs(gaps) < _EQUAL_SCORES * np.abs(score(ours)), 0.0, gaps)
        if not studentise:
            return np.abs(gaps)
        variance = _variance(score, pooled, members, ours) + _variance(score, pooled, 1 - members, total - ours)
        return studentised(gaps, variance)

    observed = float(statistic((np.arange(len(pooled)) < len(first)).astype(np.float64)[None])[0])
    every = _all(*sizes) if exact else _some(*sizes, permutations, rng)
    return _share_as_extreme(observed, map(statistic, every), exact)


def _share_as_extreme(observed: float, others: Iterable[Array], exact: bool) -> Permutation:
    """Return the p-value of an observed statistic among those of all assignments, or of random ones."""
    if np.isnan(observed):
        return Permutation(math.nan, exact, 0)
    extreme = tried = 0
    for found in others:
        defined = found[~np.isnan(found)]
        extreme += int(np.sum(defined >= observed * (1 - _EQUAL_SCORES)))
        tried += len(defined)
    return Permutation(extreme / tried if exact else (extreme + 1) / (tried + 1), exact, tried)


def _variance(score: ScoreOfSums, pooled: Array, members: Array, sums: Array) -> Array:
    slope = slopes(score, sums)
    return variances(slope @ pooled.T, members, np.einsum("rc,rc->r", np.abs(slope), np.abs(sums)) / len(pooled))


def _all(speakers: int, size: int) -> Iterator[Array]:
    """Yield every assignment, some at a time: ``[assignment, speaker]``, 1 for a member of the first group."""
    left = combinations(range(speakers), size)
    while chosen := list(islice(left, max(1, _CHUNK_ELEMENTS // speakers))):
        members = np.zeros((len(chosen), speakers))
        columns = np.fromiter(chain.from_iterable(chosen), np.intp, len(chosen) * size)
        members[np.repeat(np.arange(len(chosen)), size), columns] = 1.0
        yield members


def _some(speakers: int, size: int, count: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield `count` random assignments, some at a time."""
    one = (np.arange(speakers) < size).astype(np.uint8)
    chunk = max(1, _CHUNK_ELEMENTS // speakers)
    for start in range(0, count, chunk):
        rows = np.broadcast_to(one, (min(chunk, count - start), speakers))
        yield rng.permuted(rows, axis=1).astype(np.float64)


class GapChange(NamedTuple):
    """How the gaps of systems a and b differ."""

    difference: Interval
    """Gap of a minus gap of b."""

    p_value: float
    """Two-sided; NaN where a gap is not defined."""


def gap_difference(
    first_a: Array,
    second_a: Array,
    first_b: Array,
    second_b: Array,
    score: ScoreOfSums,
    replicates: int,
    rng: np.random.Generator,
) -> GapChange:
    """Compare the gaps of systems a and b between a first and a second group.

    Parameters
    ----------
    first_a, second_a, first_b, second_b
        Statistics summed per speaker, ``[speaker, column]``; row ``i`` of `first_a` and `first_b` is the same speaker,
        so is that of `second_a` and `second_b`. Resamples draw a speaker for both systems.
    score
        ``[..., column]`` to ``[...]``.
    replicates
        Number of bootstrap resamples, and of random swaps where they cannot be enumerated.
    rng
        Of both.
    """
    gaps = [float(score(a.sum(0)) - score(b.sum(0))) for a, b in ((first_a, second_a), (first_b, second_b))]
    changes = []
    for a, b in ((first_a, first_b), (second_a, second_b)):
        both = replicate_sums(np.concatenate([a, b], axis=1), replicates, rng)
        changes.append(score(both[:, : a.shape[1]]) - score(both[:, a.shape[1] :]))
    levels = expanded_levels(changes[0], changes[1], len(first_a), len(second_a), CONFIDENCE)
    return GapChange(
        quantile_interval(gaps[0] - gaps[1], changes[0] - changes[1], levels),
        _p_value(first_a, second_a, first_b, second_b, score, replicates, rng),
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
        # Sums of the same numbers in another order differ in the last bits.
        change = np.where(np.abs(change) < _EQUAL_SCORES * (np.abs(ours) + np.abs(theirs)), 0.0, change)
        return studentised(change, our_variance + their_variance)

    observed = float(statistic(np.zeros((1, speakers)))[0])
    exact = 2**speakers <= ENUMERATE_UP_TO
    every = _all_swaps(speakers) if exact else _some_swaps(speakers, count, rng)
    return _share_as_extreme(observed, map(statistic, every), exact).p_value


def _change(score: ScoreOfSums, a: Array, b: Array, swaps: Array) -> tuple[Array, Array]:
    """Return one group's score by system a minus that by b, and its variance, for each row of swaps."""
    stay = 1.0 - swaps
    sums_a, sums_b = stay @ a + swaps @ b, swaps @ a + stay @ b
    slope_a, slope_b = slopes(score, sums_a), slopes(score, sums_b)
    influences = stay * (slope_a @ a.T - slope_b @ b.T) + swaps * (slope_a @ b.T - slope_b @ a.T)
    size = np.einsum("rc,rc->r", np.abs(slope_a), np.abs(sums_a)) / len(a)
    return score(sums_a) - score(sums_b), variances(influences, np.ones_like(swaps), size)


def _all_swaps(speakers: int) -> Iterator[Array]:
    """Yield every choice of whose answers are swapped, ``[choice, speaker]``."""
    yield (np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1).astype(np.float64)


def _some_swaps(speakers: int, count: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield `count` random choices, some at a time."""
    chunk = max(1, _CHUNK_ELEMENTS // speakers)
    for start in range(0, count, chunk):
        yield rng.integers(0, 2, (min(chunk, count - start), speakers), np.uint8).astype(np.float64)
