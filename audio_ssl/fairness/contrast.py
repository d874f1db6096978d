"""How far apart two groups of speakers are: difference, ratio and symmetric relative difference, with intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from audio_ssl.metrics.bootstrap import Array, Interval, Score, replicate_sums


class Contrast(NamedTuple):
    """The gap between a first and a second group."""

    difference: Interval
    """``score(first) - score(second)``."""

    ratio: Interval
    """``score(first) / score(second)``; NaN where the second is 0, an infinite limit where it is 0 in resamples."""

    relative_symmetric: Interval
    """``100 * (a - b) / ((a + b) / 2)``; NaN where both are 0."""

    standard_error: float
    """Of the difference, over resampled speakers."""


def contrast(
    first: Array,
    second: Array,
    score: Score,
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
    return _contrast(float(score(first.sum(0))), float(score(second.sum(0))), a, b, confidence)


def contrast_crossed(
    first: Array,
    second: Array,
    score: Score,
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
    columns = first.shape[1]
    a, b = score(both[:, :columns]), score(both[:, columns:])
    return _contrast(float(score(first.sum(0))), float(score(second.sum(0))), a, b, confidence)


def _contrast(value_a: float, value_b: float, a: Array, b: Array, confidence: float) -> Contrast:
    levels = np.array([(1 - confidence) / 2, (1 + confidence) / 2])

    def interval(value: float, draws: Array) -> Interval:
        draws = draws[~np.isnan(draws)]
        if not np.isfinite(value) or len(draws) == 0:
            return Interval(value, float("nan"), float("nan"))
        low, high = np.quantile(draws, levels)
        return Interval(value, float(low), float(high))

    gaps = a - b
    with np.errstate(divide="ignore", invalid="ignore"):
        one = np.array([value_a, *a]), np.array([value_b, *b])
        ratio, relative = one[0] / one[1], 200.0 * (one[0] - one[1]) / (one[0] + one[1])
    if value_b == 0:
        ratio[0] = np.nan
    finite = gaps[np.isfinite(gaps)]
    return Contrast(
        interval(value_a - value_b, gaps),
        interval(float(ratio[0]), ratio[1:]),
        interval(float(relative[0]), relative[1:]),
        float(finite.std(ddof=1)) if len(finite) > 1 else float("nan"),
    )
