"""A table that is read row by row (`Source`), under our column names and with ids.

The user can name columns that are called otherwise; rows without ids get them from the audio file or their number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio_ssl.base.errors import unknown_name
from audio_ssl.data.corpus_tools.tables import PATHS
from audio_ssl.data.corpus_tools.toolkits import segment_id

BATCH_ROWS = 4096
BATCH_BYTES = 1 << 22
"""Batches are smaller if texts are long."""

Row = dict[str, Any]
Numbered = Iterator[tuple[int, Row]]
"""Rows with their line numbers, from 1; row numbers in a parquet file."""

Refuse = Callable[[int, str], None]
"""Receives the line of a row that cannot be read, and the reason."""


@dataclass(frozen=True)
class Source:
    """A table that is not read yet."""

    files: tuple[Path, ...]
    """Files of the table, hashed for the report."""

    columns: tuple[str, ...]
    """Columns under our names."""

    rows: Callable[[Collection[str], Refuse], Numbered]
    """Yields rows with the wanted columns, and perhaps others."""

    complete: bool = True
    """Whether later rows cannot have further columns."""

    total: int | None = None
    """Number of rows, if known."""

    path_column: str | None = None
    """Column with the audio file, if ids are made of it."""

    note: str = ""
    """Note on how it was read."""

    noticed: Callable[[], str] = str
    """Returns a note after all rows were read."""

    commas_between: bool = False
    """Whether commas separate cells; then a comma before three digits separates thousands."""

    numbered: bool = False
    """Whether ids are row numbers."""

    task: str | None = None
    """Task that the rows imply (``st`` if they are translations), or that a table of predictions names."""


def nowhere(number: int, reason: str) -> None:
    """Ignore refused rows, in a first pass before all rows are read."""


def join_notes(*notes: str) -> str:
    """Return notes joined by commas."""
    return ", ".join(note for note in notes if note)


def batches(rows: Numbered) -> Iterator[list[tuple[int, Row]]]:
    """Yield rows together, up to `BATCH_ROWS` and about `BATCH_BYTES` of text."""
    batch: list[tuple[int, Row]] = []
    size = 0
    for numbered in rows:
        batch.append(numbered)
        size += sum(len(value) for value in numbered[1].values() if isinstance(value, str))
        if len(batch) == BATCH_ROWS or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_STARTS = ("offset", "start")


def rename(source: Source, columns: Mapping[str, str]) -> Source:
    """Return the table with columns under the names that the user gave.

    A column that already has one of these names becomes ``table_NAME``.

    Parameters
    ----------
    source
        The table.
    columns
        Our name -> the table's column.

    Raises
    ------
    UserError
        If a column is not in the table.
    """
    for theirs in columns.values():
        if theirs not in source.columns:
            raise unknown_name("column", theirs, source.columns, str(source.files[0]))
    if not columns:
        return source
    # A column may be used twice, as the speaker and as a group.
    moved = {name: f"table_{name}" for name in columns if name in source.columns and columns[name] != name}

    def renamed(row: Row) -> Row:
        plain = {moved.get(name, name): value for name, value in row.items()}
        return plain | {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}

    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        back = {renamed: name for name, renamed in moved.items()}
        theirs = [columns.get(name, back.get(name, name)) for name in wanted]
        return ((number, renamed(row)) for number, row in source.rows(theirs, refuse))

    names = [*(moved.get(name, name) for name in source.columns), *columns]
    said = ", ".join(f"{ours} = {theirs}" for ours, theirs in columns.items())
    return replace(source, columns=tuple(dict.fromkeys(names)), rows=rows, note=join_notes(source.note, said))


def with_ids(source: Source) -> Source:
    """Return the table with ids: its own, or the audio file with the start of a segment, or row numbers."""
    if "id" in source.columns or not source.columns:
        return source
    path = next((name for name in PATHS if name in source.columns), None)
    return _numbered(source) if path is None else _of_paths(source, path)


def _of_paths(source: Source, path: str) -> Source:
    start = next((name for name in _STARTS if name in source.columns), None)

    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        more = [name for name in (path, start) if name is not None and name not in wanted]
        for number, row in source.rows([*wanted, *more], refuse):
            try:
                named = segment_id(str(row[path]), row[start] if start else None) if row.get(path) else None
            except ValueError as error:
                refuse(number, f"`{start}`: {error}")
                continue
            yield number, {**row, "id": named}

    note = join_notes(source.note, f"ids: {path}" + (f" and {start}" if start else ""))
    return replace(source, columns=("id", *source.columns), rows=rows, path_column=path, note=note)


def _numbered(source: Source) -> Source:
    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        count = 0

        def refused(number: int, reason: str) -> None:
            nonlocal count
            count += 1
            refuse(number, reason)

        for number, row in source.rows(wanted, refused):
            count += 1
            yield number, {**row, "id": f"row {count}"}

    note = join_notes(source.note, "ids: row numbers, as there is no column `id`")
    return replace(source, columns=("id", *source.columns), rows=rows, note=note, numbered=True)
