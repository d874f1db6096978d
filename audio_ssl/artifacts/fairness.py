"""The report of the fairness stage (`FairnessReport`), and the verdict on a row of it.

What an audit found, and how it becomes the JSON that other programs read.

What may be said of a difference between two groups: exactly one of three verdicts, or none where nothing was tested.

A tolerance comes first: whoever names one has said which differences do not matter. A difference counts as smaller if
its 90 % interval lies within the tolerance, which is two one-sided tests at 5 % (Schuirmann 1987). It may be
statistically significant as well; the report says both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from audio_ssl.base.text import printable

SCHEMA_VERSION = 3

LIMITS = (
    "A gap on these clips is a statement about these clips and these speakers.",
    "Groups are as the corpus recorded them; nothing about a person was inferred.",
    "Groups can differ in what they said, how fast, and how they were recorded. The mixed model holds alike what was "
    "recorded of that, and cannot hold alike what was not. It takes the speakers of all groups to vary alike, and "
    "compares typical speakers, not the groups' rates: where one group varies more than the other, the two differ.",
    "Confidence intervals and p-values are about drawing other speakers of the same kind. They know nothing of errors "
    "in the references, of a test set that leaves some people out, or of the harm that an error does.",
    "No statistically significant difference does not mean that there is none. The minimum detectable difference says "
    "how large a difference this test set would usually show.",
    "A p-value is about one comparison. Holm-adjusted p-values count how many comparisons of a metric were made.",
)


@dataclass(frozen=True)
class FairnessReport:
    """What an audit found; `to_json` is the ``report.json`` other programs read."""

    results: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    """Those of ``total`` are the rows of all clips."""
    comparisons: list[dict[str, Any]]
    excluded: list[dict[str, Any]]
    provenance: dict[str, Any]
    suppressed: list[dict[str, Any]] = field(default_factory=list)
    spread: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    gap_differences: list[dict[str, Any]] = field(default_factory=list)
    representation: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    empty_hypotheses: list[dict[str, Any]] = field(default_factory=list)
    """Gaps with empty hypotheses counted and left out."""
    statement: dict[str, Any] = field(default_factory=dict)
    limits: Sequence[str] = LIMITS

    def to_json(self) -> dict[str, Any]:
        """Return plain data; what is not defined is null, and no text steers the screen that shows it."""
        rows = {name: value for name, value in vars(self).items() if isinstance(value, list) and name != "notes"}
        # Apart, so that no program takes a total in `groups` for a group of people.
        rows["totals"] = [row for row in self.groups if row["total"]]
        rows["groups"] = [row for row in self.groups if not row["total"]]
        return {
            "kind": "fairness",
            "schema_version": SCHEMA_VERSION,
            **{name: [_finite(row) for row in value] for name, value in rows.items()},
            "limits": list(self.limits),
            "notes": _plain(self.notes),
            "statement": _finite(self.statement),
            "provenance": _finite(self.provenance),
        }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with null for what is not a number, inner rows too."""
    return {key: _plain(value) for key, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _finite(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return printable(value) if isinstance(value, str) else value


CROSSED = " × "
"""Between the attributes, and the values, of an intersection."""
ALL, UNKNOWN, REST = "all", "unknown", "all others"
"""Rows that are no recorded group: all clips, speakers without a value, and whoever is not in the group beside."""

ALPHA = 0.05
"""Level of a test; of several, Holm's method begins at this over their number."""

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
