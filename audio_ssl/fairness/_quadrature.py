"""Integral over one speaker's effect, by adaptive Gauss-Hermite quadrature, for all speakers at once.

A speaker's clips enter only by their errors and their expected errors, as ``sum(y) r - sum(m) exp(r)``: one clip or a
million cost the same. Nodes are laid around the integrand's mode, at its curvature (Liu & Pierce 1994).
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import wrightomega

Array = npt.NDArray[np.float64]

NODES = 31
"""Enough for ten digits at an effect of standard deviation 2, also where a speaker has no errors."""

_CHUNK_SPEAKERS = 1 << 15


class Integral(NamedTuple):
    """Of every speaker, ``[speaker]``."""

    log_value: Array
    """Logarithm of the integral."""

    rate: Array
    """Mean of exp(r), given the speaker's errors."""

    rate_variance: Array
    """Variance of exp(r), given the speaker's errors."""


def integrate(errors: Array, expected: Array, sd: float) -> Integral:
    """Integrate ``exp(errors r - expected exp(r))`` over ``r ~ N(0, sd^2)``.

    Parameters
    ----------
    errors, expected
        Of each speaker, ``[speaker]``; `expected` at r = 0, above 0.
    sd
        Standard deviation; 0 puts r at 0.
    """
    if sd == 0:
        return Integral(-expected, np.ones_like(expected), np.zeros_like(expected))
    starts = range(0, len(errors), _CHUNK_SPEAKERS)
    parts = [_integrate(errors[s : s + _CHUNK_SPEAKERS], expected[s : s + _CHUNK_SPEAKERS], sd) for s in starts]
    return Integral(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _integrate(errors: Array, expected: Array, sd: float) -> Integral:
    variance = sd**2
    mode = _mode(errors, expected, variance)
    scale = 1 / np.sqrt(expected * np.exp(mode) + 1 / variance)
    points, log_weights = _nodes()
    effects = mode[:, None] + math.sqrt(2) * scale[:, None] * points
    rates = np.exp(effects)
    log_terms = errors[:, None] * effects - expected[:, None] * rates - effects**2 / (2 * variance)
    log_terms += log_weights + points**2
    top = log_terms.max(1)
    terms = np.exp(log_terms - top[:, None])
    total = terms.sum(1)
    terms /= total[:, None]
    mean = (terms * rates).sum(1)
    spread = (terms * (rates - mean[:, None]) ** 2).sum(1)
    return Integral(top + np.log(total) + np.log(scale / (sd * math.sqrt(math.pi))), mean, spread)


@cache
def _nodes() -> tuple[Array, Array]:
    points, weights = np.polynomial.hermite.hermgauss(NODES)
    return points, np.log(weights)


def _mode(errors: Array, expected: Array, variance: float) -> Array:
    """Solve ``errors - expected exp(r) = r / variance``; exact, by the Wright omega function."""
    shift = variance * errors
    mode = shift - wrightomega(shift + np.log(variance * expected))
    # The difference of two large numbers loses digits: one step of Newton's method brings them back.
    slope = expected * np.exp(mode)
    return np.asarray(mode + (errors - slope - mode / variance) / (slope + 1 / variance))
