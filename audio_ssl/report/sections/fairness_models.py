"""What else bears on a gap: covariates, another system, and empty hypotheses.

Mixed models: whether a gap is left between clips that are alike in duration, speech rate and level. Two systems on the
same speakers: whether the gap of one is larger. Empty hypotheses: what they do to each gap, as failed requests of one
group are no finding about people.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from audio_ssl.artifacts.fairness import AdjustedRatio, CovariateRatio, EmptyEffect, SystemComparison
from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.fairness.wording import capital
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.figures.intervals import Dot, Estimate, forest, interval_chart
from audio_ssl.report.figures.intervals import Row as Line
from audio_ssl.report.html import MOST_OPEN, MOST_ROWS, Block, Figure, Section, Table, TableColumn, tabulate
from audio_ssl.report.language.fairness import (
    covariate_label,
    gap_difference_words,
    model_words,
    percent_words,
    refusals_words,
)
from audio_ssl.report.language.fairness_cells import (
    MARKS,
    OUTCOMES,
    between,
    difference,
    group_name,
    marks_words,
    pair_name,
    sides,
    unit_of,
    warnings_of,
)
from audio_ssl.report.language.fairness_page import (
    ADJUSTED,
    COVARIATES_TABLE,
    EMPTY_NOTE,
    EMPTY_TABLE,
    MODELS_CAPTION,
    MODELS_LEAD,
    MODELS_NOTE,
    MODELS_TABLE,
    RATIO,
    SYSTEMS,
    SYSTEMS_LEAD,
    SYSTEMS_TABLE,
    empty_lead,
    models_note,
    not_tested,
    systems_caption,
)
from audio_ssl.report.numbers import HARD_SPACE, defined, finite, number, p_value, signed
from audio_ssl.report.pages import PlacedSection
from audio_ssl.report.selection import foremost, system_column

_MOST_SAID, _MOST_DRAWN, _MOST_COVARIATES = 4, 12, 60
_SHORT = 18


class _Covariate(NamedTuple):
    """One covariate of one model."""

    model: AdjustedRatio
    name: str
    ratio: CovariateRatio

    @property
    def result(self) -> str:
        return self.model.result


def models_section(report: FairnessReport) -> Section | None:
    """Show crude and adjusted ratios side by side; None where no model was asked for."""
    rows = report.models
    if not rows:
        return None
    fitted = [row for row in rows if defined(row.ratio)]
    refused = [row for row in rows if not defined(row.ratio)]
    shown = foremost(fitted, _MOST_DRAWN)
    several = len(report.results) != 1
    said = [model_words(row, several) for row in shown[:_MOST_SAID]]
    said += [refusals_words(refused)] if len(refused) > 2 else [model_words(row, several) for row in refused]
    figures = (_models_figure(shown, several),) if shown else ()
    block = Block(id="adjusted-models", points=tuple(said), warnings=warnings_of(rows), figures=figures, beside=True)
    numbers = Block(id="adjusted-numbers", tables=(_models_table(report), *_covariate_table(report, fitted)))
    return Section("adjusted", ADJUSTED, (block, numbers), lead=(MODELS_LEAD,))


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)


def _models_figure(rows: Sequence[AdjustedRatio], several: bool) -> Figure:
    lines, said = [], []
    for row in rows:
        value, crude = _percent(row.ratio), _percent(row.crude_ratio)
        marks = [] if not defined(crude) else [Estimate(crude, shape="diamond", filled=False)]
        marks.append(Estimate(value, finite(_percent(row.low)), finite(_percent(row.high))))
        label = f"{f'{row.result} · ' if several and row.result else ''}{metric_label(row.metric)}, {pair_name(row)}"
        words = percent_words(value)
        lines.append(Line(label, words, tuple(marks)))
        said.append(f"{label}: adjusted {words}" + ("" if not defined(crude) else f", crude {percent_words(crude)}"))
    svg = forest(
        "adjusted-figure", "Crude and adjusted gaps", f"{'; '.join(said)}.", lines, sides=sides(rows), unit=" %"
    )
    return Figure("adjusted-box", svg, MODELS_CAPTION)


def _models_table(report: FairnessReport) -> Table:
    columns: list[TableColumn[AdjustedRatio]] = [
        *system_column(report),
        TableColumn("Metric", lambda row: metric_label(row.metric), words=True),
        TableColumn("Groups", pair_name, words=True),
        TableColumn("Crude ratio", lambda row: number(row.crude_ratio)),
        TableColumn(RATIO, lambda row: _with_ends(row.ratio, row.low, row.high)),
        TableColumn("p", lambda row: p_value(row.p_value)),
        TableColumn("Speaker SD", lambda row: number(row.speaker_sd)),
        TableColumn("Dispersion", lambda row: number(row.dispersion)),
        TableColumn("Speakers", lambda row: number(row.speakers)),
        TableColumn("Held fixed", lambda row: ", ".join(map(covariate_label, row.covariates)) or "nothing", words=True),
    ]
    notes = (models_note(len(report.models)), MODELS_NOTE)
    return tabulate(MODELS_TABLE, report.models, columns, notes=notes, sticky=True, open_up_to=MOST_OPEN)


def _with_ends(value: float, low: float, high: float) -> str:
    return number(value) + ("" if not defined(low) else f" ({number(low)}{HARD_SPACE}to{HARD_SPACE}{number(high)})")


def _covariate_table(report: FairnessReport, models: Sequence[AdjustedRatio]) -> list[Table]:
    rows = [_Covariate(row, name, ratio) for row in models for name, ratio in row.covariate_ratios.items()]
    columns: list[TableColumn[_Covariate]] = [
        *system_column(report),
        TableColumn("Metric", lambda row: metric_label(row.model.metric), words=True),
        TableColumn("Groups", lambda row: pair_name(row.model), words=True),
        TableColumn("Covariate", lambda row: covariate_label(row.name), words=True),
        TableColumn("Ratio", lambda row: number(row.ratio.value)),
        TableColumn("95 % CI", lambda row: f"{number(row.ratio.low)} to {number(row.ratio.high)}"),
        TableColumn("For", lambda row: row.ratio.per, words=True),
    ]
    table = tabulate(COVARIATES_TABLE, rows, columns, sticky=True, most=_MOST_COVARIATES, open_up_to=0)
    return [table] if rows else []


def systems_section(report: FairnessReport) -> Section | None:
    """Show the differences of gaps; None where there are none."""
    rows = report.gap_differences
    if not rows:
        return None
    shown = foremost(rows, _MOST_DRAWN)
    by_metric: dict[str, list[SystemComparison]] = {}
    for row in shown:
        if defined(row.difference):
            by_metric.setdefault(row.metric, []).append(row)
    block = Block(
        id="systems-gaps",
        points=tuple(capital(gap_difference_words(row)) for row in shown[:_MOST_SAID]),
        warnings=warnings_of(rows),
        figures=tuple(
            _systems_figure(some, f"systems-{place}") for place, some in enumerate(list(by_metric.values())[:2])
        ),
        beside=True,
    )
    columns: list[TableColumn[SystemComparison]] = [
        TableColumn("Systems", lambda row: f"{row.result_a} − {row.result_b}"),
        TableColumn("Metric", lambda row: metric_label(row.metric), words=True),
        TableColumn("Gap", pair_name, words=True),
        TableColumn("With the first", lambda row: signed(row.gap_a, unit_of(row))),
        TableColumn("With the second", lambda row: signed(row.gap_b, unit_of(row))),
        TableColumn("Difference (95 % CI)", difference),
        TableColumn("p", lambda row: p_value(row.p_value)),
        TableColumn("Holm-adjusted p", lambda row: p_value(row.p_holm)),
        TableColumn("Speakers", lambda row: number(row.speakers)),
        TableColumn("Verdict", lambda row: OUTCOMES[row.outcome], words=True),
    ]
    notes = not_tested([row.refused for row in rows if row.refused], _MOST_SAID)
    table = tabulate(SYSTEMS_TABLE, rows, columns, notes=notes, sticky=True, open_up_to=MOST_OPEN)
    return Section("systems", SYSTEMS, (block, Block(id="systems-numbers", tables=(table,))), lead=(SYSTEMS_LEAD,))


def _systems_figure(known: Sequence[SystemComparison], prefix: str) -> Figure:
    pairs = {(row.result_a, row.result_b) for row in known}
    several = len(pairs) > 1
    dots = [
        Dot(
            f"{row.result_a} − {row.result_b}" if several else pair_name(row),
            row.difference,
            finite(row.low),
            finite(row.high),
            MARKS[row.outcome],
            pair_name(row) if several else "",
            not row.outcome.tested,
            style=0,
        )
        for row in known
    ]
    unit, metric = unit_of(known[0]), metric_label(known[0].metric)
    said = "; ".join(f"{dot.label} {dot.note}: {signed(dot.value, unit)}" for dot in dots)
    svg = interval_chart(
        f"{prefix}-differences", f"Differences of gaps in {metric}", f"{said}.", dots,
        axis_label="difference of gaps", unit=unit, zero=_sides(known),
    )  # fmt: skip
    caption = systems_caption(metric, None if several else next(iter(pairs)), marks_words(known))
    return Figure(f"{prefix}-box", svg, caption)


def _sides(rows: Sequence[SystemComparison]) -> tuple[str, str]:
    """Say what a negative and a positive difference mean: of the gaps, which may be worse for either group."""
    systems = {row.result_a for row in rows}
    name = next(iter(systems))
    name = name if len(systems) == 1 and len(name) <= _SHORT else "the first"
    return f"gap lower with {name}", f"gap higher with {name}"


def empty_section(report: FairnessReport) -> Section | None:
    """Show the gaps both ways; None where no hypothesis is empty."""
    effects = report.empty_hypotheses
    if not effects:
        return None
    columns: list[TableColumn[EmptyEffect]] = [
        *system_column(report),
        TableColumn("Groups", _groups, words=True),
        TableColumn("Metric", lambda row: metric_label(row.metric), words=True),
        TableColumn("Empty", lambda row: " / ".join(map(number, (row.empty_a, row.empty_b)))),
        TableColumn("Counted", lambda row: between(row, *row.counted[:3])),
        TableColumn("p", lambda row: p_value(row.counted.p_holm)),
        TableColumn("Excluded", lambda row: between(row, *row.left_out[:3])),
        TableColumn("p", lambda row: p_value(row.left_out.p_holm)),
    ]
    table = tabulate(EMPTY_TABLE, effects, columns, notes=(EMPTY_NOTE,), open_up_to=MOST_OPEN)
    warnings = dict.fromkeys(
        f"{row.a} and {row.b}, {metric_label(row.metric)}: {row.warning}." for row in effects[:MOST_ROWS] if row.warning
    )
    block = Block(id="empty-hypotheses-rows", tables=(table,), warnings=tuple(warnings))
    lead = empty_lead(report.provenance.empty_hypothesis == "leave-out")
    return Section("empty-hypotheses", "Empty hypotheses", (block,), lead=(lead,))


def _groups(row: EmptyEffect) -> str:
    return " − ".join(group_name(row.by, name) for name in (row.a, row.b))


SECTIONS = (
    PlacedSection(FairnessReport, 50, models_section),
    PlacedSection(FairnessReport, 60, systems_section),
    PlacedSection(FairnessReport, 70, empty_section),
)
