"""Sections of scores: gains over baselines, and models side by side.

Gains: every probe's score for the model, its untrained twin and plain spectral frames.

Models side by side: every main score in one table, and how each system differs from the first model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from audio_ssl.artifacts.result import MetricResult
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.comparison import ComparedQuestion, MeanRank, ModelComparison, SuperbStanding
from audio_ssl.report.figures.intervals import Dot, Estimate, Row, forest, interval_chart
from audio_ssl.report.html import Block, Figure, Fold, Section, Table, TableColumn, linked, make_table, tabulate
from audio_ssl.report.language import scores as words
from audio_ssl.report.language.phrases import better_words, short_label
from audio_ssl.report.numbers import MISSING, count, finite, interval, score, signed, signed_interval
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.paired import PairedComparison
from audio_ssl.report.probe_summary import BaselineVerdict, ProbeSummary, SystemSummary
from audio_ssl.report.svg import SHAPES

_MOST_OPEN = 12
_USUAL_SYSTEMS = 3
"""A model and two baselines."""
_MOST_DRAWN = 24
"""Of the picture of differences; more are read in the table."""


def gains_section(results: Sequence[ProbeSummary]) -> Section:
    """Put the systems of every probe side by side."""
    figures = [figure for index, result in enumerate(results) if (figure := _figure(result, index))]
    table = tabulate(
        words.GAINS_CAPTION,
        [row for result in results for row in _rows(result)],
        _GAIN_COLUMNS,
        notes=words.GAINS_NOTES,
        open_up_to=_MOST_OPEN * _USUAL_SYSTEMS,
    )
    figures = [*_difference_figures(results), *figures]
    if len(figures) <= _MOST_OPEN:
        block = Block(id="gains-overview", figures=tuple(figures), tables=(table,))
        return Section("gains", words.GAINS_HEADING, (block,))
    inside = Block(id="gains-figures", figures=tuple(figures))
    fold = Fold(f"Pictures of all {len(figures)} results", inside)
    return Section("gains", words.GAINS_HEADING, (Block(id="gains-overview", tables=(table,), folds=(fold,)),))


def _difference_figures(results: Sequence[ProbeSummary]) -> list[Figure]:
    """Draw each model minus each baseline, on the same clips: gaps that separate intervals hide are seen here."""
    models = list(dict.fromkeys(result.model_label for result in results))
    figures = []
    for place, model in enumerate(models):
        rows = [row for result in results if result.model_label == model for row in _difference_rows(result)]
        if not 1 < len(rows) <= _MOST_DRAWN:
            continue
        name = "gain-differences" if len(models) == 1 else f"gain-differences-{place}"
        title = words.differences_title("" if len(models) == 1 else model)
        svg = forest(
            name,
            title,
            "; ".join(f"{row.label} {row.words}" for row in rows),
            rows,
            sides=("baseline better", "model better"),
            unit="",
        )
        figures.append(Figure(f"{name}-box", svg, f"{title}{words.DIFFERENCES_CAPTION}"))
    return figures


def _difference_rows(result: ProbeSummary) -> list[Row]:
    rows = []
    sign = 1 if result.higher_is_better else -1
    probe = result.title.removesuffix(f" · {result.model_label}")
    for place, verdict in enumerate(result.verdicts):
        value, low, high = verdict.difference, verdict.low, verdict.high
        if result.unit != "%" or value is None or low is None or high is None:
            continue
        ends = sorted((sign * low, sign * high))
        shape = SHAPES[(1 + place) % len(SHAPES)]
        mark = Estimate(sign * value, ends[0], ends[1], shape, verdict.decided)
        written = "{} ({} to {})".format(*(signed(one, "points") for one in (sign * value, *ends)))
        rows.append(Row(f"{probe} − {short_label(verdict.label)}", written, (mark,)))
    return rows


def _figure(result: ProbeSummary, index: int) -> Figure | None:
    label, unit = metric_label(result.main_metric), result.unit
    dots = []
    for place, system in enumerate(result.systems):
        one = system.score_of(result.main_metric)
        value = finite(one.value)
        if value is not None:
            shape = SHAPES[place % len(SHAPES)]
            dots.append(Dot(system.label, value, finite(one.low), finite(one.high), shape))
    if not dots:
        return None
    better = better_words(result.higher_is_better)
    svg = interval_chart(
        f"gain-figure-{index}",
        f"{result.title}: {label} per system",
        f"{'; '.join(f'{dot.label} {score(dot.value, unit)}' for dot in dots)}; {better}.",
        dots,
        axis_label=label,
        unit=unit,
        higher_is_better=result.higher_is_better,
    )
    test = result.counts.get("test")
    amount = f"; {count(test.clips, 'test clip')}" if test else ""
    return Figure(f"gain-{index}", svg, f"{result.title}: {label}, {better}{amount}.")


class _GainRow(NamedTuple):
    """A row of the table of gains."""

    result: ProbeSummary
    system: SystemSummary
    verdict: BaselineVerdict | None
    """None of the model itself."""

    @property
    def score(self) -> MetricResult:
        return self.system.score_of(self.result.main_metric)


def _rows(result: ProbeSummary) -> list[_GainRow]:
    verdicts = {verdict.baseline: verdict for verdict in result.verdicts}
    return [_GainRow(result, system, verdicts.get(system.system)) for system in result.systems]


def _gain(row: _GainRow) -> str:
    return signed(row.verdict.difference, "points" if row.result.unit else "") if row.verdict else MISSING


def _gain_ends(row: _GainRow) -> str:
    return signed_interval(row.verdict.low, row.verdict.high, row.result.unit) if row.verdict else MISSING


_GAIN_COLUMNS: list[TableColumn[_GainRow]] = [
    TableColumn("Probe", lambda row: f"{row.result.title}, {metric_label(row.result.main_metric)}"),
    TableColumn("System", lambda row: row.system.label, words=True),
    TableColumn("Score", lambda row: linked(score(row.score.value, row.result.unit), row.system.predictions)),
    TableColumn("95 % interval", lambda row: interval(row.score.low, row.score.high, row.result.unit)),
    TableColumn("Model minus this", _gain),
    TableColumn("95 % interval", _gain_ends),
    TableColumn("The model is", lambda row: words.verdict_reading(row.verdict) if row.verdict else MISSING, words=True),
]


_MOST_ROWS = 30
_MOST_COLUMNS = 8


def comparison_section(comparison: ModelComparison) -> Section | None:
    """Show all systems on all questions; None where there is only one question to one model (see the gains)."""
    questions = comparison.questions
    if not questions or (len(questions) == 1 and comparison.models < 2):
        return None
    tables = [_scores(comparison), *(table for table in (_ranks(comparison), _superb(comparison)) if table)]
    differences = _differences(questions)
    warnings = tuple(warning for one in questions for warning in one.warnings)
    blocks = [Block(id="comparison-scores", lead=(words.SCORES_LEAD,), warnings=warnings, tables=tuple(tables))]
    # With one model, what it gains over its baselines is the next section.
    if comparison.models > 1 and differences.rows:
        how = (words.how_compared(questions),)
        heading = "Differences from the first model"
        blocks.append(Block(id="comparison-differences", heading=heading, lead=how, tables=(differences,)))
    return Section("comparison", "Side by side", tuple(blocks))


def _column_name(question: ComparedQuestion) -> tuple[str, str]:
    return question.name, f"{metric_label(question.metric)}\u00a0{'↑' if question.higher_is_better else '↓'}"


def _scores(comparison: ModelComparison) -> Table:
    questions, systems = comparison.questions, comparison.systems
    named = [Markup('<a href="#{}">{}</a><br>{}').format(one.id, *_column_name(one)) for one in questions]
    table: list[list[str | Markup]] = [["Model", *named]]
    table += [[name, *(_cell(one, name) for one in questions)] for name in systems]
    # A suite is longer than a screen is wide.
    turned = len(questions) > _MOST_COLUMNS
    if turned:
        table = [list(column) for column in zip(*table, strict=True)]
        table[0][0] = "Probe"
    head, *rows = table
    numbered = any(re.search(r" \(\d+\)$", name) for name in systems)
    notes = words.score_notes("row" if turned else "column", numbered)
    return make_table("Main score of every model and baseline", head, rows, notes=notes, sticky=True)


def _cell(question: ComparedQuestion, name: str) -> str | Markup:
    cell = question.cells.get(name)
    if cell is None:
        return MISSING
    ends = interval(cell.low, cell.high, question.unit)
    best = Markup(' <strong class="best">best</strong> ') if cell.best else Markup("")
    under = Markup('<br><span class="soft">{}</span>').format(ends) if ends != MISSING else Markup("")
    return Markup("{}{}{}").format(best, linked(score(cell.value, question.unit), cell.predictions), under)


def _ranks(comparison: ModelComparison) -> Table | None:
    ranks = comparison.ranks
    if not ranks:
        return None
    columns: list[TableColumn[MeanRank]] = [
        TableColumn("Model", lambda row: row.system),
        TableColumn("Mean rank ↓", lambda row: f"{row.mean_rank:.2f}"),
        TableColumn("Wins (ties half) ↑", lambda row: f"{row.borda:g}"),
    ]
    notes = words.rank_notes(ranks[0].questions, len(ranks) == len(comparison.systems))
    return tabulate("Mean rank", ranks, columns, notes=notes)


def _superb(comparison: ModelComparison) -> Table | None:
    if not comparison.superb:
        return None
    columns: list[TableColumn[SuperbStanding]] = [
        TableColumn("Model", lambda row: row.system),
        TableColumn("Score ↑", lambda row: f"{row.score:,.0f}".replace("-", "−")),
        TableColumn("Tasks", lambda row: ", ".join(row.tasks), words=True),
        TableColumn("Missing", lambda row: ", ".join(row.missing) or MISSING, words=True),
    ]
    return tabulate("SUPERB score", comparison.superb, columns, notes=(words.SUPERB_NOTE,))


class _DifferenceRow(NamedTuple):
    """A row of the table of differences."""

    question: ComparedQuestion
    found: PairedComparison


def _differences(questions: Sequence[ComparedQuestion]) -> Table:
    several = len({one.first for one in questions}) > 1

    def name(row: _DifferenceRow) -> Markup:
        system = f"{row.found.system} minus {row.question.first}" if several else row.found.system
        return Markup('{}<br><span class="soft">{}</span>').format(system, ", ".join(_column_name(row.question)))

    columns: list[TableColumn[_DifferenceRow]] = [
        TableColumn("System, probe", name),
        TableColumn("Difference", lambda row: signed(row.found.difference, "points" if row.question.unit else "")),
        TableColumn("95 % interval", lambda row: signed_interval(row.found.low, row.found.high, row.question.unit)),
        TableColumn("Result", lambda row: words.difference_reading(row.found), words=True),
        TableColumn("Common clips", lambda row: _common(row.found)),
        TableColumn("Resampled", lambda row: row.found.over or MISSING, words=True),
    ]
    rows = [_DifferenceRow(question, one) for question in questions for one in question.differences]
    return tabulate(words.differences_caption(questions), rows, columns, sticky=True, open_up_to=_MOST_ROWS)


def _common(found: PairedComparison) -> str:
    if found.clips is None:
        return MISSING
    return f"{found.clips:,}" + (f" ({found.left_out:,} excluded)" if found.left_out else "")


def _compared(page: ReportPage) -> Section | None:
    return comparison_section(page.summary.comparison)


def _gained(page: ReportPage) -> Section | None:
    return gains_section(page.summary.results) if page.summary.results else None


SECTIONS = (PlacedSection(ReportPage, 10, _compared), PlacedSection(ReportPage, 20, _gained))
