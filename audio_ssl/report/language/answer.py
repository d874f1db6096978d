"""The answer of a report: sentences for the top of the page, and a short plain table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.language.conclusions import headline
from audio_ssl.report.language.phrases import better_words, one_of
from audio_ssl.report.language.scores import compare_sentences, first_models, gain_sentence, gain_sentences
from audio_ssl.report.language.training import collapse_sentences
from audio_ssl.report.numbers import score, shortened

if TYPE_CHECKING:
    from audio_ssl.report.comparison import ComparedQuestion, ModelComparison
    from audio_ssl.report.probe_summary import ProbeSummary, SystemSummary
    from audio_ssl.report.run_summary import RunSummary
    from audio_ssl.report.summary import ReportSummary

MOST_COLUMNS = 100
"""Characters of a terminal's line."""
_MOST_NAME = 22


def answer(
    runs: Sequence[RunSummary],
    results: Sequence[ProbeSummary],
    comparison: ModelComparison,
    audits: Sequence[FairnessReport],
) -> dict[str, list[str]]:
    """Answer what pretraining gave and what the fairness audits found.

    Returns
    -------
    dict
        ``pretraining`` and ``fairness``, each a list of sentences, the most important first; empty where nothing was
        measured. With several models, ``models`` comes between them, or first where no baseline was asked.
    """
    several = comparison.models > 1
    gain = _gains(results, several)
    if not several:
        gain += [_scores(result) for result in results]
    if not results and runs:
        names = one_of([f"{run.name} ({run.steps:,} steps)" for run in runs], "and")
        gain = [f"Training curves of {names}.", "No probe result was given. The benefit of training was not measured."]
    collapsed = [f"{run.name}: {one}" for run in runs for one in collapse_sentences(run)]
    models = compare_sentences(comparison) if several else []
    said = {
        "pretraining": [*collapsed, *gain],
        "models": models,
        "fairness": headline(audits) if audits else [],
    }
    order = ("pretraining", "models", "fairness") if gain else ("models", "pretraining", "fairness")
    return {subject: said[subject] for subject in order if models or subject != "models"}


def _gains(results: Sequence[ProbeSummary], several: bool) -> list[str]:
    """Say what pretraining gave, for each model where there are several."""
    kept = [result for result in results if result.verdicts]
    if not several:
        return gain_sentences(kept) if kept else []
    models = dict.fromkeys(result.model_label for result in kept)
    return [gain_sentence([one for one in kept if one.model_label == name], name) for name in models]


def _scores(result: ProbeSummary) -> str:
    parts = [
        f"{score(system.score_of(result.main_metric).value, result.unit)} {_noun(system)}" for system in result.systems
    ]
    way = better_words(result.higher_is_better)
    return f"{result.name}, {metric_label(result.main_metric)} ({way}): {', '.join(parts)}."


def _noun(system: SystemSummary) -> str:
    return "pretrained" if system.system == "model" else system.label


def summary_lines(report: ReportSummary) -> list[str]:
    """Write the main scores as a table in plain text, then what they and the fairness audits say.

    Lines have no line ends; those of the table have at most 100 characters.
    """
    said = report.answer
    # With one model its scores are in the table; with several each has a sentence of its own.
    scores = 0 if "models" in said else len(report.results)
    gain = said["pretraining"][: len(said["pretraining"]) - scores]
    return [*score_lines(report.comparison), *gain, *said.get("models", [])[:1], *said["fairness"]]


def score_lines(comparison: ModelComparison) -> list[str]:
    """Write the main scores as a table: a line a probe, a column a system.

    A star marks the best score of a line, a tilde one that does not differ significantly from the line's first model.
    Where the columns need more than 100 characters, the rest follows as another table.
    """
    questions = comparison.questions
    if not questions:
        return []
    left = [["probe", "score"]]
    for one in questions:
        label = f"{metric_label(one.metric)} {'↑' if one.higher_is_better else '↓'}"
        left.append([shortened(one.name, 28), shortened(label, 22)])
    columns = [
        [
            shortened(name.replace("untrained twin of ", "untrained "), _MOST_NAME),
            *(_cell(one, name) for one in questions),
        ]
        for name in comparison.systems
    ]
    room = MOST_COLUMNS - len(_joined(left)[0])
    lines: list[str] = []
    while columns:
        taken, used = 0, 0
        for column in columns:
            used += max(map(len, column)) + 2
            if used > room and taken:
                break
            taken += 1
        shown, columns = columns[:taken], columns[taken:]
        table = [[*row, *(column[place] for column in shown)] for place, row in enumerate(left)]
        lines += [*([""] if lines else []), *(line.rstrip() for line in _joined(table))]
    marks = [mark for mark in ("*", "~") if any(line.rstrip().endswith(mark) or f"{mark} " in line for line in lines)]
    first = shortened(first_models(questions), _MOST_NAME)
    legend = {"*": "* best of its row", "~": f"~ not significantly different from {first}"}
    return lines + (["; ".join(legend[mark] for mark in marks)] if marks else [])


def _cell(question: ComparedQuestion, name: str) -> str:
    cell = question.cells.get(name)
    if cell is None:
        return ""
    near = any(row.system == name and row.apart is False for row in question.differences)
    marks = ("*" if cell.best else "") + ("~" if near else "")
    return f"{score(cell.value, question.unit)}{f' {marks}' if marks else ''}"


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
