"""Models beside one another: one row a model or baseline, one column a probe, and each difference to the first model.

Two results belong to one question where probe and main metric have the same names. Two systems are the same where
their fingerprints are, so a baseline that comes with every result stands in the table once.

Systems over all probes: mean ranks, and the SUPERB score where probes are SUPERB's tasks.

Where on the page things are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.inputs import Result, ScoredSystem
from audio_ssl.report.numbers import finite
from audio_ssl.report.paired import Difference, compare, comparisons_of, is_zero
from audio_ssl.report.probe_summary import answers_of, label_of, link_to

_Key = tuple[str, str, int]
"""Kind (model, untrained, logmel …), fingerprint, and how often the same was seen for one probe before."""


def describe_comparison(results: Sequence[Result], home: Path) -> dict[str, Any]:
    """Put all systems of all results beside one another.

    Parameters
    ----------
    results
        As read from their folders, in the order they are to be shown.
    home
        The report's folder, from which links lead to the predictions.

    Returns
    -------
    dict
        ``systems``: names of rows, models first. ``models``: how many of them are models. ``of_results``: of each
        result, its systems' rows. ``questions``: for each, ``name, title, metric, unit, higher_is_better, results``
        (positions), ``warnings``, ``cells`` by system (``value, low, high, best, predictions``) and ``differences`` to
        ``first``. ``ranks``, ``superb``: see `describe_ranks`, `describe_superb`.
    """
    keys = _keys(results)
    names = _names(results, keys)
    questions: dict[tuple[str, str], list[int]] = {}
    for index, result in enumerate(results):
        questions.setdefault((name_of(result), main_of(result)), []).append(index)
    rows = _order(dict.fromkeys(key for one in keys for key in one))
    several = len({name for name, _ in questions}) < len(questions)
    systems = [names[key] for key in rows]
    asked = [
        {
            **_question([results[index] for index in places], [keys[index] for index in places], names, home),
            "title": f"{name} ({metric_label(main)})" if several else name,
            "results": places,
        }
        for (name, main), places in questions.items()
    ]
    for one in asked:
        one["cells"] = {name: one["cells"][name] for name in systems if name in one["cells"]}
        one["differences"].sort(key=lambda row: systems.index(row["system"]))
    return {
        "systems": systems,
        "models": sum(key[0] == "model" for key in rows),
        "of_results": [
            {system.name: names[key] for system, key in zip(_systems(result), row, strict=True)}
            for result, row in zip(results, keys, strict=True)
        ],
        "questions": asked,
        "ranks": describe_ranks(systems, asked),
        "superb": describe_superb(_metrics(results, keys, names)),
    }


def _metrics(
    results: Sequence[Result], keys: Sequence[Sequence[_Key]], names: Mapping[_Key, str]
) -> dict[str, dict[str, Any]]:
    """Return all scores by system and probe."""
    found: dict[str, dict[str, Any]] = {}
    for result, row in zip(results, keys, strict=True):
        for key, system in zip(row, _systems(result), strict=True):
            found.setdefault(names[key], {}).setdefault(name_of(result), system.scores["metrics"])
    return found


def name_of(result: Result) -> str:
    """Return the probe's name."""
    return str(result.model.scores.get("probe") or result.path.name)


def main_of(result: Result) -> str:
    """Return the name of the main metric."""
    scores = result.model.scores
    return str(scores.get("main_metric") or next(iter(scores["metrics"]), ""))


def _systems(result: Result) -> tuple[ScoredSystem, ...]:
    return (result.model, *result.baselines)


def _keys(results: Sequence[Result]) -> list[list[_Key]]:
    """Return a key for each system of each result; the model's comes first."""
    seen: dict[tuple[str, str, str, str], int] = {}
    out = []
    for result in results:
        row = []
        for system in _systems(result):
            mark = str(system.scores.get("model_fingerprint") or system.scores.get("model") or result.path)
            kind = "model" if system is result.model else system.name
            again = 0
            if kind == "model":
                asked = (kind, mark, name_of(result), main_of(result))
                again = seen.get(asked, 0)
                seen[asked] = again + 1
            row.append((kind, mark, again))
        out.append(row)
    return out


def _names(results: Sequence[Result], keys: Sequence[Sequence[_Key]]) -> dict[_Key, str]:
    """Name each row: as short as the models' names allow, and no two alike."""
    full: dict[_Key, str] = {}
    owners: dict[_Key, _Key] = {}
    for result, row in zip(results, keys, strict=True):
        full.setdefault(row[0], str(result.model.scores.get("model") or result.path.name))
        for key in row[1:]:
            owners.setdefault(key, row[0])
    names = dict(zip(full, shorten(list(full.values())), strict=True))
    # Numbered before the baselines take their names.
    names = _numbered(names)
    kinds = [kind for kind, *_ in owners]
    for key, owner in owners.items():
        alone = kinds.count(key[0]) == 1
        names[key] = label_of(key[0]) if alone else f"{label_of(key[0])} of {names[owner]}"
    return _numbered(names)


def _numbered(names: Mapping[_Key, str]) -> dict[_Key, str]:
    """Add numbers to names that occur more than once, from the second on."""
    taken: dict[str, int] = {}
    out = {}
    for key, name in names.items():
        taken[name] = taken.get(name, 0) + 1
        out[key] = name if taken[name] == 1 else f"{name} ({taken[name]})"
    return out


def shorten(names: Sequence[str]) -> list[str]:
    """Return the last parts of paths, as many as tell them apart; names that are no paths are kept.

    Examples
    --------
    >>> shorten(["runs/a/model", "runs/b/model"]), shorten(["runs/mert", "logmel"])
    (['a/model', 'b/model'], ['mert', 'logmel'])
    """
    parts = [PurePath(name).parts or (name,) for name in names]
    for length in range(1, max(map(len, parts), default=1)):
        short = ["/".join(one[-length:]) for one in parts]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)


def _order(keys: Mapping[_Key, None]) -> list[_Key]:
    kinds = ["model", "untrained", "logmel"]
    return sorted(keys, key=lambda key: (kinds.index(key[0]) if key[0] in kinds else len(kinds), key[0]))


def _question(
    results: Sequence[Result], keys: Sequence[Sequence[_Key]], names: Mapping[_Key, str], home: Path
) -> dict[str, Any]:
    main = main_of(results[0])
    found: dict[str, ScoredSystem] = {}
    for result, row in zip(results, keys, strict=True):
        for key, system in zip(row, _systems(result), strict=True):
            found.setdefault(names[key], system)
    first_name, first = next(iter(found.items()))
    measured = _metric(first, main)
    higher = bool(measured.get("higher_is_better", True))
    cells = {name: _cell(system, main, home) for name, system in found.items()}
    values = [cell["value"] for cell in cells.values() if cell["value"] is not None]
    best = (max(values) if higher else min(values)) if values else None
    for cell in cells.values():
        cell["best"] = len(values) > 1 and cell["value"] == best
    return {
        "name": name_of(results[0]),
        "metric": main,
        "unit": measured.get("unit") or "",
        "higher_is_better": higher,
        "warnings": _warnings(results),
        "cells": cells,
        "first": first_name,
        "differences": [
            {"system": name, **_difference(system, first, main, higher)}
            for name, system in found.items()
            if name != first_name
        ],
    }


def _metric(system: ScoredSystem, main: str) -> Mapping[str, Any]:
    found = system.scores["metrics"].get(main)
    return found if isinstance(found, Mapping) else {}


def _cell(system: ScoredSystem, main: str, home: Path) -> dict[str, Any]:
    metric = _metric(system, main)
    ends = {key: finite(metric.get(key)) for key in ("value", "low", "high")}
    return {**ends, "best": False, "predictions": link_to(system.file, home)}


def _difference(system: ScoredSystem, first: ScoredSystem, main: str, higher: bool) -> dict[str, Any]:
    """Compare a system with the first model: on the same clips where that can be, else by their intervals."""
    ours, theirs = _metric(system, main), _metric(first, main)
    value, other = finite(ours.get("value")), finite(theirs.get("value"))
    paired = compare(answers_of(system), answers_of(first), main)
    difference = paired.value if paired else None if value is None or other is None else value - other
    return {
        "difference": difference,
        "low": paired.low if paired else None,
        "high": paired.high if paired else None,
        "clips": paired.clips if paired else None,
        "left_out": _left_out(system, first, paired, main),
        "over": paired.unit if paired else None,
        "apart": _apart(paired, ours, theirs),
        "better": None if not difference else (difference > 0) == higher,
    }


def _left_out(system: ScoredSystem, first: ScoredSystem, paired: Difference | None, main: str) -> int:
    """Return how many clips (or trials) only one of the two predicted."""
    if paired is None:
        return 0
    return sum(len(_answered(one, main)) for one in (system, first)) - 2 * paired.clips


def _answered(system: ScoredSystem, main: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows that a paired difference of a metric is made of."""
    if main == "eer":
        return system.trials
    return comparisons_of(system.comparisons, main) if is_zero(main) else system.predictions


def _apart(paired: Difference | None, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool | None:
    """Return whether two systems differ significantly; None where nothing was tested."""
    if paired:
        return paired.low > 0 or paired.high < 0
    ends = [finite(one.get(end)) for one in (ours, theirs) for end in ("low", "high")]
    if any(end is None for end in ends):
        return None
    low, high, other_low, other_high = (end for end in ends if end is not None)
    return low > other_high or high < other_low


def _warnings(results: Sequence[Result]) -> list[str]:
    found = []
    for key, noun in (("signature", "score signatures"), ("decoder", "decoders")):
        values = dict.fromkeys(str(result.model.scores.get(key)) for result in results)
        if len(values) > 1:
            found.append(f"{name_of(results[0])}: the models' {noun} differ: {'; '.join(values)}.")
    return found


SUPERB_TASKS = {
    "phones_superb": "pr",
    "asr_superb": "asr",
    "keyword_superb": "ks",
    "speaker_id_superb": "sid",
    "speaker_verification_superb": "asv",
    "intent_superb": "ic",
    "slots_superb": "sf",
    "emotion_superb": "er",
}
"""Probes that ask SUPERB's questions in its way, and its names for them."""


def describe_ranks(systems: Sequence[str], questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rank systems over the questions that all of them answered.

    Parameters
    ----------
    systems
        Names of rows.
    questions
        Of a comparison: ``title, higher_is_better, cells``.

    Returns
    -------
    list
        ``system, mean_rank, borda, questions`` (how many), the best first; empty where fewer than two systems share
        fewer than two questions. Systems that answered less than the first one are left out.
    """
    from audio_ssl.metrics.leaderboards import rank_systems

    if not systems:
        return []
    asked = [one for one in questions if _value(one, systems[0]) is not None]
    whole = [name for name in systems if all(_value(one, name) is not None for one in asked)]
    if len(asked) < 2 or len(whole) < 2:
        return []
    table = {name: {one["title"]: float(_value(one, name) or 0.0) for one in asked} for name in whole}
    ranked = rank_systems(table, {one["title"]: bool(one["higher_is_better"]) for one in asked})
    return [
        {"system": name, "mean_rank": row.mean_rank, "borda": row.borda, "questions": len(asked)}
        for name, row in ranked.items()
    ]


def describe_superb(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Give each system's SUPERB score over the SUPERB tasks that it has.

    Parameters
    ----------
    metrics
        By system and probe: the scores of ``scores.json``.

    Returns
    -------
    list
        ``system, score, tasks, missing``; empty where no system has a probe of SUPERB's.
    """
    from audio_ssl.metrics.leaderboards import OCTOBER_2021, superb_score

    rows = []
    for system, probes in metrics.items():
        found: dict[str, dict[str, float]] = {}
        for probe, scores in probes.items():
            task = SUPERB_TASKS.get(probe)
            if task is None:
                continue
            values = {name: finite((scores.get(name) or {}).get("value")) for name in OCTOBER_2021[task]}
            known = {name: value for name, value in values.items() if value is not None}
            if len(known) == len(values):
                found[task] = known
        if found:
            try:
                score = superb_score(found)
            except UserError:
                continue
            rows.append({"system": system, "score": score.value, "tasks": sorted(found), "missing": score.missing})
    return rows


def _value(question: Mapping[str, Any], name: str) -> float | None:
    return finite((question["cells"].get(name) or {}).get("value"))


def question_id(question: Mapping[str, Any]) -> str:
    """Return where on the page a question is answered."""
    return f"question-{question['results'][0]}"
