"""The standard error of a score of summed statistics, from how much each speaker's sums move it (the delta method).

Cheap enough to be recomputed for every permutation, for any metric that is a smooth function of sums.
"""

from __future__ import annotations

import numpy as np

from audio_ssl.metrics.resampling import Array, ScoreOfSums

_STEP = 1e-6
# Influences are differences of products; a variance below this share of the products' squares is rounding.
_ROUNDING = 1e-14


def slopes(score: ScoreOfSums, sums: Array) -> Array:
    """Return the derivative of the score by each column at `sums`, ``[row, column]``; 0 for a column that sums to 0."""
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
        Of each speaker, ``[row, speaker]``: slopes times the speaker's sums.
    members
        1 for the speakers that the row's score is of, else 0, ``[row, speaker]``.
    scale
        Of the products whose differences the influences are, ``[row]``.
    """
    counts = members.sum(1)
    ours = influences * members
    squares = np.einsum("rs,rs->r", ours, ours) - ours.sum(1) ** 2 / counts
    found = squares * counts / np.maximum(counts - 1, 1)
    return np.where(found > _ROUNDING * scale**2, found, 0.0)


def studentised(gaps: Array, variance: Array) -> Array:
    """Return gaps in standard errors: 0 for no gap, infinite for one between speakers who are all alike."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gaps == 0, 0.0, np.abs(gaps) / np.sqrt(variance))
