"""What is learned by comparing clips of one speaker with each other, and how sure it is where errors come in bursts.

A coefficient is a mean of what is seen within speakers and what is seen between them. Bursts of errors widen the first
by more than Poisson's variance says; the second has them in the spread of the speakers already.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_ssl.fairness._design import DesignRows

Array = npt.NDArray[np.float64]

_RIDGE = 1e-9


class Within(NamedTuple):
    """Of each coefficient, ``[column]``; of columns that are the same in all of a speaker's clips, 0 and 1."""

    shares: Array
    """Share of the precision that comes from within speakers."""

    bursts: Array
    """Variance by the residuals of clips (sandwich) over that of Poisson; 1 or more."""


def within_speakers(rows: DesignRows, expected: Array, information: Array) -> Within:
    """Split the precision of coefficients.

    Parameters
    ----------
    rows
        What was fitted.
    expected
        Errors expected of each clip, given the speakers, ``[clip]``.
    information
        Of all coefficients, ``[column, column]``.
    """
    varying = np.flatnonzero(~np.array(rows.constant))
    found = Within(np.zeros(len(information)), np.ones(len(information)))
    if not len(varying):
        return found
    sums = np.bincount(rows.speakers, expected)
    centred = rows.columns[:, varying]
    for column in centred.T:
        column -= (np.bincount(rows.speakers, expected * column) / sums)[rows.speakers]
    bread = centred.T @ (centred * expected[:, None])
    bread += np.diag(_RIDGE * np.diag(information)[varying])
    poisson = np.linalg.inv(bread)
    total = np.diag(np.linalg.inv(information))[varying]
    found.shares[varying] = np.clip(total / np.diag(poisson), 0.0, 1.0)
    free = rows.clips - len(sums) - len(varying)
    if free > 0:
        centred *= (rows.clip_errors - expected)[:, None]
        robust = poisson @ (centred.T @ centred) @ poisson * (rows.clips / free)
        found.bursts[varying] = np.maximum(1.0, np.diag(robust) / np.diag(poisson))
    return found
