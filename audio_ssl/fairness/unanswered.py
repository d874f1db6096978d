"""Hypotheses that are missing, and those that are empty, by group; and what the empty ones do to a gap.

A missing one (null, NaN, no row) is no answer: the clip is left out by name. An empty one is an answer, and every word
of its reference an error, as in sclite and jiwer. But where requests failed, or a file could not be read, it is no
finding about people: so both are counted for each group, and every gap is given with the empty ones and without.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audio_ssl.fairness.verdict import SMALLER, is_significant, verdict

NOT_TEXT = frozenset({"NaN", "<NA>", "\\N", "#N/A", "#NV"})
"""What programs write for nothing, in this spelling; no recogniser says so."""

PERHAPS_NOT_TEXT = frozenset({"nan", "NAN", "None", "null", "NULL"})
"""What programs write for nothing, and what may have been said."""

EMPTY_WAYS = ("count", "leave-out")
"""What may be done with clips whose hypothesis is empty."""


@dataclass(frozen=True)
class GroupCounts:
    """How many clips each combination of groups has."""

    attributes: tuple[str, ...] = ()
    counts: tuple[tuple[tuple[str | None, ...], int], ...] = ()
    """Values of the attributes, None where unknown, and how many clips have them."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(count for _, count in self.counts)

    def of(self, attributes: Sequence[str], values: Sequence[str]) -> int:
        """Return how many are of one group of one attribute, or of one cell of several."""
        return self._count(attributes, lambda found: found == list(values))

    def unknown(self, attributes: Sequence[str]) -> int:
        """Return how many have no value recorded for one of the attributes."""
        return self._count(attributes, lambda found: None in found)

    def _count(self, attributes: Sequence[str], fits: Callable[[list[str | None]], bool]) -> int:
        places = [self.attributes.index(name) for name in attributes]
        return sum(count for values, count in self.counts if fits([values[place] for place in places]))


class GroupCounter:
    """Counts them while rows pass.

    Examples
    --------
    >>> counter = GroupCounter(["gender"])
    >>> for gender in ("F", "F", None):
    ...     counter.add([gender])
    >>> counter.found().of(["gender"], ["F"]), counter.found().unknown(["gender"])
    (2, 1)
    """

    def __init__(self, attributes: Sequence[str]) -> None:
        self._attributes = tuple(attributes)
        self._counts: Counter[tuple[str | None, ...]] = Counter()

    def add(self, values: Sequence[str | None], count: int = 1) -> None:
        """Count clips of these groups."""
        self._counts[tuple(values)] += count

    def found(self) -> GroupCounts:
        """Return the counts."""
        return GroupCounts(self._attributes, tuple(sorted(self._counts.items(), key=repr)))


Rows = Sequence[Mapping[str, Any]]


def empty_rows(counted: Rows, left_out: Rows, groups: Rows, tolerance: float | None = None) -> list[dict[str, Any]]:
    """Return every gap with the empty hypotheses counted and left out, and what that changes.

    Parameters
    ----------
    counted, left_out
        Rows of comparisons of both ways, adjusted within each.
    groups
        Rows of groups, which have how many are empty.
    tolerance
        In points of the metric: what difference would matter.
    """
    other = {_key(row): row for row in left_out}
    many = {tuple(row[name] for name in ("result", "by", "group", "metric")): row for row in groups}
    found = []
    for row in counted:
        again = other.get(_key(row))
        sides = [many.get((row["result"], row["by"], row[side], row["metric"])) for side in ("a", "b")]
        empty = [None if side is None else side["empty_hypotheses"] for side in sides]
        if not any(empty) or (row["refused"] and (again is None or again["refused"])):
            continue
        about = {name: row[name] for name in ("result", "by", "metric", "unit", "higher_is_better", "a", "b")}
        changes = ["refused"] if again is None else _changes(row, again, tolerance)
        found.append(
            {
                **about,
                "empty_a": empty[0],
                "empty_b": empty[1],
                **_way(row, "counted"),
                **_way(again or {}, "left_out"),
                "changes": changes,
                "warning": _warning(changes, row, empty),
            }
        )
    return found


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("result", "by", "metric", "a", "b"))


def _way(row: Mapping[str, Any], way: str) -> dict[str, float]:
    names = {"difference": "difference", "low": "low", "high": "high", "p_holm": "p_holm"}
    return {f"{new}_{way}": float(row.get(name, math.nan)) for name, new in names.items()}


def _changes(row: Mapping[str, Any], again: Mapping[str, Any], tolerance: float | None) -> list[str]:
    """Return what of a finding the empty hypotheses change; an inconclusive difference that stays so is none."""
    if (row["refused"] is None) != (again["refused"] is None):
        return ["refused"]
    stated = None if row["unit"] == "cost" else tolerance
    significant = [bool(is_significant(way)) for way in (row, again)]
    smaller = [verdict({**way, "tolerance": stated}) == SMALLER for way in (row, again)]
    found = []
    if significant[0] != significant[1]:
        found.append("significance")
    if smaller[0] != smaller[1]:
        found.append("tolerance")
    if any(significant) and row["difference"] * again["difference"] < 0:
        found.append("direction")
    if any(significant) and stated is not None and abs(row["difference"] - again["difference"]) > stated:
        found.append("size")
    return found


_WORDS = {
    "refused": "without them a group is too small to compare",
    "significance": "they decide whether it is statistically significant",
    "tolerance": "they decide whether it is smaller than the stated tolerance",
    "direction": "they decide which group it is worse for",
    "size": "they change it by more than the tolerance",
}


def _warning(changes: Sequence[str], row: Mapping[str, Any], empty: Sequence[int | None]) -> str | None:
    if not changes:
        return None
    counts = ", ".join(
        f"{many} of {name}" for many, name in zip(empty, (row["a"], row["b"]), strict=True) if many is not None
    )
    what = " and ".join(_WORDS[one] for one in changes)
    return f"the difference depends on empty hypotheses ({counts}): {what}; find out first why they are empty"
