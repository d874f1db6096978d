"""How large a gap must be for a study of this size to find it.

The standard error of the difference times the sum of two quantiles of Student's t, with the degrees of freedom that
groups of equal spread have. ``python benchmarks/fairness.py`` prints how often gaps of this size are found: for error
rates, whose spread grows with them, more often where the smaller group's is the lower one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from audio_ssl.metrics.resampling import Array, ScoreOfSums, satterthwaite

ALPHA = 0.05
"""Level of a test; of several, Holm's method begins at this over their number."""
POWER = 0.8
"""Share of studies of the same size that find a difference of the size called detectable."""

_ROUNDING = 1e-9
"""A standard error below this share of the scores is none."""


@dataclass(frozen=True)
class Sensitivity:
    """How precisely a difference was measured."""

    standard_error: float
    """Of the difference; NaN where it cannot be estimated."""

    freedom: float
    """Degrees of freedom, as of groups of equal spread."""

    def detectable(self, power: float = POWER, alpha: float = ALPHA) -> float:
        """Return the smallest difference that such a study finds in `power` of all samples of speakers."""
        if not math.isfinite(self.standard_error):
            return math.nan
        return detectable(self.standard_error, self.freedom, power, alpha)


def detectable(standard_error: float, freedom: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the smallest difference that is found in `power` of all samples by a test at the level `alpha`."""
    return float((t.ppf(1 - alpha / 2, freedom) + t.ppf(power, freedom)) * standard_error)


def sensitivity(first: Array, second: Array, score: ScoreOfSums, standard_error: float) -> Sensitivity:
    """Return how precisely a difference was measured.

    NaN for fewer than two speakers a group, and for speakers who score alike, who do not tell how far apart others are.

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
    """Return the smallest difference that such a study finds in `power` of all samples of speakers.

    Parameters are those of `sensitivity`; NaN where that is not known.
    """
    return sensitivity(first, second, score, standard_error).detectable(power, alpha)
