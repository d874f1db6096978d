"""The single clips: the worst of each group beside their references, and what was left out and why."""

from __future__ import annotations

from audio_ssl.artifacts.fairness_report import FairnessReport, LeftOutRows, WorstClip
from audio_ssl.fairness.wording import capital, people
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.clips import as_line, word_changes
from audio_ssl.report.html import Block, ClipExample, Section, TableColumn, tabulate
from audio_ssl.report.language.fairness_cells import metric_unit
from audio_ssl.report.language.fairness_page import EXAMPLES_LEAD, EXCLUDED, EXCLUDED_LEAD, EXCLUDED_TABLE
from audio_ssl.report.numbers import MISSING, number, score
from audio_ssl.report.pages import PlacedSection
from audio_ssl.report.selection import system_column

_MOST_CLIPS = 6
_MOST_BLOCKS = 40
_MOST_LETTERS = 400


def examples_section(report: FairnessReport) -> Section | None:
    """Show the worst clips of every group; None where the report has none."""
    groups: dict[tuple[str, str, str], list[WorstClip]] = {}
    for row in report.examples:
        groups.setdefault((row.result, row.by, row.group), []).append(row)
    blocks = [
        Block(
            id=f"clips-{place}",
            heading=f"{result}: {people(by, group)}" if result else capital(people(by, group)),
            examples=tuple(_example(row, explained=place > 0) for row in rows[:_MOST_CLIPS]),
        )
        for place, ((result, by, group), rows) in enumerate(list(groups.items())[:_MOST_BLOCKS])
    ]
    return Section("examples", "Worst clips", tuple(blocks), lead=(EXAMPLES_LEAD,)) if blocks else None


def _example(row: WorstClip, explained: bool) -> ClipExample:
    """Describe a clip; what the marks mean is said above the first that has any."""
    changes = word_changes(_short(as_line(row.reference)), _short(as_line(row.hypothesis)))
    measured = f"{metric_label(row.metric)} {score(row.value, metric_unit(row.metric))}"
    return ClipExample(row.id, changes, measured, f"speaker {row.speaker}" if row.speaker else "", explained=explained)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS].rstrip()} …"


def excluded_section(report: FairnessReport) -> Section | None:
    """Count what was left out by reason; None where nothing was."""
    columns: list[TableColumn[LeftOutRows]] = [
        *system_column(report),
        TableColumn("Reason", lambda row: row.reason, words=True),
        TableColumn("Count", lambda row: number(row.count)),
        TableColumn("Which", _names, words=True),
    ]
    if not report.excluded:
        return None
    table = tabulate(EXCLUDED_TABLE, report.excluded, columns)
    return Section("excluded", EXCLUDED, (Block(id="excluded-rows", tables=(table,)),), lead=(EXCLUDED_LEAD,))


def _names(row: LeftOutRows) -> str:
    more = row.count > len(row.names)
    return ", ".join(row.names) + (" …" if more else "") if row.names else MISSING


SECTIONS = (
    PlacedSection(FairnessReport, 90, examples_section),
    PlacedSection(FairnessReport, 100, excluded_section),
)
