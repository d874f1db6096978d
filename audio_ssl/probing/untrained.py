"""Questions without training: every layer is compared on the validation clips, the best of them on the test clips.

How well each layer tells an attribute of speakers, asked in folds of the task's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource
from audio_ssl.metrics.registry import described_metric
from audio_ssl.metrics.resampling import Interval
from audio_ssl.probing.clips import ClipsBySplit, ExcludedClip
from audio_ssl.probing.features import Bank, BankCache, Refuse
from audio_ssl.probing.probe import Probe
from audio_ssl.probing.result import (
    Said,
    counts,
    finish,
    head_line,
    listed,
    log,
    peak_memory,
    write_predictions,
    write_table,
)
from audio_ssl.probing.sweep import open_bank
from audio_ssl.probing.task import CompareTask, Comparisons, Task
from audio_ssl.probing.tasks.attribute import Answered, Attribute


def compare_frames(
    folder: Path,
    said: Said,
    question: Probe,
    source: FeatureSource,
    parts: ClipsBySplit,
    store: Path,
    cache: BankCache,
    refuse: Refuse,
) -> None:
    """Answer, and write ``comparisons.parquet`` and ``scores.json``.

    Raises
    ------
    UserError
        If a split has no clip that can be used, or a layer is none of the source's.
    """
    started, task = time.monotonic(), cast(CompareTask, said.task)
    excluded: list[ExcludedClip] = []
    split_of = {clip.id: split for split, clips in parts.items() for clip in clips}

    def refused(clip: Clip, reason: str) -> None:
        refuse(clip, reason)
        excluded.append(ExcludedClip(clip.id, split_of[clip.id], reason))

    needed: ClipsBySplit = {"train": [], "valid": parts["valid"], "test": parts["test"]}
    bank = open_bank(question, source, False, needed, store, cache, refused)
    needed = {split: [clip for clip in clips if clip in bank] for split, clips in needed.items()}
    for split in ("valid", "test"):
        if not needed[split]:
            raise UserError(f"no clip of the {split} split can be used: {excluded[0].reason}")
    layers = layers_of(question, source)
    sign = 1 if described_metric(task.metrics[0]).higher_is_better else -1
    values: dict[int, float] = {}
    with Progress(f"{task.kind} of {source.name}", total=len(layers) + 1) as progress:
        for layer in layers:
            found = task.compare(needed["valid"], _frames(bank, layer), source.grid)
            values[layer] = found.scores[task.metrics[0]].value
            progress.advance()
        usable = [layer for layer in layers if values[layer] == values[layer]]
        if not usable:
            raise UserError(f"the valid split has nothing to compare for the task {task.kind}")
        best = max(usable, key=lambda layer: sign * values[layer])
        result: Comparisons = task.compare(needed["test"], _frames(bank, best), source.grid)
        progress.advance()
    scores = _scores(result.scores)
    write_table(folder / "comparisons.parquet", result.rows)
    taken = time.monotonic() - started
    answer: dict[str, Any] = {
        **head_line(said, source),
        "metrics": scores,
        "interval_unit": result.unit,
        "folds": 0,
        "runs": [],
        "chosen": {"layer": best, "lr": None, "seed": None},
        "chosen_layer": best,
        "layers": [
            {"layer": layer, "metric": task.metrics[0], "valid": value, "low": None, "high": None, "lr": None}
            for layer, value in values.items()
        ],
        "layer_weights": None,
        "history": [],
        "decoder": None,
        "counts": counts([needed]),
        "excluded": listed([*said.excluded, *excluded]),
        "warnings": [],
        "cost": {
            "extract_seconds": bank.seconds_taken,
            "fit_seconds": 0.0,
            "predict_seconds": taken - bank.seconds_taken,
            "parameters": 0,
            "peak_memory_bytes": peak_memory(),
            "audio_seconds": sum(clip.seconds for clips in needed.values() for clip in clips),
        },
        "seconds_taken": taken,
    }
    finish(folder, answer)
    log(said, source, scores)


def layers_of(question: Probe, source: FeatureSource) -> list[int]:
    """Return the numbers of the layers that are asked; UserError for a mix, or one that the source does not have."""
    asked = question.layers or ("each",)
    if "mix" in asked:
        raise UserError("a mix of layers is learned, and this task has no training", where="$.layers")
    if "each" in asked:
        return list(range(source.num_layers))
    layers = [source.num_layers - 1 if one == "last" else cast(int, one) for one in asked]
    if source.num_layers == 1:
        return [0]
    for layer in layers:
        if not 0 <= layer < source.num_layers:
            raise UserError(f"`{source.name}` has layers 0 to {source.num_layers - 1}, not {layer}", where="$.layers")
    return layers


def _frames(bank: Bank, layer: int) -> Callable[[Clip], Tensor]:
    return lambda clip: bank.one(clip)[layer]


def ask_layers(
    folder: Path,
    said: Said,
    question: Probe,
    source: FeatureSource,
    parts: ClipsBySplit,
    store: Path,
    cache: BankCache,
    refuse: Refuse,
) -> None:
    """Answer, and write ``predictions.parquet`` (of the layers that the folds chose) and ``scores.json``.

    Raises
    ------
    UserError
        If fewer than two values have enough speakers, a feature is not finite, or a layer is none of the source's.
    """
    started, task = time.monotonic(), cast(Attribute, said.task)
    excluded: list[ExcludedClip] = []

    def refused(clip: Clip, reason: str) -> None:
        refuse(clip, reason)
        excluded.append(ExcludedClip(clip.id, "fold", reason))

    layers = layers_of(question, source)
    bank = open_bank(question, source, True, parts, store, cache, refused)
    # Once more: clips that cannot be read may have been a value's third speaker.
    clips, left = task.usable([clip for clip in parts["test"] if clip in bank])
    excluded += [ExcludedClip(clip.id, "fold", reason) for clip, reason in left]
    values = bank.batch(clips).values[:, :, 0]
    if not bool(torch.isfinite(values).all()):
        raise UserError("a feature is not finite", where=source.name)

    def features(layer: int) -> Float[Tensor, "clip dim"]:
        return values[layer]

    asked = time.monotonic()
    with Progress(f"{task.column} in the layers of {source.name}", total=len(layers)) as progress:
        found = task.answer(clips, layers, features, progress.advance)
    scores = _scores(found.metrics)
    write_predictions(folder / "predictions.parquet", cast(Task, task), clips, list(found.scores))
    answer: dict[str, Any] = {
        **head_line(said, source),
        "metrics": scores,
        **_told(task, found),
        "counts": counts([{"train": [], "valid": [], "test": clips}]),
        "excluded": listed([*said.excluded, *excluded]),
        "representation": {
            "attribute": task.column,
            "metric": task.metrics[0],
            "layers": [vars(one) for one in found.layers],
            "chosen": found.chosen,
            **{key: scores[task.metrics[0]][key] for key in ("value", "low", "high")},
            "speakers": len({clip.speaker for clip in clips}),
            "clips": len(clips),
            **found.about,
        },
        "cost": {
            "extract_seconds": bank.seconds_taken,
            "fit_seconds": time.monotonic() - asked,
            "predict_seconds": 0.0,
            "parameters": 0,
            "peak_memory_bytes": peak_memory(),
            "audio_seconds": sum(clip.seconds for clip in clips),
        },
        "seconds_taken": time.monotonic() - started,
    }
    finish(folder, answer)
    log(said, source, scores)


def _scores(found: Mapping[str, Interval]) -> dict[str, dict[str, Any]]:
    """Return scores as ``scores.json`` has them."""
    scores = {}
    for name, interval in found.items():
        metric = described_metric(name)
        scores[name] = {**interval._asdict(), "higher_is_better": metric.higher_is_better, "unit": metric.unit}
    return scores


def _told(task: Attribute, found: Answered) -> dict[str, Any]:
    """Return the layers as other probes have theirs; there is no search, and no head of one layer."""
    warning = found.about["warning"]
    return {
        "interval_unit": "speakers",
        "folds": found.about["folds"],
        "runs": [],
        "chosen": [{"layer": layer, "lr": None, "seed": None} for layer in found.chosen],
        "chosen_layer": None,
        "layers": [
            {"layer": one.layer, "metric": task.metrics[0], "valid": one.value, "low": None, "high": None, "lr": None}
            for one in found.layers
        ],
        "layer_weights": None,
        "history": [],
        "decoder": None,
        "warnings": [f"{task.column}: {warning}"] if warning else [],
    }
