"""A probe's result as plain data: the model beside its baselines, what their difference says, single clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.answers import confused_pairs, confusion, examples
from audio_ssl.report.difference import Difference
from audio_ssl.report.grid import chosen_runs, describe_grid
from audio_ssl.report.inputs import Result, ScoredSystem
from audio_ssl.report.numbers import finite, score, signed
from audio_ssl.report.paired import Answers, compare
from audio_ssl.report.runs import count_reasons, relative
from audio_ssl.report.trials import describe_trials
from audio_ssl.report.values import describe_values

_LABELS = {
    "model": "this model",
    "untrained": "untrained twin",
    "logmel": "log-mel frames",
    "cqt": "CQT frames",
    "librosa": "librosa features",
}


def describe_result(result: Result, home: Path) -> dict[str, Any]:
    """Turn a probe's result into the JSON of a report.

    Parameters
    ----------
    result
        As read from its folder.
    home
        The report's folder; paths are given relative to it where they lie below it.
    """
    scores = result.model.scores
    model, task = result.model, scores.get("task")
    said = (model.predictions, task, model.classes)
    main = str(scores.get("main_metric") or next(iter(scores["metrics"]), ""))
    metric = scores["metrics"].get(main, {})
    order = sorted(result.baselines, key=lambda one: (one.name != "untrained", one.name != "logmel", one.name))
    return {
        "name": str(scores.get("probe") or result.path.name),
        "path": relative(result.path, home),
        "task": task,
        "model": scores.get("model"),
        "model_fingerprint": scores.get("model_fingerprint"),
        "main_metric": main,
        "unit": metric.get("unit") or "",
        "higher_is_better": bool(metric.get("higher_is_better", True)),
        "systems": [_describe_system(one, home) for one in (result.model, *order)],
        "verdicts": [_verdict(result.model, one, main) for one in order],
        "counts": scores.get("counts") or {},
        "excluded": scores.get("excluded") or [],
        "errors": count_reasons(result.errors),
        "signature": scores.get("signature"),
        "decoder": scores.get("decoder"),
        "folds": scores.get("folds") or 0,
        "warnings": [str(one) for one in scores.get("warnings") or ()],
        "grid": describe_grid(scores),
        "confusion": confusion(*said),
        "confused_pairs": confused_pairs(*said),
        "values": describe_values(model.predictions, model.classes, scores["metrics"]),
        "trials": describe_trials(model.trials),
        "examples": examples(model.predictions, main, task, model.classes),
        "provenance": result.provenance,
    }


def label_of(name: str) -> str:
    """Say what a system is in words.

    Examples
    --------
    >>> label_of("untrained"), label_of("mfcc")
    ('untrained twin', 'mfcc')
    """
    return _LABELS.get(name, name)


def answers_of(system: ScoredSystem) -> Answers:
    """Return what a system said, to be compared."""
    scores = system.scores
    return Answers(
        system.predictions,
        system.classes,
        system.trials,
        scores.get("tokenizer"),
        scores.get("interval_column"),
        system.comparisons,
    )


def link_to(path: Path | None, home: Path) -> str | None:
    """Return the way from the report's folder to a file, for a link; None where there is none."""
    if path is None:
        return None
    try:
        return Path(os.path.relpath(path.resolve(), home.resolve())).as_posix()
    except ValueError:  # Another drive of Windows: no relative link leads there.
        return None


def _describe_system(system: ScoredSystem, home: Path) -> dict[str, Any]:
    scores = system.scores
    cost = scores.get("cost")
    return {
        "system": system.name,
        "label": label_of(system.name),
        "fingerprint": scores.get("model_fingerprint"),
        "predictions": link_to(system.file, home),
        "metrics": scores["metrics"],
        "layers": scores.get("layers") or [],
        "chosen_layer": scores.get("chosen_layer"),
        "layer_weights": scores.get("layer_weights"),
        "history": scores.get("history") or [],
        "chosen": [dict(one) for one in chosen_runs(scores)],
        "cost": cost if isinstance(cost, dict) else {},
        "seconds_taken": finite(scores.get("seconds_taken")),
    }


def _verdict(model: ScoredSystem, baseline: ScoredSystem, main: str) -> dict[str, Any]:
    """Compare one baseline with the model on the main metric and say in words what that shows.

    The difference is tested on the same clips (paired); where the metric is no sum over clips, or the clips are not
    the same, two intervals that do not overlap stand in for it, which is the more cautious reading.
    """
    ours, theirs = model.scores["metrics"].get(main, {}), baseline.scores["metrics"].get(main, {})
    label = label_of(baseline.name)
    higher = bool(ours.get("higher_is_better", True))
    unit = ours.get("unit") or ""
    value, other = finite(ours.get("value")), finite(theirs.get("value"))
    out: dict[str, Any] = {"baseline": baseline.name, "label": label, "difference": None, "low": None, "high": None}
    if value is None or other is None:
        text = f"No {metric_label(main)} was measured for both this model and the {label}."
        return {**out, "better": None, "decided": False, "text": text}
    paired = compare(answers_of(model), answers_of(baseline), main)
    difference = paired.value if paired else value - other
    better = None if difference == 0 else (difference > 0) == higher
    decided = _decided(paired, ours, theirs)
    text = (
        f"{metric_label(main)} {score(value, unit)} against {score(other, unit)} for the {label} "
        f"({signed(difference, unit)}{_between(paired, unit)}): {_judgement(better, decided, paired)}."
    )
    return {
        **out,
        "difference": difference,
        "low": paired.low if paired else None,
        "high": paired.high if paired else None,
        "clips": paired.clips if paired else None,
        "over": paired.unit if paired else None,
        "better": better,
        "decided": decided,
        "text": text,
    }


def _decided(paired: Difference | None, ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    if paired:
        return paired.low > 0 or paired.high < 0
    ends = [finite(one.get(end)) for one in (ours, theirs) for end in ("low", "high")]
    if any(end is None for end in ends):
        return False
    low, high, other_low, other_high = (end for end in ends if end is not None)
    return low > other_high or high < other_low


def _between(paired: Difference | None, unit: str) -> str:
    if not paired:
        return ""
    plain = "points" if unit else ""
    return f", 95 % interval {signed(paired.low, plain)} to {signed(paired.high, plain)} over {paired.unit}"


def _judgement(better: bool | None, decided: bool, paired: Difference | None) -> str:
    if better is None:
        return "no difference"
    side = "better" if better else "worse"
    if decided:
        return f"{side}, beyond what chance in the test set explains"
    why = "the interval holds zero" if paired else "their intervals overlap or are missing"
    return f"{side} here, but {why}, so this test set cannot tell them apart"
