"""All gaps at a glance, in percent of the second group's score: so metrics and systems can be laid side by side."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.artifacts.fairness import GroupComparison
from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.figures.intervals import Estimate, forest
from audio_ssl.report.figures.intervals import Row as Line
from audio_ssl.report.html import MOST_OPEN, Block, Figure, Section, TableColumn, tabulate
from audio_ssl.report.language.fairness import percent_words
from audio_ssl.report.language.fairness_cells import (
    MARKS,
    OUTCOMES,
    marks_words,
    pair_name,
    percent_between,
    relative_ends,
    sides,
)
from audio_ssl.report.language.fairness_page import IN_PERCENT, OVERVIEW, overview_caption
from audio_ssl.report.numbers import defined, finite, p_value
from audio_ssl.report.pages import PlacedSection
from audio_ssl.report.selection import foremost, system_column

_MOST_SYSTEMS, _MOST_DRAWN = 12, 14


def overview_section(report: FairnessReport) -> Section | None:
    """Show every gap of every system; None where there is none."""
    rows = [row for row in report.comparisons if defined(row.relative)]
    if not rows:
        return None
    systems: dict[str, list[GroupComparison]] = {}
    for row in rows:
        systems.setdefault(row.result, []).append(row)
    reach = [one for row in rows for one in (row.relative, *relative_ends(row)) if defined(one)]
    span = [min(reach), max(reach)] if len(systems) > 1 else []
    drawn = list(systems.items())[:_MOST_SYSTEMS]
    figures = [_figure(f"overview-{place}", name, some, span) for place, (name, some) in enumerate(drawn)]
    columns: list[TableColumn[GroupComparison]] = [
        *system_column(report),
        TableColumn("Metric", lambda row: metric_label(row.metric), words=True),
        TableColumn("Groups", pair_name, words=True),
        TableColumn(IN_PERCENT, lambda row: percent_between(row.relative, *relative_ends(row))),
        TableColumn("p", lambda row: p_value(row.p_value)),
        TableColumn("Holm-adjusted p", lambda row: p_value(row.p_holm)),
        TableColumn("Verdict", lambda row: OUTCOMES[row.outcome], words=True),
    ]
    table = tabulate("Every comparison", report.comparisons, columns, sticky=True, open_up_to=MOST_OPEN)
    return Section("overview", OVERVIEW, (Block(id="overview-gaps", figures=tuple(figures), tables=(table,)),))


def _figure(prefix: str, system: str, rows: Sequence[GroupComparison], span: Sequence[float]) -> Figure:
    drawn = foremost(rows, _MOST_DRAWN)
    several = len({row.by for row in drawn}) > 1
    lines, said = [], []
    for row in drawn:
        low, high = map(finite, relative_ends(row))
        mark = Estimate(row.relative, low, high, MARKS[row.outcome], row.outcome.tested)
        label = f"{metric_label(row.metric)}, {pair_name(row)}"
        lines.append(Line(label, percent_words(row.relative), (mark,)))
        attribute = f" by {row.by}" if several else ""
        said.append(f"{label}{attribute}: {percent_words(row.relative)}, {OUTCOMES[row.outcome]}")
    svg = forest(
        prefix, f"Gaps of {system}" if system else "Gaps", f"{'; '.join(said)}.", lines,
        sides=sides(drawn), unit=" %", span=span,
    )  # fmt: skip
    return Figure(f"{prefix}-box", svg, overview_caption(system, marks_words(drawn), len(drawn), len(rows)))


SECTIONS = (PlacedSection(FairnessReport, 30, overview_section),)
