"""What a row of the JSON of the fairness stage is about: its unit, its direction, and the group that fares worse.

A gap is always first minus second group (F − M); whether a positive one
is good or bad for the first group follows from the metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audio_ssl.report.numbers import finite
from audio_ssl.report.paired import additive

_Row = Mapping[str, Any]


def unit_of(row: _Row) -> str:
    """Return the unit of the row's metric; a row may name its own. A cost has none: it needs three decimals."""
    metric = additive(str(row["metric"]))
    unit = str(row.get("unit") or (metric.unit if metric else ""))
    return "" if unit == "cost" else unit


def higher_is_better(row: _Row) -> bool | None:
    """Return which way the row's metric is better, or None where that is not known."""
    if isinstance(row.get("higher_is_better"), bool):
        return bool(row["higher_is_better"])
    metric = additive(str(row["metric"]))
    return metric.higher_is_better if metric else None


def worse_group(row: _Row) -> str | None:
    """Return the group a comparison is worse for; None where there is no gap or no known direction."""
    gap, higher = finite(row.get("difference")), higher_is_better(row)
    if not gap or higher is None:
        return None
    return str(row["b"] if (gap > 0) == higher else row["a"])
