"""What a reader gives: the columns it found, and rows one after the other, never all at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH_ROWS = 4096
BATCH_BYTES = 1 << 22
"""Batches are smaller where texts are long."""

Row = dict[str, Any]
Numbered = Iterator[tuple[int, Row]]
"""Rows with the numbers of their lines, from 1; a parquet's are row numbers."""

Refuse = Callable[[int, str], None]
"""Is given the line of a row that cannot be read, and why."""


@dataclass(frozen=True)
class Source:
    """One table, not read yet."""

    files: tuple[Path, ...]
    """What it is read from; hashed for the report."""

    columns: tuple[str, ...]
    """What was found, by our names."""

    rows: Callable[[Collection[str], Refuse], Numbered]
    """Yields rows with the wanted columns, and perhaps others."""

    complete: bool = True
    """Whether no later row can have further columns."""

    total: int | None = None
    """Rows, where it is known beforehand."""

    path_column: str | None = None
    """Column with the audio file, where ids are made of it."""

    note: str = ""
    """What the report should say of how it was read."""

    noticed: Callable[[], str] = str
    """What the report should say once all rows were read."""

    commas_between: bool = False
    """Whether commas separate cells; then a comma before three digits separates thousands."""

    numbered: bool = False
    """Whether ids are row numbers."""

    task: str | None = None
    """What the rows themselves say they are predictions of: ``st`` where they are translations."""


def nowhere(number: int, reason: str) -> None:
    """Pass over refused rows silently: for a first look, before all rows are read."""


def join_notes(*notes: str) -> str:
    """Return what is to be said, one thing after the other."""
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
