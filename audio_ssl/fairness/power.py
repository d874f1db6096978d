"""Minimum detectable differences, and the number of speakers and clips that a test needs.

**Minimum detectable difference** (`detectable`): the standard error times the sum of two quantiles of Student's t, with
the degrees of freedom of groups of equal variance. ``python benchmarks/fairness.py`` prints how often differences of
this size are found. The variance of error rates grows with the rate, so they are found more often where the smaller
group has the lower rate.

**Planning** (`needs`): a clip's sums are turned into its share of the score (the delta method). One-way analysis of
variance within the pilot's groups splits the variance of these shares into b² between speakers and w² between clips of
a speaker. With n speakers per group and m clips per speaker, the difference of two groups has the standard error
√(2 (b² + w² / m) / n) and 2 (n - 1) degrees of freedom; the power is that of the non-central t distribution (Cohen
1988, chapter 2). ``tests/fairness/test_plan.py`` compares this power with that of simulated studies.

A pilot of few speakers gives an imprecise b². So a second number of speakers uses the upper limit of a one-sided 80 %
confidence interval of b² (Browne 1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, nct, t

from audio_ssl.artifacts.fairness import ALPHA
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.gap_tests import slopes
from audio_ssl.metrics.resampling import Array, ScoreOfSums, satterthwaite

POWER = 0.8
"""Power at which a difference is called detectable."""

_ROUNDING = 1e-9
"""A standard error below this share of the scores is rounding error."""


@dataclass(frozen=True)
class Sensitivity:
    """Standard error of a difference, and its degrees of freedom."""

    standard_error: float
    """NaN where it cannot be estimated."""

    freedom: float
    """Those of groups of equal variance."""

    def detectable(self, power: float = POWER, alpha: float = ALPHA) -> float:
        """Return the minimum detectable difference at this power and level."""
        if not math.isfinite(self.standard_error):
            return math.nan
        return detectable(self.standard_error, self.freedom, power, alpha)


def detectable(standard_error: float, freedom: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the minimum detectable difference of a test at the level `alpha` with this power."""
    return float((t.ppf(1 - alpha / 2, freedom) + t.ppf(power, freedom)) * standard_error)


def sensitivity(first: Array, second: Array, score: ScoreOfSums, standard_error: float) -> Sensitivity:
    """Return the standard error of a difference and its degrees of freedom.

    NaN if a group has fewer than two speakers, or if all its speakers have the same score: then the variance between
    speakers cannot be estimated.

    Parameters
    ----------
    first, second
        Statistics summed per speaker, ``[speaker, column]``.
    score
        ``[..., column]`` to ``[...]``.
    standard_error
        Of the difference, from `contrast`.
    """
    unknown = Sensitivity(math.nan, math.nan)
    scores = float(score(first.sum(0))), float(score(second.sum(0)))
    if not all(map(math.isfinite, (standard_error, *scores))) or min(len(first), len(second)) < 2:
        return unknown
    if standard_error <= _ROUNDING * max(map(abs, scores)):
        return unknown
    counts = np.array([len(first), len(second)], np.float64)
    return Sensitivity(standard_error, satterthwaite(1 / counts, counts))


def minimum_detectable(
    first: Array, second: Array, score: ScoreOfSums, standard_error: float, power: float = POWER, alpha: float = ALPHA
) -> float:
    """Return the minimum detectable difference of two groups.

    Parameters are those of `sensitivity`; NaN where the standard error cannot be estimated.
    """
    return sensitivity(first, second, score, standard_error).detectable(power, alpha)


Index = npt.NDArray[np.int64]

MOST_SPEAKERS = 100_000
_CAUTION = 0.8


@dataclass(frozen=True)
class Spread:
    """Variances of a score in a pilot."""

    value: float
    """The score of all clips."""
    between: float
    """Variance between speakers of a group, without the variance between clips."""
    within: float
    """Variance between clips of a speaker."""
    between_cautious: float
    """Upper end of a one-sided 80 % interval of `between`."""
    speakers: int
    clips: int


@dataclass(frozen=True)
class Need:
    """Number of speakers that each group of a test needs."""

    clips_per_speaker: int
    speakers: int | None
    """Per group; None if more than `MOST_SPEAKERS`."""
    speakers_cautious: int | None

    @property
    def clips(self) -> int | None:
        """Per group."""
        return None if self.speakers is None else self.speakers * self.clips_per_speaker


def spread_of(statistics: Array, speakers: Index, groups: Index, score: ScoreOfSums) -> Spread:
    """Split the variance of a score into that between and that within speakers.

    Parameters
    ----------
    statistics
        ``[clip, column]``.
    speakers, groups
        Codes, ``[clip]``. Speakers without a recorded group are a group of their own.
    score
        ``[..., column]`` to ``[...]``.

    Raises
    ------
    UserError
        If no group has two speakers, or no speaker two clips.
    """
    shares = np.zeros(len(statistics))
    cells, cell = np.unique(np.stack([groups, speakers]), axis=1, return_inverse=True)
    cell = cell.ravel()
    counts = np.bincount(cell).astype(np.float64)
    freedom_between = counts.size - len(np.unique(groups))
    freedom_within = len(statistics) - counts.size
    if freedom_between < 1 or freedom_within < 1:
        raise UserError("a pilot needs a group of two speakers or more, and speakers with two clips or more")
    for group in np.unique(groups):
        members = groups == group
        sums = statistics[members].sum(0)[None]
        # A clip's share of the score is the slopes times its sums, times the number of clips.
        shares[members] = (statistics[members] @ slopes(score, sums)[0]) * members.sum()
    means = np.bincount(cell, shares) / counts
    within = float(((shares - means[cell]) ** 2).sum() / freedom_within)
    squares = size = 0.0
    for group in np.unique(groups):
        own = cells[0] == group
        weights = counts[own]
        centre = np.average(means[own], weights=weights)
        squares += float((weights * (means[own] - centre) ** 2).sum())
        size += float(weights.sum() - (weights**2).sum() / weights.sum())
    mean_square, size = squares / freedom_between, size / freedom_between
    upper = mean_square * freedom_between / float(chi2.ppf(1 - _CAUTION, freedom_between))
    between, cautious = (max(0.0, (one - within) / size) for one in (mean_square, upper))
    value = float(score(statistics.sum(0)))
    return Spread(value, between, within, cautious, len(np.unique(speakers)), len(statistics))


def achieved_power(difference: float, variance: float, speakers: int, alpha: float = ALPHA) -> float:
    """Return the power: how often a difference is significant.

    Parameters
    ----------
    difference
        True difference of the two groups.
    variance
        Of one speaker's score.
    speakers
        Of each group.
    alpha
        Level of the two-sided test.
    """
    if variance <= 0:
        return 1.0
    freedom = 2 * (speakers - 1)
    centre = difference / math.sqrt(2 * variance / speakers)
    bound = t.ppf(1 - alpha / 2, freedom)
    return float(nct.sf(bound, freedom, centre) + nct.cdf(-bound, freedom, centre))


def needs(
    spread: Spread, gap: float, clips_per_speaker: Sequence[int], power: float = POWER, alpha: float = ALPHA
) -> list[Need]:
    """Return the number of speakers per group that a test needs, for each number of clips per speaker.

    Parameters
    ----------
    spread
        Of a pilot.
    gap
        Relative to the pilot's score: 0.2 is 20 % of it.
    clips_per_speaker
        Numbers of clips.
    power
        Share of studies that should find the gap.
    alpha
        Level of the test.
    """
    if not 0 < gap < math.inf:
        raise UserError(f"`gap` must be above 0 (0.2 is 20 % of the score), but is {gap:g}")
    if not 0 < power < 1:
        raise UserError(f"`power` must lie between 0 and 1, but is {power:g}")
    difference = gap * spread.value
    if not difference > 0:
        raise UserError(f"the pilot's score is {spread.value:g}: no gap can be in proportion to it")

    def fewest(between: float, clips: int) -> int | None:
        variance = between + spread.within / clips
        # Groups of fewer than five speakers are not tested.
        low, high = 4, 8
        while achieved_power(difference, variance, high, alpha) < power:
            low, high = high, 2 * high
            if low > MOST_SPEAKERS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            enough = achieved_power(difference, variance, middle, alpha) >= power
            low, high = (low, middle) if enough else (middle, high)
        return high

    return [
        Need(clips, fewest(spread.between, clips), fewest(spread.between_cautious, clips))
        for clips in clips_per_speaker
    ]
