"""The report's answer in words: sentences for the top of the page, a short plain table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words.headline import headline
from audio_ssl.report.gain_words import gain_sentence, gain_sentences, one_of
from audio_ssl.report.numbers import finite, score
from audio_ssl.report.sections.training import collapse_sentences
from audio_ssl.report.side_by_side import compare_sentences, score_lines


def answer(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Answer what pretraining gave and what the fairness audits found.

    Parameters
    ----------
    report
        The JSON of a report, with ``results``, ``runs`` and ``fairness``.

    Returns
    -------
    dict
        ``pretraining`` and ``fairness``, each a list of sentences, the most important first; empty where nothing was
        measured. With several models, ``models`` comes between them, or first where no baseline was asked.
    """
    comparison = report.get("comparison") or {}
    several = comparison.get("models", 0) > 1
    gain = _gains(report["results"], several)
    if not several:
        gain += [_scores(result) for result in report["results"]]
    if not report["results"] and report["runs"]:
        names = one_of([f"{run['name']} ({run['steps']:,} steps)" for run in report["runs"]], "and")
        gain = [f"Training curves of {names}.", "No probe is given, so what the training is good for is not shown."]
    collapsed = [f"{run['name']}: {one}" for run in report["runs"] for one in collapse_sentences(run)]
    fairness = headline(report["fairness"]) if report["fairness"] else []
    models = compare_sentences(comparison) if several else []
    said = {"pretraining": [*collapsed, *gain], "models": models, "fairness": fairness}
    order = ("pretraining", "models", "fairness") if gain else ("models", "pretraining", "fairness")
    return {subject: said[subject] for subject in order if models or subject != "models"}


def _gains(results: Sequence[Mapping[str, Any]], several: bool) -> list[str]:
    """Say what pretraining gave, for each model where there are several."""
    kept = [result for result in results if result["verdicts"]]
    if not several:
        return gain_sentences(kept) if kept else []
    models = dict.fromkeys(str(result["model_label"]) for result in kept)
    return [gain_sentence([one for one in kept if one["model_label"] == name], name) for name in models]


def _scores(result: Mapping[str, Any]) -> str:
    parts = [f"{score(_value(result, system), result['unit'])} {_noun(system)}" for system in result["systems"]]
    way = "higher is better" if result["higher_is_better"] else "lower is better"
    return f"{result['name']}: {metric_label(result['main_metric'])} {', '.join(parts)} ({way})."


def _noun(system: Mapping[str, Any]) -> str:
    return "pretrained" if system["system"] == "model" else str(system["label"])


def _value(result: Mapping[str, Any], system: Mapping[str, Any]) -> float | None:
    return finite((system["metrics"].get(result["main_metric"]) or {}).get("value"))


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """Write the main scores as a table in plain text, then what they and the fairness audits say.

    Parameters
    ----------
    report
        The JSON of a report.

    Returns
    -------
    list
        Lines without line ends, for a terminal; those of the table have at most 100 characters.
    """
    said = answer(report)
    lines = score_lines(report.get("comparison") or {})
    # With one model its scores are in the table; with several each has a sentence of its own.
    scores = 0 if "models" in said else len(report["results"])
    gain = said["pretraining"][: len(said["pretraining"]) - scores]
    return lines + gain + said.get("models", [])[:1] + said["fairness"]
