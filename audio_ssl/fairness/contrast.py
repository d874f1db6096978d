"""How far apart two groups of speakers are: difference, ratio and symmetric relative difference, with intervals.

Speakers are resampled within their group; the limits are expanded percentiles (`audio_ssl.metrics.resampling`), for any
number of speakers: with 5 to 40 a group, equal or not, 95 % intervals miss a gap of zero in 4 to 7 % of simulated
studies (``python benchmarks/fairness.py``), where plain percentiles and BCa miss it in up to 15 %. If the smaller
group's speakers also vary more, misses rise to 10 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from audio_ssl.metrics.resampling import (
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
    """The difference with a 90 % interval, for asking whether it is smaller than a tolerance."""

    standard_error: float
    """Of the difference, over resampled speakers, and without the shortfall that few of them have."""


def contrast(
    first: Array,
    second: Array,
    score: ScoreOfSums,
    replicates: int = 10_000,
    rng: np.random.Generator | None = None,
    confidence: float = 0.95,
) -> Contrast:
    """Return the gap between two groups that share no speaker.

    Parameters
    ----------
    first, second
        Statistics summed per speaker, ``[speaker, column]``.
    score
        ``[..., column]`` to ``[...]``.
    replicates
        Resamples.
    rng
        Where the chance comes from; a generator seeded with 0 if None.
    confidence
        Coverage asked for.
    """
    rng = rng or np.random.default_rng(0)
    a, b = score(replicate_sums(first, replicates, rng)), score(replicate_sums(second, replicates, rng))
    levels = [expanded_levels(a, b, len(first), len(second), one) for one in (confidence, EQUIVALENCE)]
    defined = np.isfinite(a) & np.isfinite(b)
    variances = [_unbiased(draws[defined], n) for draws, n in ((a, len(first)), (b, len(second)))]
    return _contrast(score(first.sum(0)), score(second.sum(0)), a, b, levels, math.sqrt(sum(variances)))


def contrast_crossed(
    first: Array,
    second: Array,
    score: ScoreOfSums,
    replicates: int = 10_000,
    rng: np.random.Generator | None = None,
    confidence: float = 0.95,
) -> Contrast:
    """Return the gap between two groups of clips that have speakers in common.

    Row ``i`` of both is the same speaker, zeros where the speaker has no clips in a group; a resample draws a speaker
    with all clips. Otherwise as `contrast`.
    """
    rng = rng or np.random.default_rng(0)
    both = replicate_sums(np.concatenate([first, second], axis=1), replicates, rng)
    a, b = score(both[:, : first.shape[1]]), score(both[:, first.shape[1] :])
    gaps = a - b
    # What counts is the smaller group, whoever is in both: one sample of that many differences.
    speakers = min(int(group.any(1).sum()) for group in (first, second))
    levels = [expanded_levels(gaps, np.zeros(replicates), speakers, speakers, one) for one in (confidence, EQUIVALENCE)]
    variance = _unbiased(gaps[np.isfinite(gaps)], speakers)
    return _contrast(score(first.sum(0)), score(second.sum(0)), a, b, levels, math.sqrt(variance))


def _unbiased(draws: Array, speakers: int) -> float:
    """Return the variance over speakers of what was resampled from this many."""
    return float(draws.var()) * speakers / (speakers - 1) if speakers > 1 and len(draws) > 1 else math.nan


def _contrast(
    value_a: Array, value_b: Array, a: Array, b: Array, both_levels: Sequence[Array], error: float
) -> Contrast:
    """Return a contrast; its ratios are defined for scores that are not negative."""
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
