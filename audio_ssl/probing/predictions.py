"""predictions.parquet: what was right, what was said, and every manifest column, so that audits need no join."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from audio_ssl.atomic import atomic_write
from audio_ssl.data.manifest import Clip
from audio_ssl.features.writers.parquet import readable_id
from audio_ssl.metrics.additive import COUNTS
from audio_ssl.probing.tasks._base import Task

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
