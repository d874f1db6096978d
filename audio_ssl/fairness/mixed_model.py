"""Rate ratios between groups, by a Poisson model with an effect of each speaker.

Liu, Veliche & Peng, ICASSP 2022 (arXiv 2109.09061): the errors of a clip are Poisson with mean ``words * exp(intercept
+ columns @ beta + r)``, where r ~ N(0, sd^2) is the effect of the speaker. exp(beta) is a ratio of rates with the other
columns held constant. Model and offset are those of the paper. Three things differ, because with few speakers the Wald
test rejected too often:

* sd maximises the likelihood with the coefficients integrated out (REML by Laplace's approximation). Maximum likelihood
  underestimates sd, because it uses degrees of freedom for the coefficients.
* Intervals and p-values use Student's t: speakers minus coefficients degrees of freedom for comparisons between
  speakers, clips minus speakers for comparisons within speakers.
* Errors are overdispersed. Between speakers, overdispersion is part of sd and so of the uncertainty; scaling by the
  dispersion again would leave no power. Within speakers, the variance is that of the residuals of clips if it is above
  Poisson's: a coefficient is a weighted mean of an estimate within speakers and one between them.

One variance between speakers is assumed for all groups, as published. If the speakers of the smaller group vary much
more than those of the larger one, the test rejects too often; the permutation test and the bootstrap of the report are
better then. `benchmarks/fairness.py` measures bias, coverage and type-I error, such a case included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import chi2, t

from audio_ssl.fairness.design import DesignRows, prepare
from audio_ssl.fairness.poisson import Problem, Solution
from audio_ssl.metrics.resampling import CONFIDENCE, Interval

BURSTS_ABOVE = 1.5
"""Dispersion above which there is a note."""

_SD_FROM, _SD_TO = 1e-3, 3.0
_SD_TOLERANCE = 1e-4
"""Of log(sd)."""


@dataclass(frozen=True)
class MixedModel:
    """The fitted model."""

    ratios: dict[str, Interval]
    """Ratio of error rates per unit of a column, with the others held constant; NaN without an estimate."""

    p_values: dict[str, float]
    """Two-sided, of the hypothesis that the ratio is 1."""

    speaker_sd: float
    """Standard deviation of the speakers' log rates, overdispersion included; 0 if none is found."""

    speaker_sd_low: float
    speaker_sd_high: float
    """Lower limit by the profile of the restricted likelihood."""

    dispersion: float
    """Pearson's, given the speakers; above 1, errors are overdispersed. NaN if every speaker has one clip."""

    log_likelihood: float
    """Log likelihood of the clips with speaker effects integrated out, at the restricted estimate of sd."""

    converged: bool
    clips: int
    speakers: int
    notes: tuple[str, ...]
    """Notes for readers."""


def fit_mixed_model(
    errors: npt.ArrayLike, words: npt.ArrayLike, speakers: npt.ArrayLike, design: Mapping[str, npt.ArrayLike]
) -> MixedModel:
    """Fit ``log E[errors] = log words + intercept + sum(design * beta) + r_speaker``.

    Time and memory grow with clips times columns, not counting columns that are constant within speakers.

    Parameters
    ----------
    errors
        ``[clip]``; 0 or more.
    words
        Words of the reference, ``[clip]``; above 0.
    speakers
        Codes, ``[clip]``.
    design
        Columns by name, ``[clip]``: a group as 0 and 1, numbers in the unit of the ratio (see `standardise` in
        `fairness/design.py`). No intercept. Columns are centred and scaled inside; ratios are per unit as given.

    Raises
    ------
    UserError
        For lengths that differ, numbers that are not finite or out of range, unknown speakers (below 0), constant or
        collinear columns, no errors at all, or too few speakers for the columns.
    """
    rows = prepare(errors, words, speakers, design)
    if rows.separated:
        return _no_estimate(rows)
    problem = Problem(rows.errors, rows.log_words, rows.columns, rows.speakers)
    best, low, high = _search(problem)
    expected = rows.clip_expected(best.beta, best.rates)
    dispersion = _dispersion(rows, expected)
    ratios, p_values = _ratios(rows, best, expected)
    notes = [] if best.converged else ["the fit did not converge, so its numbers may be wrong"]
    if best.sd == 0:
        notes.append("the estimated variance between speakers is zero, so the model is a plain Poisson regression")
    if best.sd > 0.9 * _SD_TO:
        notes.append("a few speakers have nearly all errors: the variance between speakers is too large for the model")
    if dispersion > BURSTS_ABOVE:
        notes.append(f"errors are overdispersed (dispersion {dispersion:.1f}), which increases `speaker_sd`")
    return MixedModel(
        ratios,
        p_values,
        best.sd,
        low,
        high,
        dispersion,
        best.log_likelihood + rows.log_constant,
        best.converged,
        rows.clips,
        problem.count,
        tuple(notes),
    )


def _search(problem: Problem) -> tuple[Solution, float, float]:
    """Return the solution at the best sd, and the limits of its interval."""
    solutions = [problem.solve(0.0, problem.start())]

    def criterion(log_sd: float) -> float:
        # Coefficients change little from one sd to the next, so each search starts at the last ones.
        solutions.append(problem.solve(math.exp(log_sd), solutions[-1].beta))
        return solutions[-1].restricted

    bounds = (math.log(_SD_FROM), math.log(_SD_TO))
    minimize_scalar(lambda x: -criterion(x), bounds=bounds, method="bounded", options={"xatol": _SD_TOLERANCE})
    best = max(solutions, key=lambda solution: solution.restricted)
    enough = best.restricted - 0.5 * float(chi2.ppf(CONFIDENCE, 1))

    def end(limit: float, beyond: float) -> float:
        """Return where the criterion has fallen too far on the way to a limit; `beyond` if it never does."""
        solutions.append(best)
        middle = math.log(max(best.sd, _SD_FROM))
        if criterion(limit) > enough or limit == middle:
            return beyond
        return math.exp(brentq(lambda log_sd: criterion(log_sd) - enough, *sorted((limit, middle)), xtol=1e-3))

    return best, end(bounds[0], 0.0) if best.sd else 0.0, end(bounds[1], math.inf)


def _dispersion(rows: DesignRows, expected: Array) -> float:
    """Return Pearson's dispersion of the clips, given the speakers."""
    free = rows.clips - int(rows.speakers[-1]) - rows.columns.shape[1]
    if free <= 0:
        return math.nan
    # An expectation can underflow to 0; then there are no errors either.
    return float(((rows.clip_errors - expected) ** 2 / np.maximum(expected, 1e-12)).sum() / free)


def _ratios(rows: DesignRows, best: Solution, expected: Array) -> tuple[dict[str, Interval], dict[str, float]]:
    ratios, p_values = {}, {}
    variances = np.diag(np.linalg.inv(best.information))
    shares, bursts = within_speakers(rows, expected, best.information)
    between = max(1.0, len(best.rates) - 1.0 - sum(rows.constant[1:]))
    within = max(1.0, rows.clips - len(best.rates) - float(np.sum(~np.array(rows.constant))))
    for index, name in enumerate(rows.names, start=1):
        share = shares[index]
        # Satterthwaite's degrees of freedom of a mean of two estimates, weighted by precision.
        freedom = 1 / (share**2 / within + (1 - share) ** 2 / between)
        error = math.sqrt(variances[index] * (1 + share * (bursts[index] - 1)))
        beta, reach = best.beta[index], error * float(t.ppf((1 + CONFIDENCE) / 2, freedom))
        p_values[name] = float(2 * t.sf(abs(beta) / error, freedom))
        scale = rows.scales[index]
        with np.errstate(over="ignore"):
            value, low, high = np.exp(np.array([beta, beta - reach, beta + reach]) / scale).tolist()
        ratios[name] = Interval(value, low, high)
    return ratios, p_values


def _no_estimate(rows: DesignRows) -> MixedModel:
    nan = math.nan
    return MixedModel(
        {name: Interval(nan, nan, nan) for name in rows.names},
        dict.fromkeys(rows.names, nan),
        nan,
        nan,
        nan,
        nan,
        nan,
        False,
        rows.clips,
        int(rows.speakers[-1]) + 1,
        (rows.separated,),
    )


Array = npt.NDArray[np.float64]

_RIDGE = 1e-9


class Within(NamedTuple):
    """Of each coefficient, ``[column]``; 0 and 1 for columns that are constant within speakers."""

    shares: Array
    """Share of the precision that comes from within speakers."""

    bursts: Array
    """Sandwich variance, from the residuals of clips, over Poisson's variance; 1 or more."""


def within_speakers(rows: DesignRows, expected: Array, information: Array) -> Within:
    """Split the precision of coefficients.

    Parameters
    ----------
    rows
        Rows that were fitted.
    expected
        Expected errors given the speakers, ``[clip]``.
    information
        Information of the coefficients, ``[column, column]``.
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
