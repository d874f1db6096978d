"""Sentences about probes: gains over baselines, comparisons, summaries.

The report's first sentence: on how many probes a model beats all its baselines, and by what that was told.

Nothing here is known beforehand. A probe counts where the model is better than each baseline beyond chance; where a
baseline is better, or does not differ significantly, that is said next, by name.

A comparison in words and as plain text: which model is best on what, and which differences are significant.

The report's answer in words: sentences for the top of the page, a short plain table for the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.language.conclusions import headline
from audio_ssl.report.numbers import finite, score
from audio_ssl.report.sections.training import collapse_sentences

Results = Sequence[Mapping[str, Any]]


def gain_sentence(results: Results, name: str = "") -> str:
    """Say all of `gain_sentences` in one string."""
    return " ".join(gain_sentences(results, name))


def gain_sentences(results: Results, name: str = "") -> list[str]:
    """Say on how many probes a model is better than every baseline, then which baselines are not behind it.

    Parameters
    ----------
    results
        Of one model, as `describe_result` gives them, each with a verdict on one baseline or more.
    name
        What the model is called where there are several.

    Examples
    --------
    >>> twin = {"baseline": "untrained", "label": "untrained twin", "low": 1.0, "over": "40 clips"}
    >>> gain_sentences([{"name": "key", "verdicts": [{**twin, "decided": True, "better": True}]}])
    ['Pretraining beats the untrained twin on the one probe, by a paired 95 % interval over clips.']
    """
    verdicts = [verdict for result in results for verdict in result["verdicts"]]
    labels = list(dict.fromkeys(str(verdict["label"]) for verdict in verdicts))
    # Only the untrained twin tells what the training gave; beside spectra alone the architecture counts, too.
    twin = any(verdict["baseline"] == "untrained" for verdict in verdicts)
    subject = name or ("Pretraining" if twin else "The model")
    better = [str(one["name"]) for one in results if all(_is(verdict, True) for verdict in one["verdicts"])]
    verb = "beats" if better or len(results) > 1 else "does not beat"
    found = [f"{subject} {verb} {_baselines(results, labels)} {_share(len(better), len(results))}, {_means(results)}."]
    if better and len(better) < len(results):
        found.append(f"It does on {one_of(better, 'and')}.")
    model = name or "the model"
    found += _others(results, labels, True, f"Better than {model}")
    return found + _others(results, labels, False, f"No statistically significant difference from {model}")


def one_of(names: Sequence[str], last: str) -> str:
    """Join names in words.

    Examples
    --------
    >>> one_of(["a", "b", "c"], "and"), one_of(["a"], "or")
    ('a, b and c', 'a')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _is(verdict: Mapping[str, Any], better: bool) -> bool:
    return bool(verdict["decided"]) and verdict["better"] is better


def _baselines(results: Results, labels: Sequence[str]) -> str:
    """Name the baselines; one that was not asked everywhere says so."""
    named = []
    for label in labels:
        asked = sum(any(verdict["label"] == label for verdict in one["verdicts"]) for one in results)
        named.append(label if asked == len(results) else f"{label} on {asked} of them")
    return f"the {named[0]}" if len(named) == 1 else f"every baseline ({', '.join(named)})"


def _share(better: int, total: int) -> str:
    if total == 1:
        return "on the one probe"
    if better == total:
        return "on both probes" if total == 2 else f"on all {total} probes"
    return f"on {better or 'none'} of {total} probes"


def _means(results: Results) -> str:
    """Say what told systems apart: paired intervals and what they are over, or separate intervals."""
    paired, apart = [], []
    for result in results:
        for verdict in result["verdicts"]:
            if finite(verdict.get("low")) is None:
                apart.append(str(result["name"]))
            else:
                # "24 speakers"
                noun = str(verdict.get("over") or "clips").partition(" ")[2] or "clips"
                paired.append(noun if noun.endswith("s") else f"{noun}s")
    if not paired:
        return "by separate 95 % intervals that do not overlap"
    several = len(paired) > 1
    text = f"by {'' if several else 'a '}paired 95 % interval{'s' if several else ''} over "
    text += one_of(list(dict.fromkeys(paired)), "or")
    if apart:
        names = one_of(list(dict.fromkeys(apart)), "and")
        text += f", and on {names} by separate ones that do not overlap"
    return text


def _others(results: Results, labels: Sequence[str], decided: bool, heading: str) -> list[str]:
    """Name the baselines that are better (`decided`), or not significantly different, each with its probes."""
    found = []
    for label in labels:
        names = [
            str(one["name"])
            for one in results
            for verdict in one["verdicts"]
            if verdict["label"] == label
            and (_is(verdict, False) if decided else not (_is(verdict, True) or _is(verdict, False)))
        ]
        if names:
            found.append(f"{label} on {one_of(names, 'and')}")
    return [f"{heading}: {'; '.join(found)}."] if found else []


MOST_COLUMNS = 100
"""Characters of a terminal's line."""
_MOST_NAME = 22


def compare_sentences(comparison: Mapping[str, Any]) -> list[str]:
    """Say which model has the best scores and which differences are statistically significant.

    Parameters
    ----------
    comparison
        Of a report's JSON, with two models or more.

    Returns
    -------
    list
        First how many probes each model is best on, then one sentence a probe.
    """
    models = comparison["systems"][: comparison["models"]]
    shared = [one for one in comparison["questions"] if sum(name in one["cells"] for name in models) > 1]
    if not shared:
        return [f"{len(models)} models, but no probe that two of them answered."]
    best = dict.fromkeys(models, 0)
    for one in shared:
        for name in _leaders(one, models):
            best[name] += 1
    counts = [
        f"{name} on {number} probe{'s' if number != 1 else ''}"
        for name, number in sorted(best.items(), key=lambda item: -item[1])
    ]
    head = f"Best score among {len(models)} models: {', '.join(counts)}."
    decided = [row for one in shared for row in one["differences"] if row["system"] in models]
    apart = sum(bool(row["apart"]) for row in decided)
    head += f" {apart} of {len(decided)} differences to {_firsts(shared)} are statistically significant."
    return [head, *(_sentence(one, models) for one in shared)]


def _leaders(question: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    values = {name: cell["value"] for name, cell in question["cells"].items() if name in models}
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return []
    top = (max if question["higher_is_better"] else min)(known.values())
    return [name for name, value in known.items() if value == top]


def _sentence(question: Mapping[str, Any], models: Sequence[str]) -> str:
    parts = [
        f"{name} {score(cell['value'], question['unit'])}" for name, cell in question["cells"].items() if name in models
    ]
    way = "higher is better" if question["higher_is_better"] else "lower is better"
    said = [
        f"{row['system']} has {'a' if row['apart'] else 'no'} statistically significant difference from "
        f"{question['first']}"
        for row in question["differences"]
        if row["system"] in models and row["apart"] is not None
    ]
    tail = f"; {', '.join(said)}" if said else ""
    return f"{question['title']}: {metric_label(question['metric'])} {', '.join(parts)} ({way}{tail})."


def score_lines(comparison: Mapping[str, Any]) -> list[str]:
    """Write the main scores as a table: a line a probe, a column a system.

    A star marks the best score of a line, a tilde one without a statistically significant difference from the line's
    first model. Where the columns need more than 100 characters, the rest follows as another table.
    """
    questions, systems = comparison.get("questions") or (), comparison.get("systems") or ()
    if not questions:
        return []
    left = [["probe", "score"]]
    for one in questions:
        label = f"{metric_label(one['metric'])} {'↑' if one['higher_is_better'] else '↓'}"
        left.append([_short(one["name"], 28), _short(label, 22)])
    columns = [
        [_short(name.replace("untrained twin of ", "untrained "), _MOST_NAME), *(_cell(one, name) for one in questions)]
        for name in systems
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
    legend = {"*": "* best of its line", "~": f"~ no statistically significant difference from {_firsts(questions)}"}
    return lines + (["; ".join(legend[mark] for mark in marks)] if marks else [])


def _firsts(questions: Sequence[Mapping[str, Any]]) -> str:
    firsts = {str(one["first"]) for one in questions}
    return _short(firsts.pop(), _MOST_NAME) if len(firsts) == 1 else "the first model"


def _cell(question: Mapping[str, Any], name: str) -> str:
    cell = question["cells"].get(name)
    if cell is None:
        return ""
    near = any(row["system"] == name and row["apart"] is False for row in question["differences"])
    marks = ("*" if cell["best"] else "") + ("~" if near else "")
    return f"{score(cell['value'], question['unit'])}{f' {marks}' if marks else ''}"


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


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
