"""A whole report as one record (`ReportSummary`): the page is made of it, and ``report.json`` is it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.artifacts.records import read_record
from audio_ssl.base.documents import JsonObject
from audio_ssl.report.comparison import ModelComparison, compare_models
from audio_ssl.report.inputs import Inputs
from audio_ssl.report.language.answer import answer
from audio_ssl.report.paired import SystemPairs
from audio_ssl.report.probe_summary import ProbeSummary, summarise_probe
from audio_ssl.report.run_summary import RunSummary, relative, summarise_run


@dataclass(frozen=True)
class ReportSummary:
    """Everything one report shows; as JSON the ``report.json``."""

    title: str
    runs: tuple[RunSummary, ...]
    results: tuple[ProbeSummary, ...]
    comparison: ModelComparison
    fairness: tuple[JsonObject, ...]
    answer: Mapping[str, Sequence[str]]
    """By subject: the sentences at the top of the page."""


def summarise(found: Inputs, title: str, home: Path) -> ReportSummary:
    """Summarise the inputs of a report.

    Parameters
    ----------
    found
        Runs, results and audits in the order they are shown.
    title
        Heading of the page.
    home
        The report's folder; paths are given relative to it where they lie below it.
    """
    pairs = SystemPairs()
    comparison = compare_models(found.results, home, pairs)
    titles = {}
    for question in comparison.questions:
        for place in question.results:
            model = comparison.of_results[place]["model"]
            titles[place] = f"{question.title} · {model}" if len(question.results) > 1 else question.title
    results = tuple(
        summarise_probe(result, home, pairs, comparison.of_results[place], titles[place])
        for place, result in enumerate(found.results)
    )
    runs = tuple(summarise_run(run, home) for run in found.runs)
    fairness = tuple({"path": relative(one.path, home), **one.data} for one in found.fairness)
    said = answer(runs, results, comparison, [one.report for one in found.fairness])
    return ReportSummary(title, runs, results, comparison, fairness, said)


def read_report(page: Path) -> ReportSummary:
    """Read the JSON of a report, given its page or the JSON itself.

    Raises
    ------
    UserError
        Where the file cannot be read or is no report's.
    """
    return read_record(ReportSummary, page.with_suffix(".json"), remedy="make the report again with `audio-ssl report`")
