"""Predictions to audit: a probe's result folder, or anybody's table.

A table (``.csv``, ``.jsonl``, ``.parquet``) has the columns ``id, reference, hypothesis, speaker`` and any attributes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audio_ssl.errors import UserError

REQUIRED = ("id", "reference", "hypothesis", "speaker")
METRICS_OF_TASK = {
    "asr": ("wer", "cer"),
    "st": ("bleu", "chrf"),
    "phones": ("per",),
    "slots": ("slot_f1", "slot_cer"),
    "key": ("key_score", "accuracy"),
    "classification": ("accuracy",),
}
DEFAULT_METRICS = ("wer", "cer")


@dataclass(frozen=True)
class Table:
    """Predictions of one system."""

    name: str
    """Of the result, for the tables of the report."""

    path: Path
    """Where it was read."""

    rows: list[dict[str, Any]]
    """One a clip."""

    metrics: tuple[str, ...]
    """What fits its task."""


def read_predictions(path: Path) -> Table:
    """Read a result folder or a table.

    Raises
    ------
    UserError
        If there is no such thing, a column is missing, an id appears twice, or a value has the wrong type.
    """
    metrics: tuple[str, ...] = DEFAULT_METRICS
    table = path
    if path.is_dir():
        table = path / "predictions.parquet"
        metrics = _metrics_of(path)
    if not table.is_file():
        raise UserError(
            "no predictions here", where=str(path), remedy="give a result folder, or a .csv, .jsonl or .parquet"
        )
    rows = _read(table)
    _check(rows, table)
    return Table(path.stem, path, rows, metrics)


def _metrics_of(folder: Path) -> tuple[str, ...]:
    scores = folder / "scores.json"
    task = json.loads(scores.read_text(encoding="utf-8")).get("task") if scores.is_file() else None
    if task is not None and task not in METRICS_OF_TASK:
        known = ", ".join(METRICS_OF_TASK)
        raise UserError(
            f"the task `{task}` has no score per clip to compare groups by; known: {known}", where=str(folder)
        )
    return METRICS_OF_TASK.get(str(task), DEFAULT_METRICS)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        if path.suffix == ".parquet":
            rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
            return rows
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return [_blank_is_none(row) for row in csv.DictReader(file)]
        if path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as file:
                return [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from error
    raise UserError("must end in .csv, .jsonl or .parquet", where=str(path))


def _blank_is_none(row: Mapping[str, Any]) -> dict[str, Any]:
    """In a CSV an empty attribute is unknown; an empty reference or hypothesis is empty text."""
    return {k: (None if v == "" and k not in ("reference", "hypothesis") else v) for k, v in row.items()}


def _check(rows: list[dict[str, Any]], path: Path) -> None:
    if not rows:
        raise UserError("the table has no rows", where=str(path))
    found = set().union(*(row.keys() for row in rows))
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise UserError(
            f"the columns {', '.join(missing)} are missing; found: {', '.join(sorted(map(str, found)))}",
            where=str(path),
        )
    seen: set[str] = set()
    for row in rows:
        name = str(row.get("id"))
        if name in seen:
            raise UserError(f"the id `{name}` appears twice", where=str(path))
        seen.add(name)
        for key in ("reference", "hypothesis"):
            if not isinstance(row.get(key), str):
                raise UserError(f"`{key}` of `{name}` must be text, but is {row.get(key)!r}", where=str(path))


def require_attributes(table: Table, by: Iterable[str]) -> None:
    """Raise UserError unless some row has each attribute; the text lists the columns."""
    found = set().union(*(row.keys() for row in table.rows))
    for name in by:
        if name not in found:
            raise UserError(f"no column `{name}`; found: {', '.join(sorted(found))}", where=str(table.path))
