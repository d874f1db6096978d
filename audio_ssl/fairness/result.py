"""What an audit found, and how it becomes the JSON that other programs read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audio_ssl.fairness.values import printable

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
class FairnessResult:
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
