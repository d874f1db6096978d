"""The single clips: the worst of each group beside their references, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audio_ssl.fairness.wording import capital, people
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.clips import as_line, word_changes
from audio_ssl.report.html import Block, ClipExample, Section, TableColumn, tabulate
from audio_ssl.report.language.fairness import unit_of
from audio_ssl.report.numbers import MISSING, number, score
from audio_ssl.report.sections.fairness_rows import Report, Row, rows_of, system_column

_MOST_CLIPS = 6
_MOST_BLOCKS = 40
_MOST_LETTERS = 400


def examples_section(report: Report) -> Section | None:
    """Show the worst clips of every group; None where the report has none."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows_of(report, "examples"):
        key = (str(row.get("result") or ""), str(row.get("by") or ""), str(row.get("group")))
        groups.setdefault(key, []).append(row)
    blocks = [
        Block(
            id=f"clips-{place}",
            heading=f"{result}: {people(by, group)}" if result else capital(people(by, group)),
            examples=tuple(_example(row, explained=place > 0) for row in rows[:_MOST_CLIPS]),
        )
        for place, ((result, by, group), rows) in enumerate(list(groups.items())[:_MOST_BLOCKS])
    ]
    lead = (
        "These clips were chosen because they have the most errors of their group, or the lowest scores where errors "
        "are not counted; they are not typical."
    )
    return Section("examples", "Worst clips", tuple(blocks), lead=(lead,)) if blocks else None


def _example(row: Row, explained: bool) -> ClipExample:
    """Describe a clip; what the marks mean is said above the first that has any."""
    reference, answer = (_short(as_line(row.get(side))) for side in ("reference", "hypothesis"))
    measured = f"{metric_label(row['metric'])} {score(row.get('value'), unit_of(row))}" if row.get("metric") else ""
    about = f"speaker {row['speaker']}" if row.get("speaker") else ""
    return ClipExample(str(row.get("id")), word_changes(reference, answer), measured, about, explained=explained)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS].rstrip()} …"


def excluded_section(report: Report) -> Section | None:
    """Count what was left out by reason; None where nothing was."""
    excluded = [_counted(row) for row in rows_of(report, "excluded")]
    if not excluded:
        return None
    columns = [
        *system_column(report),
        TableColumn("Why", lambda row: str(row.get("reason") or ""), words=True),
        TableColumn("Count", lambda row: number(row.get("count"))),
        TableColumn("Which", _names, words=True),
    ]
    table = tabulate("Left out, by reason", excluded, columns)
    lead = "Nothing of these is in any number above."
    return Section("excluded", "Left out", (Block(id="excluded-rows", tables=(table,)),), lead=(lead,))


def _counted(row: Row) -> Mapping[str, Any]:
    """Read a row of an older report, which names one speaker each, as one that counts."""
    if "count" in row or "speaker" not in row:
        return row
    return {**row, "count": 1, "names": [f"speaker {row['speaker']}"]}


def _names(row: Row) -> str:
    names = [str(name) for name in row.get("names") or ()]
    count = row.get("count")
    more = isinstance(count, int) and count > len(names)
    return ", ".join(names) + (" …" if more else "") if names else MISSING
