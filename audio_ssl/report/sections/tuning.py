"""Frozen, adapted and fine-tuned models beside one another: score, trained weights, time and memory of each."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.comparison import ComparedQuestion
from audio_ssl.report.html import Block, Section, TableColumn, linked, tabulate
from audio_ssl.report.language import tuning as words
from audio_ssl.report.numbers import MISSING, duration, finite, gigabytes, interval, number, score
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.probe_summary import ProbeSummary


def tuning_section(results: Sequence[ProbeSummary], questions: Sequence[ComparedQuestion]) -> Section | None:
    """Put the ways of using a model beside one another, question by question; None where all models are frozen."""
    asked = [(question, [results[place] for place in question.results]) for question in questions]
    asked = [(question, tried) for question, tried in asked if any(one.tuning != "frozen" for one in tried)]
    if not asked:
        return None
    rows = [one for _, tried in asked for one in tried]
    table = tabulate(words.CAPTION, rows, _COLUMNS, notes=words.NOTES, sticky=True)
    return Section("tuning", words.HEADING, (Block(id="tuning-costs", lead=_traded(asked), tables=(table,)),))


def _traded(asked: Sequence[tuple[ComparedQuestion, Sequence[ProbeSummary]]]) -> tuple[str, ...]:
    """Compare adapters with full fine-tuning of the same model on the same question."""
    said = []
    for question, tried in asked:
        for adapted in (one for one in tried if one.tuning == "lora"):
            full = next((one for one in tried if one.tuning == "full" and _same(one, adapted)), None)
            said.append("" if full is None else words.traded(adapted, full, question.title))
    return tuple(filter(None, said))


def _same(one: ProbeSummary, other: ProbeSummary) -> bool:
    return (one.model_fingerprint or one.model) == (other.model_fingerprint or other.model)


def _main(result: ProbeSummary) -> str:
    label = metric_label(result.main_metric)
    return f"{score(result.main.value, result.unit)} {label} {'↑' if result.higher_is_better else '↓'}"


def _trained(result: ProbeSummary) -> str:
    cost = result.systems[0].cost
    return f"{cost.parameters:,}" if cost is not None and cost.parameters else MISSING


def _of_model(result: ProbeSummary) -> str:
    cost = result.systems[0].cost
    if cost is None or not cost.model_size:
        return MISSING
    if not cost.model_parameters:
        return "0"
    return f"{cost.model_parameters:,} ({number(100 * cost.model_parameters / cost.model_size, 2)} %)"


def _time(result: ProbeSummary) -> str:
    cost = result.systems[0].cost
    if cost is None:
        return MISSING
    spent = [finite(one) for one in (cost.extract_seconds, cost.fit_seconds, cost.predict_seconds)]
    return duration(sum(one for one in spent if one is not None)) if any(spent) else MISSING


def _memory(result: ProbeSummary) -> str:
    cost = result.systems[0].cost
    return MISSING if cost is None else gigabytes(cost.peak_memory_bytes)


_COLUMNS: list[TableColumn[ProbeSummary]] = [
    TableColumn("Model, probe", lambda row: f"{row.model_label} · {row.name}"),
    TableColumn("Score", lambda row: linked(_main(row), row.systems[0].predictions)),
    TableColumn("95 % interval", lambda row: interval(row.main.low, row.main.high, row.unit)),
    TableColumn("Trained weights", _trained),
    TableColumn("Of the model", _of_model),
    TableColumn("Time", _time),
    TableColumn("Peak memory", _memory),
]


def _tuned(page: ReportPage) -> Section | None:
    return tuning_section(page.summary.results, page.summary.comparison.questions)


SECTIONS = (PlacedSection(ReportPage, 15, _tuned),)
