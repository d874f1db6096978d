"""Poisson regression with speaker effects of given variance: likelihood, derivatives, Newton's method, quadrature.

Rows may be clips or sums of a speaker's clips; a step costs one pass over the rows.

The integral over a speaker's effect is adaptive Gauss-Hermite quadrature, for all speakers at once. A speaker's clips
enter only by their errors and expected errors, as ``sum(y) r - sum(m) exp(r)``, so the cost does not depend on the
number of clips. Nodes are placed around the integrand's mode and scaled by its curvature (Liu & Pierce 1994).
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, wrightomega

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_CHUNK_ROWS = 1 << 16
_MAX_STEPS = 60
_MAX_HALVINGS = 40
_CLOSE = 1e-14
"""Newton's method ends if the expected gain is smaller, relative to the log likelihood."""


class Solution(NamedTuple):
    """The best coefficients at one standard deviation of the speakers."""

    sd: float
    beta: Array
    log_likelihood: float
    information: Array
    """Negative second derivatives by the coefficients, ``[column, column]``."""

    rates: Array
    """Mean of exp(r) of each speaker, given its errors."""

    converged: bool

    @property
    def restricted(self) -> float:
        """Log likelihood with the coefficients integrated out (Laplace), up to a constant: REML for counts."""
        return self.log_likelihood - 0.5 * float(np.linalg.slogdet(self.information)[1])


class Problem:
    """Counts and their explanatory columns, in rows.

    Parameters
    ----------
    errors, log_words
        ``[row]``.
    columns
        ``[row, column]``; the first is the intercept.
    speakers
        Codes from 0 on, ascending.
    """

    def __init__(self, errors: Array, log_words: Array, columns: Array, speakers: Codes) -> None:
        self.errors, self.log_words, self.columns, self.speakers = errors, log_words, columns, speakers
        self.count = int(speakers[-1]) + 1
        self._speaker_errors = np.asarray(np.bincount(speakers, errors, self.count), np.float64)
        self._weighted_columns = columns.T @ errors
        self._constant = float(errors @ log_words) - float(gammaln(errors + 1).sum())

    def start(self) -> Array:
        """Return the coefficients of one rate for all."""
        beta = np.zeros(self.columns.shape[1])
        beta[0] = np.log(self.errors.sum() / np.exp(self.log_words).sum())
        return beta

    def expected(self, beta: Array) -> Array:
        """Return each row's expected errors for a speaker with r = 0; infinite where they overflow."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_words + self.columns @ beta)

    def solve(self, sd: float, beta: Array) -> Solution:
        """Maximise over the coefficients, from `beta` on; the likelihood is concave in them."""
        value, expected, integral = self._value(beta, sd)
        converged = False
        for _ in range(_MAX_STEPS):
            gradient, information = self._derivatives(expected, integral)
            step = np.linalg.lstsq(information, gradient, rcond=None)[0]
            promise = float(gradient @ step)
            if promise <= _CLOSE * max(1.0, abs(value)) + 1e-12:
                converged = True
                break
            for halving in range(_MAX_HALVINGS):
                tried = beta + step * 0.5**halving
                new_value, new_expected, new_integral = self._value(tried, sd)
                if new_value > value:
                    break
            else:
                converged = promise < 1e-6  # No digits are left to gain.
                break
            beta, value, expected, integral = tried, new_value, new_expected, new_integral
        return Solution(sd, beta, value, information, integral.rate, converged)

    def _value(self, beta: Array, sd: float) -> tuple[float, Array, Integral]:
        expected = self.expected(beta)
        sums = np.asarray(np.bincount(self.speakers, expected, self.count), np.float64)
        if not (np.isfinite(sums).all() and (sums > 0).all()):
            return -np.inf, expected, Integral(sums, sums, sums)
        integral = integrate(self._speaker_errors, sums, sd)
        value = self._constant + float(self._weighted_columns @ beta) + float(integral.log_value.sum())
        return value, expected, integral

    def _derivatives(self, expected: Array, integral: Integral) -> tuple[Array, Array]:
        """Return the gradient and the information."""
        width = self.columns.shape[1]
        gram = np.zeros((width, width))
        sums = np.zeros((self.count, width))
        for start in range(0, len(expected), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            columns, speakers, weights = self.columns[rows], self.speakers[rows], expected[rows]
            # Speakers are sorted, so a chunk has consecutive ones.
            low, high = int(speakers[0]), int(speakers[-1]) + 1
            for column in range(width):
                sums[low:high, column] += np.bincount(speakers - low, weights * columns[:, column], high - low)
            gram += columns.T @ (columns * (weights * integral.rate[speakers])[:, None])
        gradient = self._weighted_columns - sums.T @ integral.rate
        information = gram - sums.T @ (sums * integral.rate_variance[:, None])
        return gradient, information


NODES = 31
"""Correct to ten digits up to a standard deviation of 1."""

NODES_OF_WIDE = 101
"""Above 1, where speakers without errors skew the integrand; correct to six digits up to 3."""

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
    # The difference of two large numbers loses digits; one step of Newton's method restores them.
    slope = expected * np.exp(mode)
    return np.asarray(mode + (errors - slope - mode / variance) / (slope + 1 / variance))
