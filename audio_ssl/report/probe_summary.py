"""A probe's result as plain data: the model beside its baselines, what their difference says, single clips.

The runs of a probe's heads, one for each layer, learning rate and seed, as a grid of validation scores.

Verification: how the scores of same and different pairs are spread, and where the two errors are equal.

Tasks that ask for numbers: reference and answer of each clip, number by number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio_ssl.metrics.families.verification import equal_error
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.clips import confused_pairs, confusion, examples
from audio_ssl.report.inputs import Result, ScoredSystem
from audio_ssl.report.numbers import finite, is_number, score, signed
from audio_ssl.report.paired import Answers, Difference, compare
from audio_ssl.report.run_summary import count_reasons, relative

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


def describe_grid(scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """Put the validation scores of all runs into a grid of layers and learning rates.

    Parameters
    ----------
    scores
        The content of ``scores.json``; older ones have no ``runs``.

    Returns
    -------
    dict or None
        ``layers`` (numbers, or "mix"), ``lrs``, ``valid[lr][layer]`` (mean over seeds and folds, None where every run
        diverged or there was none), ``diverged[lr][layer]`` (how many), ``seeds``, ``folds``, and ``chosen`` (pairs of
        positions, learning rate and layer). None where there are not at least two cells.
    """
    runs = [run for run in scores.get("runs") or () if isinstance(run, Mapping) and finite(run.get("lr")) is not None]
    layers = sorted({_layer(run) for run in runs}, key=lambda one: (isinstance(one, str), one))
    lrs = sorted({float(run["lr"]) for run in runs})
    if len(layers) * len(lrs) < 2:
        return None
    ways = [one.get("whiten", False) for one in chosen_runs(scores)]
    cells: dict[tuple[float, Any], list[Mapping[str, Any]]] = {}
    for run in runs:
        fold = run.get("fold") or 0
        # Where layers are asked both standardised and whitened, the grid is of the way that was chosen.
        if fold < len(ways) and run.get("whiten", False) is not ways[fold]:
            continue
        cells.setdefault((float(run["lr"]), _layer(run)), []).append(run)
    return {
        "layers": layers,
        "lrs": lrs,
        "valid": [[_mean(cells.get((lr, layer), ())) for layer in layers] for lr in lrs],
        "diverged": [[sum(bool(r.get("diverged")) for r in cells.get((lr, one), ())) for one in layers] for lr in lrs],
        "seeds": len({run.get("seed") for run in runs}),
        "folds": len({run["fold"] for run in runs if run.get("fold") is not None}),
        "chosen": [
            [lrs.index(float(one["lr"])), layers.index(_layer(one))]
            for one in chosen_runs(scores)
            if finite(one.get("lr")) in lrs and _layer(one) in layers
        ],
    }


def chosen_runs(scores: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what was chosen: one ``{layer, lr, seed}``, or one a fold; nothing of older results."""
    chosen = scores.get("chosen")
    rows = chosen if isinstance(chosen, list) else [chosen]
    return [row for row in rows if isinstance(row, Mapping)]


def _layer(run: Mapping[str, Any]) -> Any:
    layer = finite(run.get("layer"))
    return "mix" if layer is None else int(layer)


def _mean(runs: Sequence[Mapping[str, Any]]) -> float | None:
    values = [value for run in runs if not run.get("diverged") and (value := finite(run.get("valid"))) is not None]
    return sum(values) / len(values) if values else None


_BINS = 24


def describe_trials(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Count scores of same and different pairs in bins.

    Parameters
    ----------
    rows
        ``same, score`` of each trial.

    Returns
    -------
    dict or None
        ``edges [bin + 1]``, ``same [bin]`` and ``different [bin]`` (shares of their kind), ``n_same``, ``n_different``,
        ``eer`` in percent and its ``threshold``. None where one kind is missing.
    """
    rows = [row for row in rows if isinstance(row.get("score"), int | float) and np.isfinite(row["score"])]
    scores = np.array([row["score"] for row in rows], np.float64)
    same = np.array([bool(row["same"]) for row in rows])
    if not rows or same.all() or not same.any():
        return None
    edges = np.histogram_bin_edges(scores, _BINS)
    rate, threshold = equal_error(scores, same)
    shares = {
        name: (np.histogram(scores[kind], edges)[0] / kind.sum()).round(5).tolist()
        for name, kind in (("same", same), ("different", ~same))
    }
    return {
        "edges": edges.round(6).tolist(),
        **shares,
        "n_same": int(same.sum()),
        "n_different": int((~same).sum()),
        "eer": round(rate, 4),
        "threshold": round(threshold, 6),
    }


_MOST_POINTS = 400
_MOST_VALUES = 4


def describe_values(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], metrics: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Pair references with answers.

    Parameters
    ----------
    rows
        Predictions whose ``reference`` and ``hypothesis`` are lists of numbers, as many each time.
    names
        Of the numbers.
    metrics
        The probe's scores; only probes with ``r2`` ask for values (lists of times are numbers, too).

    Returns
    -------
    list
        For each of the first four numbers: ``name``, ``points [[reference, answer]]`` (at most 400, evenly spread) and
        ``clips``, how many there are in all.
    """
    if "r2" not in metrics or not rows:
        return []
    width = len(names) or _width(rows[0].get("reference"))
    kept = [row for row in rows if _width(row.get("reference")) == _width(row.get("hypothesis")) == width]
    out = []
    for place in range(min(width, _MOST_VALUES)):
        pairs = [(row["reference"][place], row["hypothesis"][place]) for row in kept]
        points = [[float(f"{x:.5g}"), float(f"{y:.5g}")] for x, y in pairs if is_number(x) and is_number(y)]
        if len(points) > 1:
            step = max(1.0, len(points) / _MOST_POINTS)
            spread = [points[int(index * step)] for index in range(min(len(points), _MOST_POINTS))]
            name = names[place] if place < len(names) else f"value {place + 1}"
            out.append({"name": name, "points": spread, "clips": len(points)})
    return out


def _width(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0
