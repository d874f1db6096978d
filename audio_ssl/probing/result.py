"""What an answer's folder holds: the head, the predictions, and last the scores.

A folder with ``scores.json`` is finished.

predictions.parquet: what was right, what was said, and every manifest column, so that audits need no join.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.base.checksums import faults, write_seals
from audio_ssl.base.files import atomic_write, write_json
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource
from audio_ssl.features.writers.parquet import readable_id
from audio_ssl.metrics.metric import COUNTS
from audio_ssl.probing.clips import SPLITS, ClipsBySplit, ExcludedClip, overlap_warnings
from audio_ssl.probing.probe import plain
from audio_ssl.probing.score import main_metric, score_test, score_trials
from audio_ssl.probing.sweep import Outcome, layer_curve
from audio_ssl.probing.task import Task

logger = logging.getLogger(__name__)

SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class Said:
    """What is the same for every system."""

    probe: str
    """Name for tables."""
    task: Task
    """What was asked."""
    excluded: Sequence[ExcludedClip]
    """Clips that were left out before any features."""
    decoder: str | None = None
    """Signature of the search."""
    cluster: str | None = None
    """Column whose clips are drawn together for intervals."""


def write_result(folder: Path, said: Said, source: FeatureSource, outcomes: Sequence[Outcome], taken: float) -> None:
    """Write an answer: one outcome, or one for each fold, whose test clips are scored together."""
    task = said.task
    clips = [clip for outcome in outcomes for clip in outcome.clips]
    predictions = [prediction for outcome in outcomes for prediction in outcome.predictions]
    scores, unit, notes = score_test(task, clips, predictions, said.cluster)
    for name, outcome in _named(folder, outcomes):
        _save(name, {k: v.contiguous() for k, v in outcome.system.state_dict().items()})
    tuned = outcomes[0].tuned
    if tuned is not None and len(outcomes) == 1:
        tuned.model.cpu().eval().save_pretrained(folder / "model")
    for name, content in {**getattr(task, "files", dict)(), **outcomes[0].files}.items():
        with atomic_write(folder / name) as partial:
            partial.write_bytes(content)
    write_predictions(folder / "predictions.parquet", task, clips, predictions)
    if task.output == "embedding":
        write_table(folder / "trials.parquet", _trials(task, clips, predictions))
    answer = {
        **head_line(said, source),
        "metrics": scores,
        "interval_unit": unit,
        "interval_column": said.cluster,
        **_training(outcomes, task),
        "decoder": said.decoder,
        "counts": counts([outcome.parts for outcome in outcomes]),
        "excluded": listed([*said.excluded, *(one for outcome in outcomes for one in outcome.excluded)]),
        "warnings": [*_warnings(outcomes, task), *notes],
        "cost": _cost(outcomes),
        "seconds_taken": taken,
    }
    finish(folder, answer)
    log(said, source, scores)


def finish(folder: Path, answer: dict[str, Any]) -> None:
    """Record what the files of an answer are, and write the scores last: a folder with scores is a finished one."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix in (".safetensors", ".parquet"))
    # Features are kept until the answer is there, baselines are answers of their own.
    write_seals(folder, sorted(p.as_posix() for p in found if p.parts[0] not in ("features", "baselines")))
    write_json(folder / SCORES_FILE, plain(answer))


def is_finished(folder: Path, full: bool = False) -> bool:
    """Tell whether an answer is finished and has its files; a damaged one is said, and is not."""
    if not (folder / SCORES_FILE).exists():
        return False
    found = faults(folder, [SCORES_FILE], full)
    for name, wrong in found.items():
        logger.warning("%s %s: it is computed again", folder / name, wrong)
    return not found


def head_line(said: Said, source: FeatureSource) -> dict[str, Any]:
    """Return what every scores.json begins with."""
    return {
        "probe": said.probe,
        "task": said.task.kind,
        "model": source.name,
        "model_fingerprint": source.fingerprint,
        "main_metric": said.task.metrics[0],
        "signature": said.task.signature,
        "tokenizer": getattr(said.task, "tokenizer", None),
    }


def log(said: Said, source: FeatureSource, scores: dict[str, dict[str, Any]]) -> None:
    """Say the main score."""
    name = said.task.metrics[0]
    main = scores[name]
    logger.info("%s on %s: %s %.2f %s", said.probe, source.name, name, main["value"], main["unit"])


def listed(excluded: Sequence[ExcludedClip]) -> list[dict[str, str]]:
    """Return exclusions as rows, each once."""
    return [{"id": e.clip_id, "split": e.split, "reason": e.reason} for e in dict.fromkeys(excluded)]


def counts(parts: Sequence[ClipsBySplit]) -> dict[str, dict[str, Any]]:
    """Return clips, seconds and speakers of each split; of folds, the test clips together and the largest training."""
    found = {}
    for split in SPLITS:
        of_folds = [one[split] for one in parts]
        clips = [c for one in of_folds for c in one] if split == "test" else max(of_folds, key=len)
        speakers = {clip.speaker for clip in clips if clip.speaker is not None}
        found[split] = {"clips": len(clips), "seconds": sum(c.seconds for c in clips), "speakers": len(speakers)}
    return found


def _named(folder: Path, outcomes: Sequence[Outcome]) -> list[tuple[Path, Outcome]]:
    if len(outcomes) == 1:
        return [(folder / "head.safetensors", outcomes[0])]
    return [(folder / "folds" / str(number) / "head.safetensors", one) for number, one in enumerate(outcomes)]


def _save(path: Path, state: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file(state, partial)


def _training(outcomes: Sequence[Outcome], task: Task) -> dict[str, Any]:
    """Return the runs, the choice and the layer curve; of folds, one choice each and the mean curve."""
    chosen = [vars(outcome.chosen.run) for outcome in outcomes]
    folds = len(outcomes) if len(outcomes) > 1 else 0
    runs = [
        {
            **vars(one.run),
            "valid": one.valid,
            "steps": one.steps,
            "diverged": one.diverged,
            **({"fold": fold} if folds else {}),
        }
        for fold, outcome in enumerate(outcomes)
        for one in outcome.fitted
    ]
    metric = main_metric(task)
    curves = [layer_curve(outcome.fitted, metric.name, metric.higher_is_better) for outcome in outcomes]
    return {
        "folds": folds,
        "runs": runs,
        "chosen": chosen if folds else chosen[0],
        "chosen_layer": outcomes[0].chosen.run.layer if not folds else None,
        "layers": curves[0] if not folds else _mean_curve(curves),
        "layer_weights": outcomes[0].system.layer_weights(),
        "history": outcomes[0].chosen.history,
    }


def _mean_curve(curves: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean over folds, with the lowest and highest fold; the rate may differ between folds."""
    rows = []
    for row in zip(*curves, strict=True):
        values = [one["valid"] for one in row if one["valid"] is not None]
        mean = sum(values) / len(values) if values else None
        ends = {"low": min(values, default=None), "high": max(values, default=None)}
        rows.append({"layer": row[0]["layer"], "metric": row[0]["metric"], "valid": mean, **ends, "lr": None})
    return rows


def _warnings(outcomes: Sequence[Outcome], task: Task) -> list[str]:
    found = list(getattr(task, "warnings", ()))
    found += [warning for outcome in outcomes for warning in overlap_warnings(outcome.parts, task)]
    unseen = getattr(task, "unseen", None)
    lacking = unseen([clip for outcome in outcomes for clip in outcome.clips]) if unseen is not None else {}
    if lacking:
        most = sorted(lacking.items(), key=lambda item: -item[1])
        names = ", ".join(f"`{name}` {count} times" for name, count in most[:10])
        more = f" and {len(most) - 10} more" if len(most) > 10 else ""
        found.append(f"the test clips have what training lacks, and it counts as wrong: {names}{more}")
    diverged = sum(one.diverged for outcome in outcomes for one in outcome.fitted)
    if diverged:
        total = sum(len(outcome.fitted) for outcome in outcomes)
        found.append(f"{diverged} of {total} runs diverged")
    return list(dict.fromkeys(found))


def _cost(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    head = sum(parameter.numel() for parameter in outcomes[0].system.parameters())
    tuned = outcomes[0].tuned
    model = 0 if tuned is None else sum(parameter.numel() for parameter in tuned.parameters())
    clips = {(c.path, c.start, c.seconds) for outcome in outcomes for part in outcome.parts.values() for c in part}
    times = {f"{name}_seconds": sum(one.seconds[name] for one in outcomes) for name in outcomes[0].seconds}
    return {
        **times,
        "parameters": head + model,
        "peak_memory_bytes": peak_memory(),
        "audio_seconds": sum(seconds for *_, seconds in clips),
    }


def peak_memory() -> int:
    """Return the most memory this process has held, in bytes; on a GPU, what was allocated there."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Linux says kibibytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _trials(task: Task, clips: Sequence[Clip], predictions: Sequence[Tensor]) -> list[dict[str, Any]]:
    trials = score_trials(task, clips, predictions)
    ids = [clip.id for clip in clips]
    rows = zip(trials.first, trials.second, trials.scores.tolist(), trials.same.tolist(), strict=True)
    return [{"clip_a": ids[i], "clip_b": ids[j], "score": score, "same": same} for i, j, score, same in rows]


ANSWERS = ("reference", "hypothesis", "scores", "embedding")
"""Columns of the answer; a manifest's column of the same name is called ``manifest_NAME``."""


def write_predictions(path: Path, task: Task, clips: Sequence[Clip], predictions: Sequence[Tensor]) -> None:
    """Write the table; class names are in its metadata, scores of classes in the column ``scores``.

    Vectors to compare are in the column ``embedding``, and have no hypothesis of their own. Statistics of metrics of
    activations are in columns like ``frame_ap_counts``.
    """
    rows: list[dict[str, Any]] = []
    own = getattr(task, "statistics", None)
    for clip, prediction in zip(clips, predictions, strict=True):
        columns = {
            f"manifest_{k}" if k in ANSWERS else k: readable_id(v) if isinstance(v, str) else v
            for k, v in clip.row().items()
        }
        answer: dict[str, Any] = {"reference": task.reference(clip)}
        if task.output == "embedding":
            answer["embedding"] = prediction.tolist()
        else:
            answer["hypothesis"] = task.hypothesis(prediction)
        if task.output in ("class", "tags"):
            answer["scores"] = prediction.tolist()
        for name in task.metrics:
            counted = own(name, clip, prediction) if own is not None else None
            if counted is not None:
                answer[f"{name}{COUNTS}"] = counted.astype(int).tolist()
        rows.append({**columns, **answer})
    metadata = {"task": task.kind, "classes": json.dumps(task.classes, ensure_ascii=True)}
    write_table(path, rows, metadata)


def write_table(path: Path, rows: Sequence[dict[str, Any]], metadata: dict[str, str] | None = None) -> None:
    """Write rows of plain values; a key that a row lacks is null."""
    # A column that only some clips have must not be lost with the first row.
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    table = table.replace_schema_metadata(metadata)
    with atomic_write(path) as partial:
        pq.write_table(table, partial)


def _column(values: Sequence[Any]) -> pa.Array:
    """Return a column; as text where values are of several types (an age of 20, or `twenties`) or too large."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return pa.array([None if value is None else readable_id(str(value)) for value in values])
