"""What tables and figures of fairness write: names of groups and pairs, differences with their intervals, marks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from audio_ssl.artifacts import fairness
from audio_ssl.artifacts.fairness import ALL, UNKNOWN, GapOutcome, GroupComparison, GroupScore
from audio_ssl.data.columns import is_gender
from audio_ssl.fairness.wording import people, short_people
from audio_ssl.metrics.registry import find_metric
from audio_ssl.report.numbers import HARD_SPACE, MISSING, defined, percent, signed

_SHORT = 22
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

OUTCOMES: dict[GapOutcome, str] = {
    GapOutcome.FOUND: fairness.SIGNIFICANT,
    GapOutcome.ALONE: fairness.INCONCLUSIVE,
    GapOutcome.OPEN: fairness.INCONCLUSIVE,
    GapOutcome.SMALLER: fairness.SMALLER,
    GapOutcome.REFUSED: "not tested",
    GapOutcome.UNTESTED: "not tested",
}
"""What a table says of a comparison."""
MARKS: dict[GapOutcome, str] = {
    GapOutcome.FOUND: "square",
    GapOutcome.ALONE: "circle",
    GapOutcome.OPEN: "circle",
    GapOutcome.SMALLER: "triangle",
    GapOutcome.REFUSED: "diamond",
    GapOutcome.UNTESTED: "diamond",
}
"""The shape that a figure draws for a comparison."""
_MARKS_SAID = {
    "square": "a square: statistically significant",
    "circle": "a circle: not statistically significant",
    "triangle": "a triangle: smaller than the tolerance",
    "diamond": "a diamond: not tested",
}


class _Pair(Protocol):
    @property
    def by(self) -> str: ...
    @property
    def a(self) -> str: ...
    @property
    def b(self) -> str: ...


class _Compared(_Pair, Protocol):
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def outcome(self) -> GapOutcome: ...


class _Measured(Protocol):
    @property
    def unit(self) -> str: ...


class _WithEnds(_Measured, Protocol):
    @property
    def difference(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class _Warned(Protocol):
    @property
    def warning(self) -> str | None: ...


def unit_of(row: _Measured) -> str:
    """Return the unit that is written: a cost has none, because it needs three decimals."""
    return "" if row.unit == "cost" else row.unit


def points_of(row: _Measured) -> str:
    """Return what rounds the first end of an interval as the last, whose unit alone is written."""
    return "points" if unit_of(row) else ""


def metric_unit(metric: str) -> str:
    """Return the unit of a metric that is no cost; nothing where the metric is not known."""
    known = find_metric(metric)
    return known.unit if known else ""


def group_name(by: str, group: str) -> str:
    """Name a group in a table or figure."""
    return "not recorded" if group == UNKNOWN else short_people(by, group)


def row_name(row: GroupScore) -> str:
    """Name a row of scores in a table or figure: a group, or all of them."""
    if row.total:
        return "all scored groups"
    return short_people(row.by, row.group) if row.known else "not recorded"


def pair_name(row: _Pair) -> str:
    """Name a comparison in a table or figure: "women − men", "20–29 − 30–39"."""
    return " − ".join(
        people(row.by, name) if is_gender(row.by) and name not in (ALL, UNKNOWN) else short_people(row.by, name)
        for name in (row.a, row.b)
    )


def difference(row: _WithEnds) -> str:
    """Write a difference with its interval behind it, where there is one."""
    return between(row, row.difference, row.low, row.high)


def between(row: _Measured, value: float, low: float, high: float) -> str:
    """Write a difference in the unit of a row, with its interval behind it, where there is one."""
    ends = _in_brackets(signed(low, points_of(row)), signed(high, points_of(row))) if defined(low) else ""
    return MISSING if not defined(value) else signed(value, unit_of(row)) + ends


def _in_brackets(low: str, high: str) -> str:
    """Write an interval behind a value, so that a line breaks before it and not inside."""
    return f" ({low}{HARD_SPACE}to{HARD_SPACE}{high})"


def relative_ends(row: GroupComparison) -> tuple[float, float]:
    """Return the interval of the gap in percent of the second group's score; NaN where there is none."""
    if not defined(row.ratio_low) or not defined(row.ratio_high):
        return math.nan, math.nan
    return 100 * (row.ratio_low - 1), 100 * (row.ratio_high - 1)


def percent_between(value: float, low: float, high: float) -> str:
    """Write a relative difference with its interval behind it, where there is one."""
    ends = _in_brackets(signed(low, "percent"), signed(high, "percent")) if defined(low) else ""
    return MISSING if not defined(value) else percent(value) + ends


def sides(rows: Sequence[_Compared]) -> tuple[str, str]:
    """Say what lies left and right of no gap, naming the first group where all comparisons share it."""
    ways = {row.higher_is_better for row in rows}
    if len(ways) != 1:
        return ("lower", "higher")
    first = {(row.by, row.a) for row in rows}
    whom = "the first"
    if len(first) == 1:
        by, group = first.pop()
        whom = people(by, group)
        whom = whom if len(whom) <= _SHORT else short_people(by, group)
    better = (f"worse for {whom}", f"better for {whom}")
    return better if ways.pop() else (better[1], better[0])


def marks_words(rows: Iterable[_Compared]) -> str:
    """Say what the shapes of the marks mean, as far as they occur."""
    found = {MARKS[row.outcome] for row in rows}
    said = "; ".join(text for mark, text in _MARKS_SAID.items() if mark in found)
    return f" {said[0].upper()}{said[1:]}." if said else ""


def warnings_of(rows: Iterable[_Warned]) -> tuple[str, ...]:
    """Say each kind of warning once: of those that differ in their numbers only, the one with the smallest."""
    kinds: dict[str, list[str]] = {}
    for text in dict.fromkeys(row.warning for row in rows if row.warning):
        kinds.setdefault(_NUMBER.sub("#", text), []).append(text)
    said = []
    for texts in kinds.values():
        texts.sort(key=lambda text: [float(found) for found in _NUMBER.findall(text)])
        more = f" (and {len(texts) - 1} more of this kind, in the JSON)" if len(texts) > 1 else ""
        said.append(texts[0].rstrip(".") + more)
    return tuple(said)
