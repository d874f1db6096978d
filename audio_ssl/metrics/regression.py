"""Coefficient of determination, from sums of squares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_ssl.errors import UserError
from audio_ssl.metrics.additive import AdditiveMetric, Answer, Array, ratio

# A variance is the difference of two sums; below this share of them it is rounding.
_ROUNDING = 1e-12


def r2(names: Sequence[str] = ()) -> AdditiveMetric:
    """Return R² of each number of an answer, averaged over the numbers, in percent.

    Equal to scikit-learn's ``r2_score(multioutput="uniform_average")``, but a number whose reference never varies has
    no R² and is left out of the mean, as are clips of which it is not a number (NaN) in the reference.

    Parameters
    ----------
    names
        Of the numbers, in their order (``["valence", "arousal"]``); if none are given, answers may have any count.
    """
    count = len(names)

    def statistics(reference: Answer, hypothesis: Answer) -> Array:
        right, said = _numbers(reference), _numbers(hypothesis)
        if len(right) != len(said) or (count and len(right) != count):
            wanted = f"{count} numbers ({', '.join(names)})" if count else "as many numbers as the reference has"
            raise UserError(f"metric `r2` takes {wanted}, but got {len(right)} and {len(said)}")
        known = np.isfinite(right)
        right = np.where(known, right, 0.0)
        residual = np.where(known, right - said, 0.0)
        return np.stack([known.astype(np.float64), right, right**2, residual**2]).ravel()

    def score(sums: Array) -> Array:
        clips, total, squares, residuals = np.moveaxis(sums.reshape(*sums.shape[:-1], 4, -1), -2, 0)
        spread = squares - np.nan_to_num(ratio(total**2, clips))
        spread = np.where(spread > _ROUNDING * squares, spread, 0.0)
        values = 1.0 - ratio(residuals, spread)
        defined = spread > 0
        return 100.0 * ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))

    kinds = ("clips", "sum", "squares", "squared_residuals")
    columns = tuple(f"{kind}:{name}" for kind in kinds for name in (names or ("value",)))
    return AdditiveMetric("r2", columns, True, "%", statistics, score, "average:uniform over values that vary")


def _numbers(answer: Answer) -> Array:
    if isinstance(answer, str) or any(isinstance(value, str) for value in answer):
        raise UserError(f"metric `r2` takes a list of numbers, but got {answer!r}")
    return np.array(answer, np.float64)
