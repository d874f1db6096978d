"""Summaries of reports and results for tests of sentences and sections: as little in them as there can be."""

from __future__ import annotations

from audio_ssl.artifacts.result import MetricResult
from audio_ssl.report.comparison import ModelComparison
from audio_ssl.report.language.answer import answer
from audio_ssl.report.probe_summary import ProbeSummary, SystemSummary
from audio_ssl.report.summary import ReportSummary


def make_summary(results=(), models=(), runs=(), audits=()):
    """Return the summary of a report; `models` are the names of the models that are compared."""
    comparison = ModelComparison(tuple(models), len(models), (), (), (), ())
    said = answer(runs, results, comparison, audits)
    return ReportSummary("t", tuple(runs), tuple(results), comparison, tuple(one.to_json() for one in audits), said)


def make_probe(name, verdicts=(), model="run", **more):
    """Return the summary of a result with a word error rate of 10 %."""
    scores = {"wer": MetricResult(10.0, higher_is_better=False)}
    system = SystemSummary("model", "this model", None, None, scores)
    return ProbeSummary(
        name,
        path=f"runs/{name}",
        task="asr",
        model=model,
        model_fingerprint=None,
        model_label=model,
        main_metric="wer",
        unit="%",
        higher_is_better=False,
        systems=(system,),
        verdicts=tuple(verdicts),
        **more,
    )
