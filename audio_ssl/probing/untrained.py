"""Questions without training: what the frames of each layer say by themselves.

Either the layers are compared on the validation clips and the best is scored on the test clips (ABX, spoken terms), or
an attribute of speakers is read from each layer, in folds of the task's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.artifacts.result import ExcludedClip, LayerPoint, MetricResult, ProbeCost, ProbeScores, SelectedRun
from audio_ssl.artifacts.result_tables import COMPARISONS_FILE, PREDICTIONS_FILE, write_rows
from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource
from audio_ssl.metrics.registry import described_metric
from audio_ssl.metrics.resampling import Interval
from audio_ssl.probing.clips import ClipsBySplit
from audio_ssl.probing.features import Bank, BankCache, Refuse
from audio_ssl.probing.probe import Probe
from audio_ssl.probing.result import (
    ProbeContext,
    begin_scores,
    each_once,
    finish,
    peak_memory,
    split_sizes,
    write_predictions,
)
from audio_ssl.probing.sweep import open_bank
from audio_ssl.probing.task import CompareTask, LayerTask


def answer_untrained(
    folder: Path,
    context: ProbeContext,
    question: Probe,
    source: FeatureSource,
    parts: ClipsBySplit,
    store: Path,
    cache: BankCache,
    refuse: Refuse,
) -> None:
    """Score one system without training, and write its table and ``scores.json``.

    Raises
    ------
    UserError
        If a split has no clip that can be used, a layer is none of the source's, a feature is not finite, or fewer than
        two values of an attribute have enough speakers.
    """
    started, task = time.monotonic(), context.task
    excluded: list[ExcludedClip] = []
    in_folds = isinstance(task, LayerTask)
    split_of = {clip.id: "fold" if in_folds else split for split, clips in parts.items() for clip in clips}

    def refused(clip: Clip, reason: str) -> None:
        refuse(clip, reason)
        excluded.append(ExcludedClip(clip.id, split_of[clip.id], reason))

    layers = layers_of(question, source)
    bank = open_bank(question, source, in_folds, {**parts, "train": []}, store, cache, refused)
    used = {split: [clip for clip in clips if clip in bank] for split, clips in {**parts, "train": []}.items()}
    if isinstance(task, LayerTask):
        # Once more: clips that cannot be read may have been a value's third speaker.
        used["test"], left = task.usable(used["test"])
        excluded += [ExcludedClip(clip.id, "fold", reason) for clip, reason in left]
        found = _read_attribute(folder, context, task, source, bank, used["test"], layers)
    else:
        for split in ("valid", "test"):
            if not used[split]:
                raise UserError(f"no clip of the {split} split can be used: {excluded[0].reason}")
        found = _compare_layers(folder, context, cast(CompareTask, task), source, bank, used, layers)
    taken = time.monotonic() - started
    compared = taken - bank.seconds_taken
    fit_seconds, predict_seconds = (compared, 0.0) if in_folds else (0.0, compared)
    audio_seconds = sum(clip.seconds for clips in used.values() for clip in clips)
    scores = replace(
        found,
        counts=split_sizes([used]),
        excluded=each_once([*context.excluded, *excluded]),
        cost=ProbeCost(
            fit_seconds,
            predict_seconds,
            bank.seconds_taken,
            peak_memory_bytes=peak_memory(),
            audio_seconds=audio_seconds,
        ),
        seconds_taken=taken,
    )
    finish(folder, scores)


def layers_of(question: Probe, source: FeatureSource) -> list[int]:
    """Return the numbers of the layers that are compared; UserError for a mix, or one that the source does not have."""
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


def _compare_layers(
    folder: Path,
    context: ProbeContext,
    task: CompareTask,
    source: FeatureSource,
    bank: Bank,
    used: ClipsBySplit,
    layers: list[int],
) -> ProbeScores:
    """Select a layer on the validation clips and score it on the test clips; write ``comparisons.parquet``."""
    metric = task.metrics[0]
    sign = 1 if described_metric(metric).higher_is_better else -1
    values: dict[int, float] = {}
    with Progress(f"{task.kind} of {source.name}", total=len(layers) + 1) as progress:
        for layer in layers:
            values[layer] = task.compare(used["valid"], _frames(bank, layer), source.grid).scores[metric].value
            progress.advance()
        usable = [layer for layer in layers if values[layer] == values[layer]]
        if not usable:
            raise UserError(f"the valid split has nothing to compare for the task {task.kind}")
        best = max(usable, key=lambda layer: sign * values[layer])
        result = task.compare(used["test"], _frames(bank, best), source.grid)
        progress.advance()
    write_rows(folder / COMPARISONS_FILE, result.rows)
    return replace(
        begin_scores(context, source, _described(result.scores)),
        interval_unit=result.unit,
        chosen=SelectedRun(best),
        chosen_layer=best,
        layers=tuple(LayerPoint(layer, metric, value) for layer, value in values.items()),
    )


def _frames(bank: Bank, layer: int) -> Callable[[Clip], Tensor]:
    return lambda clip: bank.one(clip)[layer]


def _described(scores: Mapping[str, Interval]) -> dict[str, MetricResult]:
    """Return scores with the direction and the unit of their metrics."""
    found = {}
    for name, interval in scores.items():
        metric = described_metric(name)
        found[name] = MetricResult(*interval, metric.higher_is_better, metric.unit)
    return found


def _read_attribute(
    folder: Path,
    context: ProbeContext,
    task: LayerTask,
    source: FeatureSource,
    bank: Bank,
    clips: list[Clip],
    layers: list[int],
) -> ProbeScores:
    """Score what each layer tells of an attribute; write the predictions of the layers that the folds selected."""
    values = bank.batch(clips).values[:, :, 0]
    if not bool(torch.isfinite(values).all()):
        raise UserError("a feature is not finite", where=source.name)

    def features(layer: int) -> Float[Tensor, "clip dim"]:
        return values[layer]

    with Progress(f"{task.column} in the layers of {source.name}", total=len(layers)) as progress:
        found = task.answer(clips, layers, features, progress.advance)
    write_predictions(folder / PREDICTIONS_FILE, task, clips, list(found.scores))
    scores = found.representation
    return replace(
        begin_scores(context, source, _described(found.metrics)),
        interval_unit="speakers",
        folds=scores.folds or 0,
        chosen=tuple(SelectedRun(layer) for layer in scores.chosen),
        # There is no search: the curve has the scores of the layers themselves.
        layers=tuple(LayerPoint(one.layer, scores.metric, one.value) for one in scores.layers),
        warnings=(f"{task.column}: {scores.warning}",) if scores.warning else (),
        representation=scores,
    )
