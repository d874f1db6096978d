"""Questions without training: every layer is compared on the validation clips, the best of them on the test clips."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.features.source import FeatureSource
from audio_ssl.probing.answer import Said, counts, finish, head_line, listed, log, peak_memory
from audio_ssl.probing.features import Bank, BankCache, Refuse
from audio_ssl.probing.predictions import write_table
from audio_ssl.probing.probe import Probe
from audio_ssl.probing.splits import Excluded, Parts
from audio_ssl.probing.sweep import open_bank
from audio_ssl.probing.tasks._base import Comparisons, ZeroTask
from audio_ssl.progress import Progress


def compare_frames(
    folder: Path,
    said: Said,
    question: Probe,
    source: FeatureSource,
    parts: Parts,
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
    started, task = time.monotonic(), cast(ZeroTask, said.task)
    excluded: list[Excluded] = []
    split_of = {clip.id: split for split, clips in parts.items() for clip in clips}

    def refused(clip: Clip, reason: str) -> None:
        refuse(clip, reason)
        excluded.append(Excluded(clip.id, split_of[clip.id], reason))

    needed: Parts = {"train": [], "valid": parts["valid"], "test": parts["test"]}
    bank = open_bank(question, source, False, needed, store, cache, refused)
    needed = {split: [clip for clip in clips if clip in bank] for split, clips in needed.items()}
    for split in ("valid", "test"):
        if not needed[split]:
            raise UserError(f"no clip of the {split} split can be used: {excluded[0].reason}")
    layers = layers_of(question, source)
    sign = 1 if task.higher_is_better else -1
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
    scores = {
        name: {**one._asdict(), "higher_is_better": task.higher_is_better, "unit": task.metric_unit}
        for name, one in result.scores.items()
    }
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
