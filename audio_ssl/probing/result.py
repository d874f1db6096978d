"""Writes the result of a probe: the head, the predictions, and last the scores.

A folder with ``scores.json`` is finished. ``predictions.parquet`` has references, hypotheses and every column of the
manifest, so that audits need no join.
"""

from __future__ import annotations

import logging
import math
import resource
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.artifacts.result import (
    BASELINES,
    SCORES_FILE,
    ExcludedClip,
    LayerPoint,
    MetricResult,
    ProbeCost,
    ProbeScores,
    SelectedRun,
    SplitSize,
    TrainedRun,
    is_result,
    write_scores,
)
from audio_ssl.artifacts.result_tables import PREDICTIONS_FILE, TRIALS_FILE, TrialRow, write_rows, write_table
from audio_ssl.base.checksums import faults, write_seals
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.files import atomic_write
from audio_ssl.base.text import readable_id
from audio_ssl.data.manifest import Clip
from audio_ssl.features.pooling import HEAD_FILE
from audio_ssl.features.source import FeatureSource, ModelSource
from audio_ssl.metrics.metric import COUNTS
from audio_ssl.probing.clips import SPLITS, ClipsBySplit, overlap_warnings
from audio_ssl.probing.final import FinalOutcome
from audio_ssl.probing.score import score_test, score_trials
from audio_ssl.probing.sweep import Outcome, layer_curve
from audio_ssl.probing.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeContext:
    """What is the same for every system."""

    probe: str
    """Name for tables."""
    task: Task
    """The task of the probe."""
    excluded: Sequence[ExcludedClip]
    """Clips that were left out before any features."""
    decoder: str | None = None
    """Signature of the search."""
    cluster: str | None = None
    """Column whose clips are drawn together for intervals."""


def write_result(
    folder: Path,
    context: ProbeContext,
    source: FeatureSource,
    outcomes: Sequence[Outcome],
    taken: float,
    final: FinalOutcome | None = None,
) -> None:
    """Write a result of one outcome, or of one for each fold, whose test clips are scored together.

    `final` is the head for new files of a probe in folds.
    """
    task = context.task
    clips = [clip for outcome in outcomes for clip in outcome.clips]
    predictions = [prediction for outcome in outcomes for prediction in outcome.predictions]
    scores, unit, notes = score_test(task, clips, predictions, context.cluster)
    for path, outcome in _named(folder, outcomes):
        _save(path, {k: v.contiguous() for k, v in outcome.system.state_dict().items()})
    if final is not None:
        _save(folder / HEAD_FILE, {k: v.contiguous() for k, v in final.system.state_dict().items()})
    # Each fold has a model of its own; the one for new files is kept.
    tuned = final.tuned if final is not None else outcomes[0].tuned if len(outcomes) == 1 else None
    if tuned is not None:
        tuned.save(folder)
    for name, content in {**task.files(), **(outcomes[0] if final is None else final).files}.items():
        with atomic_write(folder / name) as partial:
            partial.write_bytes(content)
    write_predictions(folder / PREDICTIONS_FILE, task, clips, predictions)
    if task.output == "embedding":
        write_rows(folder / TRIALS_FILE, _trials(task, clips, predictions))
    found = replace(
        begin_scores(context, source, scores),
        interval_unit=unit,
        interval_column=context.cluster,
        decoder=context.decoder,
        counts=split_sizes([outcome.parts for outcome in outcomes]),
        excluded=each_once([*context.excluded, *(one for outcome in outcomes for one in outcome.excluded)]),
        warnings=(*_warnings(outcomes, task), *notes),
        cost=_cost(outcomes, source),
        seconds_taken=taken,
        final=None if final is None else final.record,
    )
    finish(folder, _with_training(found, outcomes))


def finish(folder: Path, scores: ProbeScores) -> None:
    """Record lengths and hashes of a result's files, write its scores last, and log the main one."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix in (".safetensors", ".parquet"))
    # Features are kept until the answer is there, baselines are answers of their own.
    write_seals(folder, sorted(p.as_posix() for p in found if p.parts[0] not in ("features", BASELINES)))
    write_scores(folder, scores)
    main = scores.main
    logger.info("%s on %s: %s %.2f %s", scores.probe, scores.model, scores.main_metric, main.value, main.unit)


def is_finished(folder: Path, full: bool = False) -> bool:
    """Return whether a result is finished and its files are whole; damage is logged."""
    if not is_result(folder):
        return False
    found = faults(folder, [SCORES_FILE], full)
    for name, wrong in found.items():
        logger.warning("%s %s: it is computed again", folder / name, wrong)
    return not found


def begin_scores(context: ProbeContext, source: FeatureSource, metrics: dict[str, MetricResult]) -> ProbeScores:
    """Return the scores of a system with the question and the model; the rest is at its defaults."""
    return ProbeScores(
        probe=context.probe,
        task=context.task.kind,
        model=source.name,
        model_fingerprint=source.fingerprint,
        main_metric=context.task.metrics[0],
        signature=context.task.signature,
        tokenizer=context.task.tokenizer,
        metrics=metrics,
    )


def each_once(excluded: Iterable[ExcludedClip]) -> tuple[ExcludedClip, ...]:
    """Return exclusions without repetitions, in order."""
    return tuple(dict.fromkeys(excluded))


def split_sizes(parts: Sequence[ClipsBySplit]) -> dict[str, SplitSize]:
    """Return the size of each split; of folds, the test clips together and the largest training."""
    found = {}
    for split in SPLITS:
        of_folds = [one[split] for one in parts]
        clips = [c for one in of_folds for c in one] if split == "test" else max(of_folds, key=len)
        speakers = {clip.speaker for clip in clips if clip.speaker is not None}
        found[split] = SplitSize(len(clips), sum(c.seconds for c in clips), len(speakers))
    return found


def _named(folder: Path, outcomes: Sequence[Outcome]) -> list[tuple[Path, Outcome]]:
    if len(outcomes) == 1:
        return [(folder / HEAD_FILE, outcomes[0])]
    return [(folder / "folds" / str(number) / HEAD_FILE, one) for number, one in enumerate(outcomes)]


def _save(path: Path, state: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file(state, partial)


def _with_training(scores: ProbeScores, outcomes: Sequence[Outcome]) -> ProbeScores:
    """Return the scores with the runs, what was selected, and the layer curve (of folds, their mean)."""
    in_folds = len(outcomes) > 1
    first, weights = outcomes[0], outcomes[0].system.layer_weights()
    selected = tuple(SelectedRun(**vars(outcome.chosen.run)) for outcome in outcomes)
    runs = tuple(
        TrainedRun(
            **vars(one.run), valid=one.valid, steps=one.steps, diverged=one.diverged, fold=fold if in_folds else None
        )
        for fold, outcome in enumerate(outcomes)
        for one in outcome.fitted
    )
    metric = scores.main_metric
    curves = [layer_curve(outcome.fitted, metric, scores.main.higher_is_better) for outcome in outcomes]
    return replace(
        scores,
        folds=len(outcomes) if in_folds else 0,
        runs=runs,
        chosen=selected if in_folds else selected[0],
        chosen_layer=None if in_folds else first.chosen.run.layer,
        layers=tuple(_mean_curve(curves) if in_folds else curves[0]),
        layer_weights=None if weights is None else tuple(weights),
        history=tuple(first.chosen.history),
    )


def _mean_curve(curves: Sequence[Sequence[LayerPoint]]) -> list[LayerPoint]:
    """Return the mean over folds, with the lowest and highest fold; the rate may differ between folds."""
    points = []
    for of_folds in zip(*curves, strict=True):
        values = [one.valid for one in of_folds if not math.isnan(one.valid)]
        mean = sum(values) / len(values) if values else math.nan
        low, high = min(values, default=math.nan), max(values, default=math.nan)
        points.append(replace(of_folds[0], valid=mean, low=low, high=high, lr=None))
    return points


def _warnings(outcomes: Sequence[Outcome], task: Task) -> list[str]:
    found = list(task.warnings)
    found += [warning for outcome in outcomes for warning in overlap_warnings(outcome.parts, task)]
    lacking = task.unseen([clip for outcome in outcomes for clip in outcome.clips])
    if lacking:
        most = sorted(lacking.items(), key=lambda item: -item[1])
        names = ", ".join(f"`{name}` ({count} times)" for name, count in most[:10])
        more = f" and {len(most) - 10} more" if len(most) > 10 else ""
        found.append(f"the test clips contain symbols that training lacks; each counts as an error: {names}{more}")
    diverged = sum(one.diverged for outcome in outcomes for one in outcome.fitted)
    if diverged:
        total = sum(len(outcome.fitted) for outcome in outcomes)
        found.append(f"{diverged} of {total} runs diverged")
    return list(dict.fromkeys(found))


def _cost(outcomes: Sequence[Outcome], source: FeatureSource) -> ProbeCost:
    head = sum(parameter.numel() for parameter in outcomes[0].system.parameters())
    tuned = outcomes[0].tuned
    model = 0 if tuned is None else sum(parameter.numel() for parameter in tuned.parameters())
    clips = {(c.path, c.start, c.seconds) for outcome in outcomes for part in outcome.parts.values() for c in part}
    times = {f"{name}_seconds": sum(one.seconds[name] for one in outcomes) for name in outcomes[0].seconds}
    audio_seconds = sum(seconds for *_, seconds in clips)
    return ProbeCost(
        **times,
        parameters=head + model,
        model_parameters=model,
        model_size=sum(one.numel() for one in source.model.parameters()) if isinstance(source, ModelSource) else 0,
        peak_memory_bytes=peak_memory(),
        audio_seconds=audio_seconds,
    )


def peak_memory() -> int:
    """Return the most memory this process has held, in bytes; on a GPU, what was allocated there."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Linux says kibibytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _trials(task: Task, clips: Sequence[Clip], predictions: Sequence[Tensor]) -> list[TrialRow]:
    trials = score_trials(task, clips, predictions)
    ids = [clip.id for clip in clips]
    pairs = zip(trials.first, trials.second, trials.scores.tolist(), trials.same.tolist(), strict=True)
    return [TrialRow(ids[i], ids[j], score, same) for i, j, score, same in pairs]


ANSWERS = ("reference", "hypothesis", "scores", "embedding")
"""Columns of the answer; a manifest's column of the same name is called ``manifest_NAME``."""


def write_predictions(path: Path, task: Task, clips: Sequence[Clip], predictions: Sequence[Tensor]) -> None:
    """Write the table; class names are in its metadata, scores of classes in the column ``scores``.

    Vectors to compare are in the column ``embedding``, and have no hypothesis of their own. Statistics of metrics of
    activations are in columns like ``frame_ap_counts``.
    """
    rows: list[dict[str, Any]] = []
    for clip, prediction in zip(clips, predictions, strict=True):
        answer: dict[str, Any] = {"reference": task.reference(clip)}
        if task.output == "embedding":
            answer["embedding"] = prediction.tolist()
        else:
            answer["hypothesis"] = task.hypothesis(prediction)
        if task.output in ("class", "tags"):
            answer["scores"] = prediction.tolist()
        for name in task.metrics:
            counted = task.statistics(name, clip, prediction)
            if counted is not None:
                answer[f"{name}{COUNTS}"] = counted.astype(int).tolist()
        rows.append({**manifest_columns(clip.row()), **answer})
    write_table(path, rows, task.kind, task.classes)


def manifest_columns(row: JsonObject) -> JsonObject:
    """Return a row of the manifest as columns of a table of predictions, which has the answer's columns as well."""
    return {
        f"manifest_{name}" if name in ANSWERS else name: readable_id(value) if isinstance(value, str) else value
        for name, value in row.items()
    }
