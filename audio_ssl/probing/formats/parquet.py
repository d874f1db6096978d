"""A table of all clips, as a probe writes of its test clips: `audio-ssl fairness` and data frames read it.

It has the columns of the manifest, ``reference`` where the manifest has one, and the answer: ``hypothesis``, ``scores``
(natural logarithms of the probabilities of classes, log-odds of tags; names are in the metadata) or ``embedding``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.artifacts.result_tables import write_table
from audio_ssl.base.documents import JsonObject
from audio_ssl.probing.format import FormatTraits
from audio_ssl.probing.result import manifest_columns

TRAITS = FormatTraits(".parquet", shared=True)

_SMALLEST = 1e-300


def write(path: Path, predictions: Iterable[ClipPrediction]) -> None:
    """Write the table, a row for each clip."""
    rows: list[JsonObject] = []
    task, classes = "", tuple[str, ...]()
    for one in predictions:
        named = one.classes if one.tags is None else one.tags
        if not task:
            task, classes = one.task, tuple(sorted(each.name for each in named or ()))
        answer: JsonObject = {} if one.reference is None else {"reference": one.reference}
        if one.embedding is not None:
            answer["embedding"] = list(one.embedding)
        else:
            answer["hypothesis"] = hypothesis(one)
        if named is not None:
            likely = {each.name: each.probability for each in named}
            answer["scores"] = [_score(likely[name], one.tags is not None) for name in classes]
        place = {name: getattr(one, name) for name in ("id", "path", "start", "seconds", "sample_rate")}
        rows.append({**manifest_columns({**place, **one.manifest}), **answer})
    write_table(path, rows, task, classes)


def hypothesis(prediction: ClipPrediction) -> str | list[str] | list[float]:
    """Return the answer as `Task.hypothesis` gives it and metrics take it."""
    one = prediction
    if one.classes is not None:
        return one.classes[0].name
    if one.tags is not None:
        return [each.name for each in one.tags if each.probability > 0.5]
    if one.values is not None:
        return [each.value for each in one.values]
    if one.beats is not None:
        return " ".join(f"{b.time:.3f}" if b.number is None else f"{b.time:.3f}/{b.number}" for b in one.beats)
    if one.notes is not None:
        return "; ".join(f"{each.start:.3f} {each.end:.3f} {each.pitch}" for each in one.notes)
    if one.text is not None:
        return one.text
    return "; ".join(f"{each.start:.4f} {each.end:.4f} {each.label}" for each in one.segments or ())


def _score(probability: float, tag: bool) -> float:
    odds = probability / max(1.0 - probability, _SMALLEST) if tag else probability
    return math.log(max(odds, _SMALLEST))
