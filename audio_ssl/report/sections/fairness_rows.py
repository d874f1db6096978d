"""The rows of a fairness report by what they are about, and how their cells are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from audio_ssl.artifacts.fairness import ALL, CROSSED, UNKNOWN
from audio_ssl.data.columns import is_gender
from audio_ssl.fairness.wording import people, short_people
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.html import TableColumn
from audio_ssl.report.language.fairness import VERDICTS, higher_is_better, unit_of, verdict_of
from audio_ssl.report.numbers import MISSING, finite, p_value, percent, signed

Row = Mapping[str, Any]
Report = Mapping[str, Any]
MOST_DRAWN = 24
"""Rows of a figure."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SHORT = 22


def rows_of(report: Report, part: str) -> list[Row]:
    """Return the rows of a part, of groups with the rows of all clips; none where the report is older than the part."""
    if part == "groups" and report.get("totals"):
        return [*rows_of({"groups": report.get("groups")}, part), *rows_of(report, "totals")]
    return [row for row in report.get(part) or () if isinstance(row, Mapping)]


def groups_of(report: Report) -> list[Row]:
    """Return the rows of groups and, after them, those of all clips, which lie apart in the JSON."""
    groups = rows_of(report, "groups")
    if any(map(is_total, groups)):
        return groups
    return [*groups, *rows_of(report, "totals")]


def attributes(report: Report) -> list[str]:
    """Return the attributes and intersections that anything is said about, single attributes first."""
    names = [str(row["by"]) for part in ("groups", "comparisons", "suppressed") for row in rows_of(report, part)]
    return sorted(dict.fromkeys(names), key=lambda name: name.count("×"))


def keys(report: Report, by: str) -> list[tuple[str, str]]:
    """Return every result and metric of an attribute, in the order of the rows."""
    rows = [row for part in ("groups", "comparisons") for row in rows_of(report, part) if row["by"] == by]
    return list(dict.fromkeys((str(row.get("result") or ""), str(row["metric"])) for row in rows))


def chosen(rows: Iterable[Row], **wanted: str) -> list[Row]:
    """Return the rows that have these values."""
    return [row for row in rows if all(str(row.get(name) or "") == value for name, value in wanted.items())]


def is_total(row: Row) -> bool:
    """Say whether a row of groups stands for all clips."""
    return bool(row.get("total"))


def is_unknown(row: Row) -> bool:
    """Say whether a row of groups stands for speakers without a recorded value."""
    return row.get("known") is False or (row.get("known") is None and row.get("group") == UNKNOWN)


def group_name(row: Row) -> str:
    """Name a row of groups in a table or figure."""
    if is_total(row):
        return "all scored groups"
    return "not recorded" if is_unknown(row) else short_people(str(row["by"]), str(row["group"]))


def pair_name(row: Row) -> str:
    """Name a comparison in a table or figure.

    Examples
    --------
    >>> pair_name({"by": "gender", "a": "F", "b": "M"}), pair_name({"by": "age", "a": "20–29", "b": "30–39"})
    ('women − men', '20–29 − 30–39')
    """
    by = str(row["by"])
    return " − ".join(
        people(by, name) if is_gender(by) and name not in (ALL, UNKNOWN) else short_people(by, name)
        for name in (str(row["a"]), str(row["b"]))
    )


def ends(row: Row) -> str:
    """Write the interval of a difference; a dash where either end is missing."""
    if finite(row.get("low")) is None or finite(row.get("high")) is None:
        return MISSING
    plain = "points" if unit_of(row) else ""
    return f"{signed(row['low'], plain)} to {signed(row['high'], plain)}"


def difference(row: Row) -> str:
    """Write a difference with its interval behind it, where there is one."""
    return signed(row.get("difference"), unit_of(row)) + (f" ({found})" if (found := ends(row)) != MISSING else "")


def relative(row: Row) -> float | None:
    """Return the gap in percent of the second group's score."""
    ratio = finite(row.get("ratio"))
    return finite(row.get("relative_to_b")) if ratio is None else 100 * (ratio - 1)


def relative_ends(row: Row) -> tuple[float | None, float | None]:
    """Return the interval of the gap in percent of the second group's score."""
    ratios = [finite(row.get(key)) for key in ("ratio_low", "ratio_high")]
    ends_ = [None if ratio is None else 100 * (ratio - 1) for ratio in ratios]
    return ends_[0], ends_[1]


def with_ends(value: Any, low: Any, high: Any) -> str:
    """Write a percentage with its interval behind it, where there is one."""
    if finite(value) is None:
        return MISSING
    if finite(low) is None or finite(high) is None:
        return percent(value)
    return f"{percent(value)} ({interval_of(low, high)})"


def interval_of(low: Any, high: Any) -> str:
    """Write an interval of percentages with signs."""
    return f"{signed(low, 'percent')} to {signed(high, 'percent')}"


def sides(rows: Sequence[Row]) -> tuple[str, str]:
    """Say what lies left and right of no gap, naming the first group where all comparisons share it."""
    ways = {higher_is_better(row) for row in rows}
    if len(ways) != 1 or None in ways:
        return ("lower", "higher")
    first = {(str(row["by"]), str(row["a"])) for row in rows}
    whom = "the first"
    if len(first) == 1:
        by, group = first.pop()
        whom = people(by, group)
        whom = whom if len(whom) <= _SHORT else short_people(by, group)
    better = (f"worse for {whom}", f"better for {whom}")
    return better if ways.pop() else (better[1], better[0])


def foremost(rows: Sequence[Row], most: int) -> list[Row]:
    """Choose what is drawn and said: what is statistically significant, then the main metric, but for crossed groups.

    The main metric is that of the first row. Where that leaves nothing, the first rows are returned.
    """
    if not rows:
        return []
    main = rows[0].get("metric")
    found = [row for row in rows if verdict_of(row) == "found"]
    others = [row for row in rows if verdict_of(row) != "found" and row.get("metric") == main]
    others = [row for row in others if CROSSED not in str(row["by"])]
    others.sort(key=lambda row: verdict_of(row) in ("refused", "untested"))
    return (found + others or list(rows))[:most]


def warnings_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Say what to mind once for each kind: of those that differ in their numbers only, the one with the smallest."""
    kinds: dict[str, list[str]] = {}
    for text in dict.fromkeys(str(row["warning"]) for row in rows if row.get("warning")):
        kinds.setdefault(_NUMBER.sub("#", text), []).append(text)
    said = []
    for texts in kinds.values():
        texts.sort(key=lambda text: [float(found) for found in _NUMBER.findall(text)])
        more = f" (and {len(texts) - 1} more of this kind, in the JSON)" if len(texts) > 1 else ""
        said.append(texts[0].rstrip(".") + more)
    return tuple(said)


def system_column(report: Report) -> list[TableColumn[Row]]:
    """Return the column that names the system of a row; none where the report is about one system."""
    names = {str(row.get("name")) for row in rows_of(report, "results")}
    names = names or {str(row.get("result")) for row in (*groups_of(report), *rows_of(report, "comparisons"))}
    return [TableColumn("System", lambda row: str(row.get("result")), words=True)] if len(names) > 1 else []


METRIC = TableColumn[Row]("Metric", lambda row: metric_label(row["metric"]), words=True)
P_VALUE = TableColumn[Row]("p", lambda row: p_value(row.get("p_value")))
P_HOLM = TableColumn[Row]("Holm-adjusted p", lambda row: p_value(row.get("p_holm")))
VERDICT = TableColumn[Row]("Verdict", lambda row: VERDICTS[verdict_of(row)], words=True)
"""Columns that several tables have."""
