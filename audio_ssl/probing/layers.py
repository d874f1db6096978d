"""How well each layer tells an attribute of speakers, asked in folds of the task's own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.features.source import FeatureSource
from audio_ssl.probing.answer import Said, counts, finish, head_line, listed, log, peak_memory
from audio_ssl.probing.compare import layers_of
from audio_ssl.probing.features import BankCache, Refuse
from audio_ssl.probing.predictions import write_predictions
from audio_ssl.probing.probe import Probe
from audio_ssl.probing.splits import Excluded, Parts
from audio_ssl.probing.sweep import open_bank
from audio_ssl.probing.tasks._base import Task
from audio_ssl.probing.tasks.attribute import Answered, Attribute
from audio_ssl.progress import Progress


def ask_layers(
    folder: Path,
    said: Said,
    question: Probe,
    source: FeatureSource,
    parts: Parts,
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
    excluded: list[Excluded] = []

    def refused(clip: Clip, reason: str) -> None:
        refuse(clip, reason)
        excluded.append(Excluded(clip.id, "fold", reason))

    layers = layers_of(question, source)
    bank = open_bank(question, source, True, parts, store, cache, refused)
    # Once more: clips that cannot be read may have been a value's third speaker.
    clips, left = task.usable([clip for clip in parts["test"] if clip in bank])
    excluded += [Excluded(clip.id, "fold", reason) for clip, reason in left]
    values = bank.batch(clips).values[:, :, 0]
    if not bool(torch.isfinite(values).all()):
        raise UserError("a feature is not finite", where=source.name)

    def features(layer: int) -> Float[Tensor, "clip dim"]:
        return values[layer]

    asked = time.monotonic()
    with Progress(f"{task.column} in the layers of {source.name}", total=len(layers)) as progress:
        found = task.answer(clips, layers, features, progress.advance)
    scores = {name: {**one._asdict(), "higher_is_better": True, "unit": "%"} for name, one in found.metrics.items()}
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
