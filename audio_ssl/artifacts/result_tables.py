"""The tables of a result folder: predictions, trials of verification, and comparisons of tasks without training.

Predictions have every column of the manifest, the answer (``reference``, ``hypothesis``, ``scores``), and in their
metadata the task and the names of its classes. Columns are those of a user's manifest, so a row is plain data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audio_ssl.artifacts.records import from_json
from audio_ssl.artifacts.result import REMEDY
from audio_ssl.base.documents import JsonObject, parse_json
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write
from audio_ssl.base.text import readable_id

PREDICTIONS_FILE, TRIALS_FILE, COMPARISONS_FILE = "predictions.parquet", "trials.parquet", "comparisons.parquet"


@dataclass(frozen=True)
class ResultTable:
    """Rows of a table of a result folder."""

    rows: tuple[JsonObject, ...] = ()
    """Columns of predictions are those of the user's manifest and the answer's."""

    classes: tuple[str, ...] = ()
    """Names of the classes, tokens or values, in the order of the column ``scores``."""


@dataclass(frozen=True)
class TrialRow:
    """A row of ``trials.parquet``: two clips, their similarity, and whether one speaker speaks in both."""

    clip_a: str
    clip_b: str
    score: float
    same: bool


def read_table(path: Path, without: Sequence[str] = ("embedding",)) -> ResultTable:
    """Read a table of a result; an empty one where there is no such file.

    Parameters
    ----------
    path
        Predictions, trials or comparisons.
    without
        Columns to leave out: vectors are for other programs, and as Python lists they would fill the memory.

    Raises
    ------
    UserError
        If the file is no table that can be read.
    """
    if not path.is_file():
        return ResultTable()
    try:
        names = [name for name in pq.read_schema(path).names if name not in without]
        table = pq.read_table(path, columns=names)
        classes = parse_json((table.schema.metadata or {}).get(b"classes", b"[]"), str(path))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"not a table that can be read: {error}", where=str(path), remedy=REMEDY) from error
    return ResultTable(tuple(table.to_pylist()), tuple(map(str, classes)) if isinstance(classes, list) else ())


def read_trials(folder: Path) -> tuple[TrialRow, ...]:
    """Read ``trials.parquet`` of a result; no rows where there is no such file.

    Raises
    ------
    UserError
        If the file is no table that can be read, or a value has the wrong type.
    """
    path = folder / TRIALS_FILE
    return tuple(from_json(TrialRow, row, str(path), REMEDY) for row in read_table(path).rows)


def read_columns(path: Path, needed: Sequence[str], wanted: Sequence[str] = ()) -> pa.Table:
    """Read some columns of a table of a result as Arrow arrays.

    Parameters
    ----------
    path
        Predictions, trials or comparisons.
    needed
        Columns that must be there.
    wanted
        Columns that are read where they are there.

    Raises
    ------
    UserError
        If the table cannot be read or lacks a column of `needed`.
    """
    try:
        columns = pq.read_schema(path).names
        if missing := [name for name in needed if name not in columns]:
            found = ", ".join(sorted(columns))
            raise UserError(f"the columns {', '.join(missing)} are missing; found: {found}", where=str(path))
        return pq.read_table(path, columns=list(dict.fromkeys([*needed, *(n for n in wanted if n in columns)])))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from error


def write_table(path: Path, rows: Sequence[JsonObject], task: str = "", classes: Sequence[str] = ()) -> None:
    """Write rows of plain values as a table; a key that a row lacks is null.

    Parameters
    ----------
    path
        The file.
    rows
        Name of a column to value. A column of several types becomes text.
    task
        Of predictions: the task and the names of its classes, kept in the table's metadata.
    classes
        Names in the order of the column ``scores``.
    """
    # A column that only some clips have must not be lost with the first row.
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    metadata = {"task": task, "classes": json.dumps(list(classes), ensure_ascii=True)} if task else None
    with atomic_write(path) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial)


def _column(values: Sequence[Any]) -> pa.Array:
    """Return a column; as text where values are of several types (an age of 20, or `twenties`) or too large."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return pa.array([None if value is None else readable_id(str(value)) for value in values])
