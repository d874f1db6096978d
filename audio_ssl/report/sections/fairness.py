"""What may be concluded of the main comparisons, and fairness as one part of a page about more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from audio_ssl.artifacts.fairness import CROSSED, GapOutcome, GroupComparison
from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.fairness.wording import capital
from audio_ssl.report.html import Block, Section
from audio_ssl.report.language.conclusions import conclusion
from audio_ssl.report.language.fairness import gap_difference_words
from audio_ssl.report.language.fairness_cells import OUTCOMES
from audio_ssl.report.language.fairness_page import CONCLUSIONS, CONCLUSIONS_LEAD, more_blocks, more_conclusions
from audio_ssl.report.language.methods import HOW_MADE
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.sections.fairness_groups import metric_block
from audio_ssl.report.selection import attributes, questions

_MOST_BLOCKS, _MOST_SAID = 40, 6


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


SECTIONS = (PlacedSection(FairnessReport, 10, conclusions_section), PlacedSection(ReportPage, 30, _audits))
