"""What may be concluded about groups, all gaps at a glance, single clips, and what was excluded.

`fairness_groups` has the attributes one by one, `fairness_models` covariates and several systems, `fairness_sources`
what was audited and how. Here is also fairness as one part of a page about more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from audio_ssl.artifacts.fairness import CROSSED, GapOutcome, GroupComparison
from audio_ssl.artifacts.fairness_report import FairnessReport, LeftOutRows, WorstClip
from audio_ssl.fairness.wording import capital, people
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.clips import as_line, word_changes
from audio_ssl.report.figures.intervals import Estimate, forest
from audio_ssl.report.figures.intervals import Row as Line
from audio_ssl.report.html import MOST_OPEN, Block, ClipExample, Figure, Section, TableColumn, tabulate
from audio_ssl.report.language.conclusions import conclusion
from audio_ssl.report.language.fairness import gap_difference_words, percent_words
from audio_ssl.report.language.fairness_cells import (
    MARKS,
    OUTCOMES,
    marks_words,
    metric_unit,
    pair_name,
    percent_between,
    relative_ends,
    sides,
)
from audio_ssl.report.language.fairness_page import (
    CONCLUSIONS,
    CONCLUSIONS_LEAD,
    EXAMPLES_LEAD,
    EXCLUDED,
    EXCLUDED_LEAD,
    EXCLUDED_TABLE,
    IN_PERCENT,
    OVERVIEW,
    more_blocks,
    more_conclusions,
    overview_caption,
)
from audio_ssl.report.language.methods import HOW_MADE
from audio_ssl.report.numbers import MISSING, defined, finite, number, p_value, score
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.sections.fairness_groups import metric_block
from audio_ssl.report.selection import attributes, foremost, questions, system_column

_MOST_BLOCKS, _MOST_SAID, _MOST_SYSTEMS, _MOST_DRAWN = 40, 6, 12, 14
_MOST_CLIPS, _MOST_LETTERS = 6, 400


def conclusions_section(report: FairnessReport) -> Section | None:
    """Say of the main comparisons what may be concluded and what may not; None where nothing was tested."""
    tested = [row for row in report.comparisons if row.outcome.tested]
    shown = _main_ones(tested)
    if not shown:
        return None
    blocks = []
    for place, row in enumerate(shown):
        said = conclusion(row, report)
        heading = f"{said.subject}: {OUTCOMES[row.outcome]}"
        follows = (said.may, said.may_not)
        blocks.append(Block(id=f"conclusion-{place}", heading=heading, lead=(said.finding,), points=follows))
    changes = [row for row in report.gap_differences if row.outcome == GapOutcome.FOUND]
    if changes:
        points = tuple(capital(gap_difference_words(row)) for row in changes[:2])
        blocks.append(Block(id="conclusion-systems", heading="Between systems", points=points))
    more = len(tested) - len(shown)
    lead = (CONCLUSIONS_LEAD, *([more_conclusions(more)] if more else []))
    return Section("conclusions", CONCLUSIONS, tuple(blocks), lead=lead)


def _main_ones(rows: Sequence[GroupComparison]) -> list[GroupComparison]:
    """Choose what is said in full: attributes before intersections, the main metric, what is significant first."""
    main = {row.result: row.metric for row in reversed(rows)}
    return sorted(
        (row for row in rows if row.metric == main[row.result]),
        key=lambda row: (CROSSED in row.by, row.outcome != GapOutcome.FOUND),
    )[:_MOST_SAID]


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


def fairness_section(reports: Sequence[FairnessReport]) -> Section:
    """Show fairness reports as one part of a page about more: scores and gaps, a block per attribute and metric."""
    blocks: list[Block] = []
    for index, report in enumerate(reports):
        asked = [(result, by, metric) for by in attributes(report) for result, metric in questions(report, by)]
        for place, key in enumerate(asked):
            block = metric_block(report, key, f"fair-{index}-{place}")
            blocks.append(replace(block, heading=f"{block.heading} by {key[1]}"))
    more = [more_blocks(_MOST_BLOCKS, len(blocks))] if len(blocks) > _MOST_BLOCKS else []
    return Section("fairness", "Fairness between groups", tuple(blocks[:_MOST_BLOCKS]), lead=(HOW_MADE, *more))


def _audits(page: ReportPage) -> Section | None:
    reports = [one.report for one in page.inputs.fairness]
    return fairness_section(reports) if reports else None


SECTIONS = (
    PlacedSection(FairnessReport, 10, conclusions_section),
    PlacedSection(FairnessReport, 30, overview_section),
    PlacedSection(FairnessReport, 90, examples_section),
    PlacedSection(FairnessReport, 100, excluded_section),
    PlacedSection(ReportPage, 30, _audits),
)
