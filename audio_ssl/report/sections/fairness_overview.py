"""All gaps at a glance, in percent of the second group's score: so metrics and systems can be laid side by side.

One attribute: every system's scores by its groups, and the gaps between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from audio_ssl.artifacts.fairness import CROSSED
from audio_ssl.fairness.wording import capital, measure
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.figures.intervals import Estimate, forest
from audio_ssl.report.figures.intervals import Row as Line
from audio_ssl.report.html import MOST_OPEN, Block, Figure, Fold, Section, TableColumn, tabulate
from audio_ssl.report.language.fairness import SHAPES, VERDICTS, percent_words, verdict_of
from audio_ssl.report.language.methods import CROSSED_LEAD
from audio_ssl.report.numbers import finite, slug
from audio_ssl.report.sections.fairness_groups import (
    gap_figure,
    gap_sentences,
    gap_table,
    group_figure,
    group_table,
    marks_words,
    suppressed_table,
)
from audio_ssl.report.sections.fairness_rows import (
    METRIC,
    P_HOLM,
    P_VALUE,
    VERDICT,
    Report,
    Row,
    attributes,
    chosen,
    foremost,
    groups_of,
    keys,
    pair_name,
    relative,
    relative_ends,
    rows_of,
    sides,
    system_column,
    warnings_of,
    with_ends,
)

_MOST_SYSTEMS, _MOST_DRAWN = 12, 14


def overview_section(report: Report) -> Section | None:
    """Show every gap of every system; None where there is none."""
    every = rows_of(report, "comparisons")
    rows = [row for row in every if relative(row) is not None]
    if not rows:
        return None
    systems: dict[str, list[Row]] = {}
    for row in rows:
        systems.setdefault(str(row.get("result") or ""), []).append(row)
    reach = [value for row in rows for value in (relative(row), *relative_ends(row)) if value is not None]
    span = [min(reach), max(reach)] if len(systems) > 1 else []
    drawn = list(systems.items())[:_MOST_SYSTEMS]
    figures = [_figure(f"overview-{place}", name, some, span) for place, (name, some) in enumerate(drawn)]
    columns = [
        *system_column(report),
        METRIC,
        TableColumn("Groups", pair_name, words=True),
        TableColumn("In percent of the second (95 % CI)", lambda row: with_ends(relative(row), *relative_ends(row))),
        P_VALUE,
        P_HOLM,
        VERDICT,
    ]
    table = tabulate("Every comparison", every, columns, sticky=True, open_up_to=MOST_OPEN)
    block = Block(id="overview-gaps", figures=tuple(figures), tables=(table,))
    return Section("overview", "All comparisons at a glance", (block,))


def _figure(prefix: str, name: str, rows: Sequence[Row], span: Sequence[float]) -> Figure:
    drawn = foremost(rows, _MOST_DRAWN)
    several = len({row["by"] for row in drawn}) > 1
    lines, said = [], []
    for row in drawn:
        value = relative(row)
        assert value is not None
        tested = verdict_of(row) not in ("refused", "untested")
        mark = Estimate(value, *relative_ends(row), SHAPES[verdict_of(row)], tested)
        label = f"{metric_label(row['metric'])}, {pair_name(row)}"
        lines.append(Line(label, percent_words(value), (mark,)))
        attribute = f" by {row['by']}" if several else ""
        said.append(f"{label}{attribute}: {percent_words(value)}, {VERDICTS[verdict_of(row)]}")
    svg = forest(
        prefix, f"Gaps of {name}" if name else "Gaps", f"{'; '.join(said)}.", lines,
        sides=sides(drawn), unit=" %", span=span,
    )  # fmt: skip
    about = f"{name}: " if name else ""
    caption = (
        f"{about}first group against the second, in percent of the second; dashed: no difference.{marks_words(drawn)}"
    )
    if len(rows) > len(drawn):
        caption += f" {len(drawn)} of {len(rows)} comparisons; all are in the table."
    return Figure(f"{prefix}-box", svg, caption)


_MOST_BESIDE = 7
"""Columns of a table that fit beside a figure."""


def attribute_section(report: Report, by: str) -> Section:
    """Show one attribute, a block per system, its further metrics folded."""
    # Names in other scripts than Latin have one slug in common.
    alike = [name for name in attributes(report) if slug(name) == slug(by)]
    prefix = f"by{alike.index(by) or ''}-{slug(by)}"
    systems: dict[str, list[str]] = {}
    for result, metric in keys(report, by):
        systems.setdefault(result, []).append(metric)
    blocks = []
    for place, (result, metrics) in enumerate(systems.items()):
        main = metric_block(report, (result, by, metrics[0]), f"{prefix}-{place}", _span(report, by, metrics[0]))
        folds = [
            Fold(
                f"{capital(measure(metric))} ({metric_label(metric)})",
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
    return Section(prefix, f"By {by}", tuple(blocks), lead=_lead(by))


def _lead(by: str) -> tuple[str, ...]:
    if CROSSED in by:
        return (CROSSED_LEAD,)
    return ()


def _span(report: Report, by: str, metric: str) -> list[float]:
    """Return the ends that a metric reaches in any system, so that the systems' figures share an axis."""
    rows = chosen(groups_of(report), by=by, metric=metric)
    found = [finite(row.get(key)) for row in rows for key in ("value", "low", "high")]
    values = [value for value in found if value is not None]
    return [min(values), max(values)] if values else []


def metric_block(
    report: Report, key: tuple[str, str, str], prefix: str, span: Sequence[float] = (), heading: bool = True
) -> Block:
    """Show one metric of one system by one attribute.

    Parameters
    ----------
    report
        The JSON of the fairness stage.
    key
        Result, attribute, metric.
    prefix
        Begins the ids inside.
    span
        Values that the axis of scores must reach.
    heading
        Name the system and metric above; a fold has its own name.
    """
    result, by, metric = key
    groups = chosen(groups_of(report), result=result, by=by, metric=metric)
    comparisons = chosen(rows_of(report, "comparisons"), result=result, by=by, metric=metric)
    spread = chosen(rows_of(report, "spread"), result=result, by=by, metric=metric)
    figures = [
        group_figure(groups, prefix, span),
        gap_figure(comparisons, prefix),
    ]
    tables = [group_table(groups)] if groups else []
    if comparisons:
        tables.append(gap_table(comparisons))
    said = gap_sentences(comparisons, spread)
    name = capital(measure(metric))
    return Block(
        id=prefix,
        heading=(f"{result}: {measure(metric)}" if result else name) if heading else "",
        points=tuple(said) if len(said) > 1 else (),
        lead=tuple(said) if len(said) == 1 else (),
        warnings=warnings_of((*groups, *comparisons)),
        figures=tuple(figure for figure in figures if figure),
        tables=tuple(tables),
        beside=True,
    )
