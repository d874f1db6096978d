"""What is decided over all comparisons of a metric together: adjusted p-values, detectable differences, verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from audio_ssl.fairness.holm import holm
from audio_ssl.fairness.power import ALPHA, detectable
from audio_ssl.fairness.verdict import verdict


def adjust(rows: list[dict[str, Any]]) -> None:
    """Adjust p-values by Holm's method: a family is all tests of one metric on one result."""
    families: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault((str(row.get("result", row.get("result_b"))), str(row["metric"])), []).append(row)
    for family in families.values():
        tested = [row for row in family if np.isfinite(row["p_value"])]
        for row, adjusted in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
            row["p_holm"] = adjusted
        for row in tested:
            row["compared"] = len(tested)


def conclude(rows: Sequence[dict[str, Any]], tolerance: float | None) -> None:
    """Give each row its verdict, and the difference that the test as adjusted would usually find."""
    for row in rows:
        if row["unit"] != "cost":
            row["tolerance"] = tolerance
        if row["compared"] and np.isfinite(row["standard_error"]):
            # Holm's first and strictest step: the level is shared among all comparisons of the family.
            least = detectable(row["standard_error"], row["degrees_of_freedom"], alpha=ALPHA / row["compared"])
            mean = 0.5 * (row["value_a"] + row["value_b"])
            row["minimum_detectable"] = least
            row["minimum_detectable_relative"] = 100 * least / mean if mean else math.nan
        row["verdict"] = verdict(row)


def out_of_reach(assignments: float, compared: float) -> bool:
    """Return whether not even the smallest p-value of so many permutations is significant in so many comparisons.

    Examples
    --------
    >>> out_of_reach(19, 1), out_of_reach(20, 1), out_of_reach(99, 5), out_of_reach(100, 5)
    (True, False, True, False)
    """
    return compared / (assignments + 1) >= ALPHA


def too_many(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say of which families no gap could be found, however large, for want of permutations."""
    families: dict[tuple[str, int, int], list[str]] = {}
    tested = [row for row in rows if row["assignments"] and row["compared"]]
    for result, metric in dict.fromkeys((row["result"], row["metric"]) for row in tested):
        family = [row for row in tested if (row["result"], row["metric"]) == (result, metric)]
        tries, compared = max(row["assignments"] for row in family), family[0]["compared"]
        if out_of_reach(tries, compared):
            families.setdefault((result, tries, compared), []).append(metric)
    return [
        f"{result}, {', '.join(metrics)}: with {tries:,} permutations no p-value can be below {1 / (tries + 1):.2g}. "
        f"Adjusted for {compared:,} comparisons that is not below {ALPHA}, so no difference could be statistically "
        "significant, however large. Compare by fewer attributes or, if not all permutations were made, make more "
        "(`--replicates`)."
        for (result, tries, compared), metrics in families.items()
    ]
