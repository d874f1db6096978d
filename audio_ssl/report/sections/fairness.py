"""Groups of speakers side by side: scores and counts per group, gaps with intervals, and what may be concluded.

Drawn from the JSON of the fairness stage (``groups``, ``comparisons``, ``provenance``) alone, so an old report can be
drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.gaps import higher_is_better, inference_sentence, size_sentence, unit_of, worse_group
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.numbers import (
    MISSING,
    count,
    finite,
    interval,
    metric_label,
    number,
    p_value,
    percent,
    score,
    signed,
)
from audio_ssl.report.sections.gains import SHAPES, direction

_Row = Mapping[str, Any]
_Key = tuple[str, str, str]
_HOW = (
    "A gap is the first group's score minus the second's; Δrel is 100 · gap over the mean of the two. Intervals and "
    "tests resample speakers, not clips, because clips of one speaker are alike."
)


def fairness_section(reports: Sequence[Mapping[str, Any]]) -> Section:
    """Show every fairness report, one block per result, attribute and metric."""
    blocks = []
    for index, report in enumerate(reports):
        keys = dict.fromkeys(_key(row) for part in ("groups", "comparisons") for row in report[part])
        for place, key in enumerate(keys):
            groups = [row for row in report["groups"] if _key(row) == key]
            comparisons = [row for row in report["comparisons"] if _key(row) == key]
            blocks.append(_block(key, groups, comparisons, f"fair-{index}-{place}"))
    return Section("fairness", "Fairness between groups", tuple(blocks), lead=(_HOW,))


def _key(row: _Row) -> _Key:
    return (str(row.get("result") or ""), str(row["by"]), str(row["metric"]))


def _block(key: _Key, groups: Sequence[_Row], comparisons: Sequence[_Row], prefix: str) -> Block:
    result, by, metric = key[0], key[1], metric_label(key[2])
    figures = (_group_figure(metric, by, groups, prefix), _gap_figure(metric, comparisons, prefix))
    warnings = dict.fromkeys(str(row["warning"]) for row in (*groups, *comparisons) if row.get("warning"))
    tables = [_group_table(metric, by, groups)] if groups else []
    if comparisons:
        tables.append(_gap_table(metric, comparisons))
    return Block(
        id=prefix,
        heading=f"{result}: {metric} by {by}" if result else f"{metric} by {by}",
        lead=tuple(f"{size_sentence(row)} {inference_sentence(row)}" for row in comparisons),
        warnings=tuple(warnings),
        figures=tuple(figure for figure in figures if figure),
        tables=tuple(tables),
    )


def _group_figure(metric: str, by: str, groups: Sequence[_Row], prefix: str) -> Figure | None:
    dots = []
    for index, row in enumerate(groups):
        value = finite(row.get("value"))
        if value is not None:
            note = count(int(row["speakers"]), "speaker") if finite(row.get("speakers")) is not None else ""
            low, high = finite(row.get("low")), finite(row.get("high"))
            dots.append(Dot(str(row["group"]), value, low, high, SHAPES[index % len(SHAPES)], note))
    if not dots:
        return None
    unit, better = unit_of(groups[0]), higher_is_better(groups[0])
    said = "; ".join(f"{dot.label} {score(dot.value, unit)}, {dot.note}" for dot in dots)
    svg = interval_chart(
        f"{prefix}-groups", f"{metric} by {by}", f"{said}.", dots,
        axis_label=metric, unit=unit, higher_is_better=better,
    )  # fmt: skip
    caption = f"{metric} per group{f', {direction(better)}' if better is not None else ''}."
    bare = any(dot.low is None for dot in dots)
    return Figure(f"{prefix}-groups-box", svg, caption + (" No interval where speakers are too few." if bare else ""))


def _gap_figure(metric: str, comparisons: Sequence[_Row], prefix: str) -> Figure | None:
    dots = []
    for row in comparisons:
        gap = finite(row.get("difference"))
        if gap is not None:
            kind = "diamond" if row.get("refused") else "circle"
            dots.append(Dot(f"{row['a']} − {row['b']}", gap, finite(row.get("low")), finite(row.get("high")), kind))
    if not dots:
        return None
    unit = unit_of(comparisons[0])
    said = "; ".join(f"{dot.label}: {signed(dot.value, unit)}" for dot in dots)
    svg = interval_chart(
        f"{prefix}-gaps", f"Gaps in {metric}", f"{said}.", dots, axis_label="gap", unit=unit, zero=_sides(comparisons),
    )  # fmt: skip
    caption = "Gap, first group minus second; the dashed line is no gap."
    refused = any(row.get("refused") for row in comparisons)
    return Figure(
        f"{prefix}-gaps-box", svg, caption + (" A diamond was not tested: too few speakers." if refused else "")
    )


def _sides(comparisons: Sequence[_Row]) -> tuple[str, str]:
    """Say what lies left and right of no gap, naming the first group where all comparisons share it."""
    higher = higher_is_better(comparisons[0])
    if higher is None:
        return ("lower", "higher")
    first = {str(row["a"]) for row in comparisons}
    whom = first.pop() if len(first) == 1 else "the first"
    return (f"worse for {whom}", f"better for {whom}") if higher else (f"better for {whom}", f"worse for {whom}")


def _group_table(metric: str, by: str, groups: Sequence[_Row]) -> Table:
    rows = [
        (
            str(row["group"]),
            score(row.get("value"), unit_of(row)),
            interval(row.get("low"), row.get("high"), unit_of(row)),
            *(number(row.get(amount)) for amount in ("speakers", "clips", "words", "hours")),
        )
        for row in groups
    ]
    head = (by.capitalize(), metric, "95 % interval", "Speakers", "Clips", "Words", "Hours")
    return make_table(f"{metric} and amount of test data per {by}", head, rows)


def _gap_table(metric: str, comparisons: Sequence[_Row]) -> Table:
    rows = [
        (
            f"{row['a']} − {row['b']}",
            signed(row.get("difference"), unit_of(row)),
            _ends(row),
            percent(row.get("relative_symmetric")),
            percent(row.get("relative_to_b")),
            p_value(row.get("p_value")),
            worse_group(row) or MISSING,
            "refused (see above)" if row.get("refused") else "made",
        )
        for row in comparisons
    ]
    head = ("Gap", metric, "95 % interval", "Δrel", "Relative to second", "p", "Worse for", "Test")
    return make_table(f"Gaps in {metric}", head, rows, text_columns=(6, 7))


def _ends(row: _Row) -> str:
    if finite(row.get("low")) is None or finite(row.get("high")) is None:
        return MISSING
    plain = "points" if unit_of(row) else ""
    return f"{signed(row['low'], plain)} to {signed(row['high'], plain)}"
