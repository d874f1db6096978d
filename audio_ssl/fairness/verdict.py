"""What may be said of a difference between two groups: exactly one of three verdicts, or none where nothing was tested.

A tolerance comes first: whoever names one has said which differences do not matter. A difference counts as smaller if
its 90 % interval lies within the tolerance, which is two one-sided tests at 5 % (Schuirmann 1987). It may be
statistically significant as well; the report says both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from audio_ssl.fairness.power import ALPHA

Verdict = Literal[
    "statistically significant difference",
    "no statistically significant difference; inconclusive",
    "difference smaller than the stated tolerance",
]
SIGNIFICANT: Verdict = "statistically significant difference"
INCONCLUSIVE: Verdict = "no statistically significant difference; inconclusive"
SMALLER: Verdict = "difference smaller than the stated tolerance"
VERDICTS: tuple[Verdict, ...] = (SIGNIFICANT, INCONCLUSIVE, SMALLER)


def is_significant(row: Mapping[str, Any]) -> bool | None:
    """Return whether the p-value, adjusted for the family where that is known, is below `ALPHA`; None if no test."""
    plain, adjusted = number(row.get("p_value")), number(row.get("p_holm"))
    if plain is None:
        return None
    return (plain if adjusted is None else adjusted) < ALPHA


def verdict(row: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict on a row of comparisons; None where it was refused or not tested.

    Examples
    --------
    >>> verdict({"p_value": 0.03, "p_holm": 0.12})
    'no statistically significant difference; inconclusive'
    >>> verdict({"p_value": 0.4, "tolerance": 1.0, "low_90": -0.4, "high_90": 0.9})
    'difference smaller than the stated tolerance'
    """
    if row.get("refused"):
        return None
    tolerance, low, high = (number(row.get(key)) for key in ("tolerance", "low_90", "high_90"))
    if tolerance is not None and low is not None and high is not None and -tolerance < low <= high < tolerance:
        return SMALLER
    significant = is_significant(row)
    if significant is None:
        return None
    return SIGNIFICANT if significant else INCONCLUSIVE


def number(value: Any) -> float | None:
    """Return a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        return None
    return float(value)
