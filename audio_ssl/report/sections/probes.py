"""Each probe in detail: its test set, every score, layers and runs, confusions, single clips, what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from audio_ssl.artifacts.result import ProbeCost
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.clips import ConfusedPair, RankedClip, Sounds, excerpts, word_changes
from audio_ssl.report.comparison import ComparedQuestion
from audio_ssl.report.figures.probes import (
    confusion_figures,
    grid_figure,
    history_figure,
    layer_figure,
    systems_of,
    trial_figure,
    value_figures,
    weight_figure,
)
from audio_ssl.report.html import (
    Block,
    ClipExample,
    Figure,
    Fold,
    Section,
    Table,
    TableColumn,
    linked,
    make_table,
    tabulate,
)
from audio_ssl.report.language import probes as words
from audio_ssl.report.language.phrases import better_words
from audio_ssl.report.numbers import MISSING, count, duration, gigabytes, interval, score
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.probe_summary import ProbeSummary, SystemSummary

_MOST_OPEN = 2
_MOST_UNLISTED = 3
_MOST_EXCLUDED = 12


def probes_section(
    results: Sequence[ProbeSummary], questions: Sequence[ComparedQuestion], sounds: Sequence[Sounds] = ()
) -> Section:
    """Show every probe in detail: what the models share, then each model's answers in a fold of its own.

    The folds are closed where there are more than `_MOST_OPEN` results.

    Parameters
    ----------
    results, questions
        Of one report; a question names its results by position.
    sounds
        Excerpts of each result's clips; none if empty.
    """
    blocks = []
    for question in questions:
        folds = tuple(
            Fold(
                summary=_summary(results[place]),
                inside=_detail(results[place], place, sounds[place] if sounds else {}),
                open=len(results) <= _MOST_OPEN,
            )
            for place in question.results
        )
        blocks.append(_question(question, [results[place] for place in question.results], folds))
    return Section("probes", "Probe by probe", tuple(blocks))


def contents(questions: Sequence[ComparedQuestion]) -> tuple[tuple[str, str], ...]:
    """Return id and title of every question; nothing where there are at most three."""
    return tuple((one.id, one.title) for one in questions) if len(questions) > _MOST_UNLISTED else ()


def _question(question: ComparedQuestion, results: Sequence[ProbeSummary], folds: tuple[Fold, ...]) -> Block:
    return Block(
        id=question.id,
        heading=question.title,
        figures=_kept([layer_figure(results, f"layers-{question.results[0]}")]),
        tables=_tables([_metric_table(results), _cost_table(results, folds[0].open)]),
        folds=folds,
    )


def _summary(result: ProbeSummary) -> Markup:
    """Name the model with its main score, and say that there are warnings, for they may be out of sight."""
    one = result.main
    ends = interval(one.low, one.high, result.unit)
    between = Markup(' <span class="whole">({})</span>').format(ends) if ends != MISSING else ""
    mind = f" · {count(len(result.warnings), 'warning')}" if result.warnings else ""
    return Markup("<strong>{}</strong> {} {}{}{}").format(
        result.model_label, metric_label(result.main_metric), score(one.value, result.unit), between, mind
    )


def _detail(result: ProbeSummary, index: int, heard: Sounds) -> Block:
    figures = [
        grid_figure(result, f"grid-{index}"),
        weight_figure(result, f"weights-{index}"),
        history_figure(result, f"history-{index}"),
        trial_figure(result, f"trials-{index}"),
        *value_figures(result, f"values-{index}"),
        *confusion_figures(result, f"confusion-{index}"),
    ]
    return Block(
        id=f"probe-{index}",
        lead=words.lead(result),
        warnings=result.warnings,
        figures=_kept(figures),
        tables=_tables([_pair_table(result), _excluded_table(result)]),
        examples=tuple(_example(result, one, heard.get(one.id, "")) for one in result.examples),
    )


def _kept(figures: Iterable[Figure | None]) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)


def _tables(tables: Iterable[Table | None]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table is not None)


MOST_COLUMNS = 3
"""Systems that stand side by side beside a picture; more of them are rows."""


def _metric_table(results: Sequence[ProbeSummary]) -> Table:
    systems = systems_of(results)
    first = results[0].systems[0].metrics
    if len(results) == 1 and len(systems) <= MOST_COLUMNS:
        rows: list[tuple[str | Markup, ...]] = []
        for name, metric in first.items():
            cells = [_score_cell(system, name) for _, system in systems]
            rows.append((metric_label(name), better_words(metric.higher_is_better), *cells))
        head = ("Score", "Direction", *(name[:1].upper() + name[1:] for name, _ in systems))
        return make_table(words.SCORES_CAPTION, head, rows, text_columns=(1,))
    names = [f"{metric_label(name)} {'↑' if metric.higher_is_better else '↓'}" for name, metric in first.items()]
    rows = [(label, *(_score_cell(system, name) for name in first)) for label, system in systems]
    return make_table(words.SCORES_CAPTION, ("System", *names), rows, sticky=True)


def _score_cell(system: SystemSummary, name: str) -> str | Markup:
    one = system.score_of(name)
    value = linked(score(one.value, one.unit), system.predictions)
    ends = interval(one.low, one.high, one.unit)
    return value if ends == MISSING else Markup('{} <span class="whole">({})</span>').format(value, ends)


class _CostRow(NamedTuple):
    """A row of the table of costs."""

    system: str
    cost: ProbeCost


_COST_COLUMNS: list[TableColumn[_CostRow]] = [
    TableColumn("System", lambda row: row.system),
    TableColumn("Extract", lambda row: duration(row.cost.extract_seconds)),
    TableColumn("Fit", lambda row: duration(row.cost.fit_seconds)),
    TableColumn("Predict", lambda row: duration(row.cost.predict_seconds)),
    TableColumn("Trained parameters", lambda row: f"{row.cost.parameters:,}" if row.cost.parameters else MISSING),
    TableColumn("Peak memory", lambda row: gigabytes(row.cost.peak_memory_bytes)),
    TableColumn("Audio", lambda row: duration(row.cost.audio_seconds)),
]


def _cost_table(results: Sequence[ProbeSummary], shown: bool) -> Table | None:
    rows = [_CostRow(name, system.cost) for name, system in systems_of(results) if system.cost is not None]
    open_up_to = None if shown else 0
    notes = (words.COST_NOTE,)
    return tabulate("Cost", rows, _COST_COLUMNS, notes=notes, sticky=True, open_up_to=open_up_to) if rows else None


_PAIR_COLUMNS: list[TableColumn[ConfusedPair]] = [
    TableColumn("Reference", lambda row: row.reference),
    TableColumn("Answered", lambda row: row.hypothesis, words=True),
    TableColumn("Clips", lambda row: f"{row.clips:,}"),
    TableColumn("Share of the reference's clips", lambda row: score(100 * row.clips / row.of, "%")),
]


def _pair_table(result: ProbeSummary) -> Table | None:
    pairs = result.confused_pairs
    return tabulate("Most frequent confusions", pairs, _PAIR_COLUMNS) if pairs else None


class _ExcludedRow(NamedTuple):
    """A row of the table of what was excluded."""

    what: str
    reason: str


def _excluded_table(result: ProbeSummary) -> Table | None:
    rows = [_ExcludedRow(one.id, one.reason) for one in result.excluded]
    rows += [_ExcludedRow(f"{one.count:,} in errors.jsonl", one.reason) for one in result.errors.reasons]
    columns: list[TableColumn[_ExcludedRow]] = [
        TableColumn("Clip", lambda row: row.what),
        TableColumn("Reason", lambda row: row.reason or MISSING, words=True),
    ]
    return tabulate(f"Excluded ({len(rows):,})", rows, columns, most=_MOST_EXCLUDED) if rows else None


def _changes(result: ProbeSummary, one: RankedClip) -> list[tuple[str, str]]:
    """Return what of reference and answer is marked as different."""
    if result.values:
        # Numbers are near or far, not the same or different.
        return [("only-reference", one.reference), ("only-answer", one.hypothesis)]
    if (result.confusion or result.confused_pairs) and one.reference != one.hypothesis:
        # A class is right or wrong as a whole, however many words its name has.
        return [("missing", one.reference), ("added", one.hypothesis)]
    return word_changes(one.reference, one.hypothesis)


def _example(result: ProbeSummary, one: RankedClip, sound: str) -> ClipExample:
    shown = "" if one.score is None else score(one.score, one.unit)
    return ClipExample(one.id, _changes(result, one), shown, one.about, one.which, sound)


def _probed(page: ReportPage) -> Section | None:
    results = page.summary.results
    return probes_section(results, page.summary.comparison.questions, _sounds(page)) if results else None


def _sounds(page: ReportPage) -> list[dict[str, str]]:
    """Read excerpts of each result's worst clips; they are in the page and not in the JSON."""
    if not page.audio:
        return []
    return [
        excerpts(result.model.predictions, [one.id for one in about.examples if one.which == "worst"])
        for result, about in zip(page.inputs.results, page.summary.results, strict=True)
    ]


SECTIONS = (PlacedSection(ReportPage, 60, _probed),)
