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
"""Right to ten digits up to a standard deviation of 1, whatever the errors."""

NODES_OF_WIDE = 101
"""Above 1, where speakers without errors skew the integrand: right to six digits up to 3."""

_CHUNK_ELEMENTS = 1 << 20


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
        Standard deviation, up to 3; 0 puts r at 0.
    """
    if sd == 0:
        return Integral(-expected, np.ones_like(expected), np.zeros_like(expected))
    nodes = NODES if sd <= 1 else NODES_OF_WIDE
    size = _CHUNK_ELEMENTS // nodes
    parts = [
        _integrate(errors[start : start + size], expected[start : start + size], sd, nodes)
        for start in range(0, len(errors), size)
    ]
    return Integral(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _integrate(errors: Array, expected: Array, sd: float, nodes: int) -> Integral:
    variance = sd**2
    mode = _mode(errors, expected, variance)
    scale = 1 / np.sqrt(expected * np.exp(mode) + 1 / variance)
    points, log_weights = _nodes(nodes)
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
def _nodes(count: int) -> tuple[Array, Array]:
    points, weights = np.polynomial.hermite.hermgauss(count)
    return points, np.log(weights)


def _mode(errors: Array, expected: Array, variance: float) -> Array:
    """Solve ``errors - expected exp(r) = r / variance``; exact, by the Wright omega function."""
    shift = variance * errors
    mode = shift - wrightomega(shift + np.log(variance * expected))
    # The difference of two large numbers loses digits: one step of Newton's method brings them back.
    slope = expected * np.exp(mode)
    return np.asarray(mode + (errors - slope - mode / variance) / (slope + 1 / variance))
