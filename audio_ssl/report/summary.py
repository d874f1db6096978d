"""The report's answer in words: sentences for the top of the page, a short plain table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words.headline import headline
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
        measured. With several models, ``models`` comes before.
    """
    comparison = report.get("comparison") or {}
    several = comparison.get("models", 0) > 1
    gain = _gains(report["results"], several)
    if not several:
        gain += [_scores(result) for result in report["results"]]
    if not report["results"] and report["runs"]:
        names = _list([f"{run['name']} ({run['steps']:,} steps)" for run in report["runs"]])
        gain = [f"Training curves of {names}.", "No probe is given, so what the training is good for is not shown."]
    collapsed = [f"{run['name']}: {one}" for run in report["runs"] for one in collapse_sentences(run)]
    fairness = headline(report["fairness"]) if report["fairness"] else []
    models = compare_sentences(comparison) if several else []
    return {**({"models": models} if models else {}), "pretraining": [*collapsed, *gain], "fairness": fairness}


def _gains(results: Sequence[Mapping[str, Any]], several: bool) -> list[str]:
    """Say what pretraining gave, for each model where there are several."""
    kept = [result for result in results if result["verdicts"]]
    if not several:
        return [_gain(kept)] if kept else []
    models = dict.fromkeys(str(result["model_label"]) for result in kept)
    return [f"{name}: {_gain([one for one in kept if one['model_label'] == name])}" for name in models]


def _gain(results: Sequence[Mapping[str, Any]]) -> str:
    better = [str(one["name"]) for one in results if _beats_all(one)]
    worse = [str(one["name"]) for one in results if any(_is(verdict, False) for verdict in one["verdicts"])]
    unclear = [str(one["name"]) for one in results if one["name"] not in (*better, *worse)]
    if len(better) == len(results):
        where = _all(len(results))
        return f"Pretraining helped: the model is statistically significantly better than every baseline on {where}."
    if better:
        text = (
            f"Pretraining helped on {_list(better)}: there the model is statistically significantly better than every "
        )
        text += "baseline."
    else:
        text = "On no probe is the model statistically significantly better than every baseline."
    if worse:
        text += f" On {_list(worse)} at least one baseline is better than the model."
    if unclear:
        text += f" On {_list(unclear)} the difference from at least one baseline is not statistically significant."
    return text


def _beats_all(result: Mapping[str, Any]) -> bool:
    return all(_is(verdict, True) for verdict in result["verdicts"])


def _is(verdict: Mapping[str, Any], better: bool) -> bool:
    return bool(verdict["decided"]) and verdict["better"] is better


def _all(total: int) -> str:
    return {1: "the one probe", 2: "both probes"}.get(total, f"all {total} probes")


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


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
    collapsed = sum(len(collapse_sentences(run)) for run in report["runs"])
    gain = said["pretraining"] if "models" in said else said["pretraining"][: collapsed + 1]
    return lines + said.get("models", [])[:1] + gain + said["fairness"]
