"""A study of pretraining data: the table, scores and gaps of every set side by side, and what the sets were made of.

Made from `StudyResult` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from audio_ssl.artifacts.records import to_json
from audio_ssl.artifacts.study import UNTRAINED, StudyCell, StudyColumn, StudyResult
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.html import Block, Figure, Section, Table, linked, make_table
from audio_ssl.report.language.study import (
    ALL,
    AMOUNTS,
    EFFECTIVE,
    HOW,
    TESTS,
    Ends,
    against_caption,
    column_title,
    composition_rows,
    difference_text,
    gap_direction,
    gap_text,
    group_value,
    never_drawn,
    overview_notes,
    p_text,
    pooled,
    pretrained_how,
    relative_caption,
    relative_text,
    row_label,
    scores_caption,
    speakers_text,
    value_text,
    verdict_text,
)
from audio_ssl.report.numbers import finite, percent, score, signed, slug
from audio_ssl.report.pages import PlacedSection
from audio_ssl.report.sections.provenance import provenance_table

_SHAPES = ("circle", "square")


def study_sections(study: StudyResult) -> tuple[Section, ...]:
    """Return the sections of a study's page, in order."""
    columns = [_column_block(study, column) for column in study.columns]
    titles = list(dict.fromkeys(column.title for column in study.columns))
    tables = tuple(_overview(study, title, title == titles[-1]) for title in titles)
    return (
        Section("table", "The table", (Block(id="study-table", tables=tables),), lead=(HOW,)),
        Section("columns", "Scores and gaps", tuple(columns)),
        Section("sets", "Pretraining sets", (_sets_block(study),)),
        Section("limits", "Limitations", (_limits_block(study),)),
        _provenance(study),
    )


def _overview(study: StudyResult, title: str, is_last: bool) -> Table:
    """Return the table of one task: for each use of the model both groups, all speakers, and Δrel."""
    names = [*(one.name for one in study.sets), *([UNTRAINED] if study.untrained else [])]
    groups = (*study.compare, ALL)
    head: list[str] = ["Pretrained on"]
    rows: list[list[str | Markup]] = [[row_label(name)] for name in names]
    for column in (one for one in study.columns if one.title == title):
        metric, use = metric_label(column.metric), column.integration
        head += [f"{use}: {group}, {metric}" for group in groups] + [f"{use}: Δrel"]
        of_set = {cell.set: cell for cell in study.cells_of(column.name, column.metric)}
        for row, name in zip(rows, names, strict=True):
            cell = of_set[name]
            *parts, everybody = (score(group_value(cell, group), cell.unit) for group in groups)
            row += [*parts, linked(everybody, _predictions(cell)), percent(cell.relative_symmetric)]
    notes = overview_notes(len(study.seeds))
    caption = f"{title}: scores by pretraining set and by use"
    return make_table(caption, head, rows, notes=notes if is_last else (), sticky=True)


def _predictions(cell: StudyCell) -> str | None:
    """Return where the predictions of a cell lie; those of several seeds are in several places."""
    return f"{cell.results[0]}/predictions.parquet" if len(cell.results) == 1 else None


def _column_block(study: StudyResult, column: StudyColumn) -> Block:
    cells = study.cells_of(column.name, column.metric)
    prefix = f"column-{slug(column.name)}"
    figures = (
        _scores_figure(study, column, cells, f"{prefix}-scores"),
        _relative_figure(study, column, cells, f"{prefix}-relative"),
        _against_figure(study, column, cells, f"{prefix}-against"),
    )
    tables = [
        table
        for metric in column.metrics
        for table in _column_tables(study, column, metric, folded=metric != column.metric)
    ]
    return Block(
        id=prefix,
        heading=f"{column_title(column)}: {metric_label(column.metric)}",
        lead=(speakers_text(study, column),),
        figures=tuple(figure for figure in figures if figure),
        tables=tuple(tables),
    )


def _scores_figure(study: StudyResult, column: StudyColumn, cells: Sequence[StudyCell], name: str) -> Figure | None:
    dots = [
        _dot(f"{row_label(cell.set)}, {group}", found.value, (found.low, found.high), _SHAPES[place], cell, place)
        for cell in cells
        for place, group in enumerate(study.compare)
        if (found := cell.groups.get(group)) is not None and finite(found.value) is not None
    ]
    if not dots:
        return None
    unit, higher, metric = cells[0].unit, cells[0].higher_is_better, metric_label(column.metric)
    said = "; ".join(f"{dot.label} {score(dot.value, unit)}" for dot in dots)
    svg = interval_chart(
        name, f"{column_title(column)}: {metric}", f"{said}.", dots,
        axis_label=metric, unit=unit, higher_is_better=higher,
    )  # fmt: skip
    caption = scores_caption(study, column, higher)
    return Figure(f"{name}-box", svg, caption)


def _relative_figure(study: StudyResult, column: StudyColumn, cells: Sequence[StudyCell], name: str) -> Figure | None:
    dots = [
        _dot(
            row_label(cell.set),
            cell.relative_symmetric,
            (cell.relative_symmetric_low, cell.relative_symmetric_high),
            "diamond" if cell.refused else "circle",
            cell,
        )
        for cell in cells
        if finite(cell.relative_symmetric) is not None
    ]
    caption = relative_caption(any(cell.refused for cell in cells))
    svg = _gaps(study, cells, dots, name, f"{column_title(column)}: relative gap", "%")
    return Figure(f"{name}-box", svg, caption) if svg else None


def _against_figure(study: StudyResult, column: StudyColumn, cells: Sequence[StudyCell], name: str) -> Figure | None:
    dots = [
        _dot(row_label(cell.set), found.difference, (found.low, found.high), "circle", cell)
        for cell in cells
        if (found := cell.against_reference) is not None and finite(found.difference) is not None
    ]
    reference = study.reference
    svg = _gaps(study, cells, dots, name, f"{column_title(column)}: gap minus that of {reference}", cells[0].unit)
    return Figure(f"{name}-box", svg, against_caption(reference)) if svg else None


def _gaps(
    study: StudyResult, cells: Sequence[StudyCell], dots: Sequence[Dot], name: str, title: str, unit: str
) -> Markup | None:
    if not dots:
        return None
    said = "; ".join(f"{dot.label} {signed(dot.value, unit)}" for dot in dots)
    sides = gap_direction(study, cells[0].higher_is_better)
    return interval_chart(name, title, f"{said}.", dots, axis_label="gap", unit=unit, zero=sides)


def _dot(label: str, value: float, ends: Ends, shape: str, cell: StudyCell, style: int = 0) -> Dot:
    low, high = map(finite, ends)
    return Dot(label, value, low, high, shape, quiet=cell.set == UNTRAINED, style=style)


def _column_tables(study: StudyResult, column: StudyColumn, metric: str, folded: bool) -> tuple[Table, Table]:
    """Return the scores of the groups, and the gaps between them."""
    cells, (a, b) = study.cells_of(column.name, metric), study.compare
    name, reference, seeds = f"{column_title(column)}: {metric_label(metric)}", study.reference, len(study.seeds)
    notes = (pooled(seeds),) if seeds > 1 else ()
    scores = make_table(
        f"{name} with 95 % confidence intervals", ("Pretrained on", a, b, ALL),
        [(row_label(cell.set), *(value_text(cell, group) for group in (a, b, ALL))) for cell in cells],
        notes=notes, sticky=True, folded=folded,
    )  # fmt: skip
    gaps = make_table(
        f"{name}: gaps with 95 % confidence intervals",
        ("Pretrained on", f"{a} − {b}", "Δrel", "p", f"Difference from {reference}", "p", "Verdict"),
        [
            (
                row_label(cell.set), gap_text(cell), relative_text(cell), p_text(cell), difference_text(cell),
                p_text(cell.against_reference), verdict_text(cell.against_reference),
            )
            for cell in cells
        ],
        text_columns=(6,), notes=(TESTS,), sticky=True, folded=folded,
    )  # fmt: skip
    return scores, gaps


def _sets_block(study: StudyResult) -> Block:
    rows = composition_rows(study)
    table = make_table("Composition of the sets", AMOUNTS, rows, text_columns=(1,), notes=(EFFECTIVE,))
    known = study.known.sentence
    return Block(
        id="study-sets",
        lead=(*pretrained_how(study), *never_drawn(study)),
        warnings=(f"{known}.",) if known else (),
        tables=(table,),
    )


def _limits_block(study: StudyResult) -> Block:
    rows = [(row.column, row.reason, str(row.count)) for row in study.excluded]
    tables = (
        (make_table("Test clips left out", ("Column", "Reason", "Clips"), rows, text_columns=(1,)),) if rows else ()
    )
    said: dict[str, list[str]] = {}
    for column in study.columns:
        for warning in column.warnings:
            said.setdefault(warning, []).append(column_title(column))
    warnings = tuple(f"{'; '.join(columns)}: {warning}" for warning, columns in said.items())
    return Block(id="study-limits", lead=study.limits, warnings=warnings, tables=tables)


def _provenance(study: StudyResult) -> Section:
    table = provenance_table("Study", to_json(study.provenance))
    return Section("provenance", "Provenance", (Block(id="study-origin", tables=(table,) if table else ()),))


SECTIONS = (PlacedSection(StudyResult, 10, study_sections),)
