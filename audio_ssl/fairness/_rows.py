"""Rows of comparisons, the same for scores of sums and for those of trials."""

from __future__ import annotations

import math
from typing import Any

from audio_ssl.fairness.contrast import Contrast
from audio_ssl.fairness.gaps import relative_symmetric, relative_to
from audio_ssl.fairness.permutation import Permutation
from audio_ssl.fairness.power import Sensitivity


def untested_row(
    first: str, second: str, a: float, b: float, direction: str, refused: str | None, speakers: tuple[int, int] | None
) -> dict[str, Any]:
    """Return a gap with nothing concluded from it: `a` and `b` are the scores of the first and the second group."""
    return {
        "a": first,
        "b": second,
        "value_a": a,
        "value_b": b,
        "speakers_a": None if speakers is None else speakers[0],
        "speakers_b": None if speakers is None else speakers[1],
        "difference": a - b,
        "low": math.nan,
        "high": math.nan,
        "low_90": math.nan,
        "high_90": math.nan,
        "standard_error": math.nan,
        "degrees_of_freedom": math.nan,
        "relative_symmetric": relative_symmetric(a, b),
        "relative_symmetric_low": math.nan,
        "relative_symmetric_high": math.nan,
        "relative_to_b": relative_to(a, b),
        "ratio": a / b if b else math.nan,
        "ratio_low": math.nan,
        "ratio_high": math.nan,
        "p_value": math.nan,
        "p_exact": None,
        "assignments": None,
        "p_holm": math.nan,
        "compared": 0,
        "minimum_detectable": math.nan,
        "minimum_detectable_relative": math.nan,
        "tolerance": None,
        "verdict": None,
        "direction": direction,
        "refused": refused,
        "warning": None,
    }


def unscored_row(first: str, second: str, refused: str) -> dict[str, Any]:
    """Return a gap of which nothing is told, because a group is too small to be scored."""
    return untested_row(first, second, math.nan, math.nan, "not compared", refused, None)


def tested(found: Contrast, test: Permutation | None, power: Sensitivity, a: float, b: float) -> dict[str, Any]:
    """Return what replaces the empty places of a row: intervals, the p-value if there is one, the detectable gap."""
    mean, least = 0.5 * (a + b), power.detectable()
    row: dict[str, Any] = {
        "low": found.difference.low,
        "high": found.difference.high,
        "low_90": found.within.low,
        "high_90": found.within.high,
        "standard_error": power.standard_error,
        "degrees_of_freedom": power.freedom,
        "relative_symmetric_low": found.relative_symmetric.low,
        "relative_symmetric_high": found.relative_symmetric.high,
        "ratio_low": found.ratio.low,
        "ratio_high": found.ratio.high,
        "minimum_detectable": least,
        "minimum_detectable_relative": 100 * least / mean if mean else math.nan,
    }
    if test is not None:
        row |= {"p_value": test.p_value, "p_exact": test.exact, "assignments": test.assignments}
    return row
