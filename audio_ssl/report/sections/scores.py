"""Sections of scores: gains over baselines, and models side by side.

Gains: every probe's score for the model, its untrained twin and plain spectral frames.

Models side by side: every main score in one table, and how each system differs from the first model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.comparison import ComparedQuestion, ModelComparison
from audio_ssl.report.figures.intervals import Dot, Estimate, Row, forest, interval_chart
from audio_ssl.report.html import Block, Figure, Fold, Section, Table, linked, make_table
from audio_ssl.report.language import scores as words
from audio_ssl.report.language.phrases import better_words
from audio_ssl.report.numbers import MISSING, count, finite, interval, score, signed, signed_interval
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.probe_summary import BaselineVerdict, ProbeSummary, SystemSummary
from audio_ssl.report.svg import SHAPES

_MOST_OPEN = 12
_MOST_DRAWN = 24
"""Of the picture of differences; more are read in the table."""


def gains_section(results: Sequence[ProbeSummary]) -> Section:
    """Put the systems of every probe side by side."""
    figures = [figure for index, result in enumerate(results) if (figure := _figure(result, index))]
    table = make_table(
        words.GAINS_CAPTION,
        ("Probe", "System", "Score", "95 % interval", "Model minus this", "95 % interval", "The model is"),
        [row for result in results for row in _rows(result)],
        text_columns=(1, 6),
        folded=len(results) > _MOST_OPEN,
        notes=words.GAINS_NOTES,
    )
    figures = [*_difference_figures(results), *figures]
    if len(figures) <= _MOST_OPEN:
        block = Block(id="gains-overview", figures=tuple(figures), tables=(table,))
        return Section("gains", words.GAINS_HEADING, (block,))
    inside = Block(id="gains-figures", figures=tuple(figures))
    fold = Fold(f"Pictures of all {len(figures)} results", inside)
    return Section("gains", words.GAINS_HEADING, (Block(id="gains-overview", tables=(table,), folds=(fold,)),))


def _difference_figures(results: Sequence[ProbeSummary]) -> list[Figure]:
    """Draw the model minus each baseline, on the same clips: gaps that separate intervals hide are seen here."""
    rows = []
    for result in results:
        sign = 1 if result.higher_is_better else -1
        for place, verdict in enumerate(result.verdicts):
            value, low, high = verdict.difference, verdict.low, verdict.high
            if result.unit != "%" or value is None or low is None or high is None:
                continue
            ends = sorted((sign * low, sign * high))
            shape = SHAPES[(1 + place) % len(SHAPES)]
            mark = Estimate(sign * value, ends[0], ends[1], shape, verdict.decided)
            written = "{} ({} to {})".format(*(signed(one, "points") for one in (sign * value, *ends)))
            rows.append(Row(f"{result.title} − {verdict.label}", written, (mark,)))
    if not 1 < len(rows) <= _MOST_DRAWN:
        return []
    svg = forest(
        "gain-differences",
        words.DIFFERENCES_TITLE,
        "; ".join(f"{row.label} {row.words}" for row in rows),
        rows,
        sides=("baseline better", "model better"),
        unit="",
    )
    return [Figure("gain-paired", svg, words.DIFFERENCES_CAPTION)]


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


def _rows(result: ProbeSummary) -> list[tuple[str | Markup, ...]]:
    verdicts = {verdict.baseline: verdict for verdict in result.verdicts}
    return [_row(result, system, verdicts.get(system.system)) for system in result.systems]


def _row(result: ProbeSummary, system: SystemSummary, verdict: BaselineVerdict | None) -> tuple[str | Markup, ...]:
    one = system.score_of(result.main_metric)
    return (
        f"{result.title}, {metric_label(result.main_metric)}",
        system.label,
        linked(score(one.value, result.unit), system.predictions),
        interval(one.low, one.high, result.unit),
        *(
            (MISSING, MISSING, MISSING)
            if verdict is None
            else (
                signed(verdict.difference, "points" if result.unit else ""),
                signed_interval(verdict.low, verdict.high, result.unit),
                words.verdict_reading(verdict),
            )
        ),
    )


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
    rows = [(row.system, f"{row.mean_rank:.2f}", f"{row.borda:g}") for row in ranks]
    notes = words.rank_notes(ranks[0].questions, len(rows) == len(comparison.systems))
    return make_table("Mean rank", ("Model", "Mean rank ↓", "Wins (ties half) ↑"), rows, notes=notes)


def _superb(comparison: ModelComparison) -> Table | None:
    if not comparison.superb:
        return None
    rows = [
        (row.system, f"{row.score:,.0f}".replace("-", "−"), ", ".join(row.tasks), ", ".join(row.missing) or MISSING)
        for row in comparison.superb
    ]
    head = ("Model", "Score ↑", "Tasks", "Missing")
    return make_table("SUPERB score", head, rows, text_columns=(2, 3), notes=(words.SUPERB_NOTE,))


def _differences(questions: Sequence[ComparedQuestion]) -> Table:
    several = len({one.first for one in questions}) > 1
    rows = []
    for question in questions:
        for one in question.differences:
            name = f"{one.system} minus {question.first}" if several else one.system
            clips = MISSING if one.clips is None else f"{one.clips:,}"
            clips += f" ({one.left_out:,} excluded)" if one.left_out else ""
            rows.append(
                (
                    Markup('{}<br><span class="soft">{}</span>').format(name, ", ".join(_column_name(question))),
                    signed(one.difference, "points" if question.unit else ""),
                    signed_interval(one.low, one.high, question.unit),
                    words.difference_reading(one),
                    clips,
                    one.over or MISSING,
                )
            )
    head = ("System, probe", "Difference", "95 % interval", "Result", "Common clips", "Resampled")
    caption = words.differences_caption(questions)
    return make_table(caption, head, rows, text_columns=(3, 5), sticky=True, folded=len(rows) > _MOST_ROWS)


def _compared(page: ReportPage) -> Section | None:
    return comparison_section(page.summary.comparison)


def _gained(page: ReportPage) -> Section | None:
    return gains_section(page.summary.results) if page.summary.results else None


SECTIONS = (PlacedSection(ReportPage, 10, _compared), PlacedSection(ReportPage, 20, _gained))
