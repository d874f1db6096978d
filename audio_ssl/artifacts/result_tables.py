"""The tables of a result folder: predictions, trials of verification, and comparisons of tasks without training.

Predictions have every column of the manifest, the answer (``reference``, ``hypothesis``, ``scores``), and in their
metadata the task and the names of its classes. Columns are those of a user's manifest, so a row is plain data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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


@dataclass(frozen=True)
class AbxRow:
    """A row of comparisons of ABX: the error of an ordered pair of labels for one speaker of A and B."""

    mode: str
    """within: X is of the same speaker; across: of another."""

    a: str
    """Label of A and X."""

    b: str
    speaker: str | None = None
    """None in results of earlier releases, whose rows are of all speakers."""

    error: float = math.nan
    """In percent."""

    cells: int = 0
    """Contexts and speakers of X."""

    triples: int = 0


@dataclass(frozen=True)
class QueryRow:
    """A row of comparisons of a search for spoken queries."""

    clip: str
    """Clip that the query is from."""

    term: str
    speaker: str | None = None
    relevant: int = 0
    """Number of utterances that hold the term."""

    utterances: int = 0
    average_precision: float = math.nan
    """In percent."""

    nearest: str = ""
    """Utterance with the best score."""


@dataclass(frozen=True)
class WordRow:
    """A row of comparisons of words: a token of a word that occurs twice, and its mean similarity to other tokens."""

    clip: str
    word: str
    start: float
    end: float
    speaker: str | None = None
    nearness_same: float = math.nan
    """To tokens of the same word."""

    nearness_other: float | None = None
    """To tokens of other words; None where there are none."""


ComparisonRow = AbxRow | QueryRow | WordRow
_KINDS: tuple[type[ComparisonRow], ...] = (AbxRow, QueryRow, WordRow)

Row = TypeVar("Row")


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


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names of the classes, tokens or values of predictions, in the order of the head's outputs.

    Raises
    ------
    UserError
        If the file is missing or no table that can be read.
    """
    try:
        found = parse_json((pq.read_schema(path).metadata or {}).get(b"classes", b"[]"), str(path))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"not a table that can be read: {error}", where=str(path), remedy=REMEDY) from error
    return tuple(map(str, found)) if isinstance(found, list) else ()


def read_trials(folder: Path) -> tuple[TrialRow, ...]:
    """Read ``trials.parquet`` of a result; no rows where there is no such file.

    Raises
    ------
    UserError
        If the file is no table that can be read, or a value has the wrong type.
    """
    path = folder / TRIALS_FILE
    if not path.is_file():
        return ()
    return _rows(TrialRow, read_columns(path, [field.name for field in fields(TrialRow)]), path)


def read_comparisons(folder: Path) -> tuple[ComparisonRow, ...]:
    """Read ``comparisons.parquet`` of a result; no rows where there is no such file, or its task is of another kind.

    Raises
    ------
    UserError
        If the file is no table that can be read, or a value has the wrong type.
    """
    path = folder / COMPARISONS_FILE
    if not path.is_file():
        return ()
    known = sorted({field.name for kind in _KINDS for field in fields(kind)})
    table = read_columns(path, (), known)
    for kind in _KINDS:
        if {field.name for field in fields(kind) if field.default is MISSING} <= set(table.column_names):
            return _rows(kind, table, path)
    return ()


_ARROW = {str: pa.large_string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}


def _rows(kind: type[Row], table: pa.Table, path: Path) -> tuple[Row, ...]:
    """Return the rows of a table as dataclasses: each column is checked at once, as there may be 100,000 rows."""
    hints = get_type_hints(kind)
    columns = []
    for field in fields(cast(Any, kind)):
        optional = type(None) in get_args(hints[field.name])
        scalar = next(one for one in (*get_args(hints[field.name]), hints[field.name]) if one in _ARROW)
        if field.name not in table.column_names:
            columns.append([field.default] * table.num_rows)
            continue
        try:
            column = table[field.name].cast(_ARROW[scalar])
        except pa.ArrowException as error:
            raise UserError(f"`{field.name}` has the wrong type: {error}", where=str(path), remedy=REMEDY) from error
        if scalar is float and not optional:
            column = pc.fill_null(column, math.nan)
        if column.null_count and not optional:
            raise UserError(f"`{field.name}` lacks values", where=str(path), remedy=REMEDY)
        columns.append(column.to_pylist())
    return tuple(kind(*values) for values in zip(*columns, strict=True))


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


def write_rows(path: Path, rows: Sequence[TrialRow | ComparisonRow]) -> None:
    """Write trials or comparisons, whose columns are the fields of their class."""
    write_table(path, [vars(row) for row in rows])


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
