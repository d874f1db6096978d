"""One attribute: every system's scores by its groups, and the gaps between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from audio_ssl.fairness.people import CROSSED, capital, measure
from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words.methods import CROSSED_LEAD
from audio_ssl.report.html import Block, Fold, Section
from audio_ssl.report.numbers import finite, slug
from audio_ssl.report.sections.fairness.comparisons import gap_figure, gap_sentences, gap_table
from audio_ssl.report.sections.fairness.groups import group_figure, group_table, suppressed_table
from audio_ssl.report.sections.fairness.rows import Report, attributes, chosen, groups_of, keys, rows_of, warnings_of

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
    table = suppressed_table(rows_of(report, "suppressed"), by)
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
