"""How large a gap must be for a study of this size to find it."""

from __future__ import annotations

import math

from scipy.stats import t

from audio_ssl.metrics.bootstrap import Array, Score


def minimum_detectable(
    first: Array, second: Array, score: Score, standard_error: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Return the smallest difference that such a study finds in `power` of all samples of speakers.

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
    freedom = len(first) + len(second) - 2
    if freedom < 1 or not math.isfinite(standard_error):
        return math.nan
    return float((t.ppf(1 - alpha / 2, freedom) + t.ppf(power, freedom)) * standard_error)
