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


@dataclass(frozen=True)
class Source:
    """One table, not read yet."""

    files: tuple[Path, ...]
    """What it is read from; hashed for the report."""

    columns: tuple[str, ...]
    """What was found, by our names."""

    rows: Callable[[Collection[str]], Numbered]
    """Yields rows with the wanted columns, and perhaps others."""

    complete: bool = True
    """Whether no later row can have further columns."""

    total: int | None = None
    """Rows, where it is known beforehand."""

    path_column: str | None = None
    """Column with the audio file, where ids are made of it."""

    note: str = ""
    """What the report should say of how it was read."""


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
