"""How large a gap must be for a study of this size to find it.

The standard error of the difference times the sum of two quantiles of Student's t, with the degrees of freedom that
groups of equal spread have. ``python benchmarks/fairness.py`` prints how often gaps of this size are found: for error
rates, whose spread grows with them, more often where the smaller group's is the lower one.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import t

from audio_ssl.metrics.bootstrap import Array, Score, satterthwaite

_ROUNDING = 1e-9
"""A standard error below this share of the scores is none."""


def minimum_detectable(
    first: Array, second: Array, score: Score, standard_error: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Return the smallest difference that such a study finds in `power` of all samples of speakers.

    NaN for fewer than two speakers a group, and for speakers who score alike, who do not tell how far apart others are.

    Parameters
    ----------
    first, second
        Statistics summed per speaker, ``[speaker, column]``.
    score
        ``[..., column]`` to ``[...]``.
    standard_error
        Of the difference, from `contrast`.
    power
        Share of studies that would find it.
    alpha
        Level of the test.
    """
    scores = float(score(first.sum(0))), float(score(second.sum(0)))
    if not all(map(math.isfinite, (standard_error, *scores))) or min(len(first), len(second)) < 2:
        return math.nan
    if standard_error <= _ROUNDING * max(map(abs, scores)):
        return math.nan
    counts = np.array([len(first), len(second)], np.float64)
    freedom = satterthwaite(1 / counts, counts)
    return float((t.ppf(1 - alpha / 2, freedom) + t.ppf(power, freedom)) * standard_error)
