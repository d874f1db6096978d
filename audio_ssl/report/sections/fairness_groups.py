"""One attribute: every system's scores by its groups, the amount of speech they rest on, and the gaps between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from audio_ssl.artifacts.fairness import CROSSED, GapOutcome, GroupComparison, GroupScore, GroupSpread
from audio_ssl.artifacts.fairness_report import FairnessReport, SuppressedGroup
from audio_ssl.fairness.wording import capital, short_people
from audio_ssl.metrics.registry import metric_label, metric_phrase
from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.html import MOST_OPEN, Block, Figure, Fold, Section, Table, TableColumn, tabulate, turned
from audio_ssl.report.language.conclusions import tally, tally_words
from audio_ssl.report.language.fairness import amount, comparison_words, spread_words, worse_group
from audio_ssl.report.language.fairness_cells import (
    MARKS,
    OUTCOMES,
    difference,
    marks_words,
    pair_name,
    percent_between,
    relative_ends,
    row_name,
    sides,
    unit_of,
    warnings_of,
)
from audio_ssl.report.language.fairness_page import (
    DETECTABLE,
    DIFFERENCE,
    IN_PERCENT,
    SYMMETRIC,
    UNANSWERED_NOTE,
    gaps_caption,
    groups_caption,
    groups_table,
    hidden_groups,
    no_words,
    not_tested,
    suppressed_table_name,
)
from audio_ssl.report.language.methods import CROSSED_LEAD, HIDDEN
from audio_ssl.report.numbers import (
    MISSING,
    count,
    defined,
    finite,
    interval,
    number,
    p_value,
    percent,
    score,
    signed,
    slug,
)
from audio_ssl.report.pages import PlacedSection
from audio_ssl.report.selection import attributes, chosen, ordered, questions, system_column
from audio_ssl.report.svg import SHAPES

_MOST_BESIDE = 7
"""Columns of a table that fit beside a figure."""
_MOST_DRAWN = 24
"""Rows of a figure."""
_MOST_UPRIGHT = 3
"""Pairs whose table has a column for each; of more, a row for each."""
_ONE_LINE = 17


def attribute_sections(report: FairnessReport) -> list[Section]:
    """Show each attribute, and each set of attributes taken together."""
    return [_attribute_section(report, by) for by in attributes(report)]


def _attribute_section(report: FairnessReport, by: str) -> Section:
    """Show one attribute, a block per system, its further metrics folded."""
    # Names in other scripts than Latin have one slug in common.
    alike = [name for name in attributes(report) if slug(name) == slug(by)]
    prefix = f"by{alike.index(by) or ''}-{slug(by)}"
    systems: dict[str, list[str]] = {}
    for result, metric in questions(report, by):
        systems.setdefault(result, []).append(metric)
    blocks = []
    for place, (result, metrics) in enumerate(systems.items()):
        main = metric_block(report, (result, by, metrics[0]), f"{prefix}-{place}", _span(report, by, metrics[0]))
        folds = [
            Fold(
                f"{capital(metric_phrase(metric))} ({metric_label(metric)})",
                metric_block(report, (result, by, metric), f"{prefix}-{place}-{number}", heading=False),
            )
            for number, metric in enumerate(metrics[1:], start=1)
        ]
        wide = tuple(table for table in main.tables if table.sticky and len(table.head) > _MOST_BESIDE)
        beside = tuple(table for table in main.tables if table not in wide)
        blocks.append(replace(main, tables=beside, folds=() if wide else tuple(folds)))
        if wide:
            blocks.append(Block(id=f"{prefix}-{place}-pairs", tables=wide, folds=tuple(folds)))
    table = suppressed_table(report, by)
    if table:
        blocks.append(Block(id=f"{prefix}-suppressed", tables=(table,)))
    return Section(prefix, f"By {by}", tuple(blocks), lead=(CROSSED_LEAD,) if CROSSED in by else ())


def _span(report: FairnessReport, by: str, metric: str) -> list[float]:
    """Return the ends that a metric reaches in any system, so that the systems' figures share an axis."""
    rows = [row for row in report.scores if (row.by, row.metric) == (by, metric)]
    values = [one for row in rows for one in (row.value, row.low, row.high) if defined(one)]
    return [min(values), max(values)] if values else []


def metric_block(
    report: FairnessReport, key: tuple[str, str, str], prefix: str, span: Sequence[float] = (), heading: bool = True
) -> Block:
    """Show one metric of one system by one attribute.

    Parameters
    ----------
    report
        What the audit found.
    key
        Result, attribute, metric.
    prefix
        Begins the ids inside.
    span
        Values that the axis of scores must reach.
    heading
        Name the system and metric above; a fold has its own name.
    """
    result, _, metric = key
    groups, comparisons = chosen(report.scores, *key), chosen(report.comparisons, *key)
    figures = (_group_figure(groups, prefix, span), _gap_figure(comparisons, prefix))
    tables = (*([_group_table(groups)] if groups else []), *([_gap_table(comparisons)] if comparisons else []))
    said = tuple(_gap_sentences(comparisons, chosen(report.spread, *key)))
    name = f"{result}: {metric_phrase(metric)}" if result else capital(metric_phrase(metric))
    return Block(
        id=prefix,
        heading=name if heading else "",
        points=said if len(said) > 1 else (),
        lead=said if len(said) == 1 else (),
        warnings=warnings_of(comparisons),
        figures=tuple(figure for figure in figures if figure),
        tables=tables,
        beside=True,
    )


def _group_figure(groups: Sequence[GroupScore], prefix: str, span: Sequence[float]) -> Figure | None:
    """Draw the score of every group; None where none has one."""
    drawn = [row for row in ordered(groups) if defined(row.value)]
    if not drawn:
        return None
    first, total = drawn[0], next((row for row in drawn if row.total), None)
    dots = [_dot(row, index) for index, row in enumerate(drawn[:_MOST_DRAWN])]
    metric, unit = metric_label(first.metric), unit_of(first)
    said = "; ".join(f"{dot.label} {score(dot.value, unit)}, {dot.note}" for dot in dots)
    svg = interval_chart(
        f"{prefix}-groups", f"{metric} by {first.by}", f"{said}.", dots, axis_label=metric, unit=unit,
        higher_is_better=first.higher_is_better, reference=total.value if total else None, span=span,
    )  # fmt: skip
    better = "higher is better" if first.higher_is_better else "lower is better"
    few = any(dot.low is None for dot in dots)
    return Figure(
        f"{prefix}-groups-box", svg, groups_caption(metric, better, total is not None, few, len(dots), len(drawn))
    )


def _dot(row: GroupScore, index: int) -> Dot:
    quiet = row.total or not row.known
    shape = SHAPES[0 if quiet else index % len(SHAPES)]
    note = count(row.speakers, "speaker")
    return Dot(row_name(row), row.value, finite(row.low), finite(row.high), shape, note, quiet)


def _group_table(groups: Sequence[GroupScore]) -> Table:
    """Write the score of every group and the amount of speech it rests on."""
    shown = ordered(groups)
    metric, by, unit = metric_label(shown[0].metric), shown[0].by, unit_of(shown[0])
    columns: list[TableColumn[GroupScore]] = [
        TableColumn(capital(by), row_name),
        TableColumn(metric, lambda row: score(row.value, unit)),
        TableColumn("95 % confidence interval", lambda row: interval(row.low, row.high, unit)),
        TableColumn("Speakers", lambda row: number(row.speakers)),
        TableColumn("Clips", lambda row: number(row.clips)),
        TableColumn("Words", lambda row: number(row.words)),
        TableColumn("Hours", lambda row: number(row.hours, 2)),
    ]
    # Columns of zeros would hide the one that is not zero.
    empty, missing = any(row.empty_hypotheses for row in shown), any(row.missing_hypotheses for row in shown)
    columns += [TableColumn("Empty", lambda row: number(row.empty_hypotheses))] if empty else []
    columns += [TableColumn("Missing", lambda row: number(row.missing_hypotheses))] if missing else []
    silent = [f"{row_name(row)} {row.empty_references}" for row in shown if row.empty_references and not row.total]
    notes = (*no_words(silent), *([UNANSWERED_NOTE] if empty or missing else []))
    return tabulate(groups_table(metric, by), shown, columns, notes=notes, sticky=True, open_up_to=MOST_OPEN)


def suppressed_table(report: FairnessReport, by: str) -> Table | None:
    """Count the groups that are not scored, so that nobody can be recognised by a score."""
    rows = [row for row in report.suppressed if row.by == by]
    columns: list[TableColumn[SuppressedGroup]] = [
        *system_column(report),
        TableColumn("Group", lambda row: hidden_groups(by, row.groups), words=True),
        TableColumn("Reason", lambda row: row.reason, words=True),
        TableColumn("Speakers", lambda row: number(row.speakers)),
        TableColumn("Clips", lambda row: number(row.clips)),
    ]
    caption = suppressed_table_name(by)
    return tabulate(caption, rows, columns, notes=(HIDDEN,), open_up_to=MOST_OPEN) if rows else None


def _gap_figure(comparisons: Sequence[GroupComparison], prefix: str) -> Figure | None:
    """Draw every gap around zero, the largest first where there are too many; None where none is known."""
    known = [row for row in comparisons if defined(row.difference)]
    if not known:
        return None
    drawn = known
    if len(known) > _MOST_DRAWN:
        drawn = sorted(known, key=lambda row: -abs(row.difference))[:_MOST_DRAWN]
    unit, metric = unit_of(known[0]), metric_label(known[0].metric)
    dots = [_gap_dot(row) for row in drawn]
    said = "; ".join(f"{dot.label} {dot.note}: {signed(dot.value, unit)}" for dot in dots)
    svg = interval_chart(
        f"{prefix}-gaps", f"Gaps in {metric}", f"{said}.", dots, axis_label="gap", unit=unit, zero=sides(drawn)
    )
    return Figure(f"{prefix}-gaps-box", svg, gaps_caption(metric, unit, marks_words(drawn), len(drawn), len(known)))


def _gap_dot(row: GroupComparison) -> Dot:
    label, note = _two_lines(pair_name(row))
    quiet = not row.outcome.tested
    return Dot(label, row.difference, finite(row.low), finite(row.high), MARKS[row.outcome], note, quiet, style=0)


def _two_lines(pair: str) -> tuple[str, str]:
    """Break a long name before its second group."""
    first, minus, second = pair.partition(" − ")
    return (first, f"minus {second}") if minus and len(pair) > _ONE_LINE else (pair, "")


def _gap_sentences(comparisons: Sequence[GroupComparison], spread: Sequence[GroupSpread]) -> Iterator[str]:
    """Say the gaps: each where they are few, else the extremes and those that are statistically significant."""
    few = len(comparisons) <= _MOST_UPRIGHT
    yield from (text for row in spread if (row.groups > 2 or not few) and (text := spread_words(row)))
    if few:
        yield from map(comparison_words, comparisons)
        return
    yield tally_words(tally(comparisons))
    found = [row for row in comparisons if row.outcome == GapOutcome.FOUND]
    yield from map(comparison_words, sorted(found, key=lambda row: -abs(row.difference))[:_MOST_UPRIGHT])


def _gap_table(comparisons: Sequence[GroupComparison]) -> Table:
    """Write everything known of the gaps: a column for each where they are few, else a row."""
    metric, few = metric_label(comparisons[0].metric), len(comparisons) <= _MOST_UPRIGHT
    columns: list[TableColumn[GroupComparison]] = [
        TableColumn("Groups", pair_name),
        TableColumn(f"{metric}, {DIFFERENCE}", difference),
        TableColumn(IN_PERCENT, lambda row: percent_between(row.relative, *relative_ends(row))),
        TableColumn(SYMMETRIC, _symmetric) if few else TableColumn("Δrel", lambda row: percent(row.relative_symmetric)),
        TableColumn("p", lambda row: p_value(row.p_value)),
        TableColumn("Holm-adjusted p", lambda row: p_value(row.p_holm)),
        TableColumn(DETECTABLE, lambda row: amount(row.minimum_detectable, row)),
        TableColumn("Worse for", _worse, words=True),
        TableColumn("Verdict", lambda row: OUTCOMES[row.outcome], words=True),
    ]
    notes = not_tested([row.refused for row in comparisons if row.refused], _MOST_UPRIGHT)
    caption = f"Gaps in {metric} by {comparisons[0].by}"
    table = tabulate(caption, comparisons, columns, notes=notes, sticky=True, open_up_to=MOST_OPEN)
    return turned(table, "Groups") if few else table


def _symmetric(row: GroupComparison) -> str:
    return percent_between(row.relative_symmetric, row.relative_symmetric_low, row.relative_symmetric_high)


def _worse(row: GroupComparison) -> str:
    worse = worse_group(row)
    return short_people(row.by, worse) if worse else MISSING


SECTIONS = (PlacedSection(FairnessReport, 40, attribute_sections),)
