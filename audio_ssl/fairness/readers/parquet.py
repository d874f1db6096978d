"""Parquet, which probes write: batches with the wanted columns only."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audio_ssl.errors import UserError
from audio_ssl.fairness.readers.source import BATCH_BYTES, BATCH_ROWS, Numbered, Source


def open_parquet(path: Path) -> Source:
    """Describe a parquet file.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            columns, total = tuple(file.schema_arrow.names), file.metadata.num_rows
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from error
    return Source((path,), columns, lambda wanted, refuse: _rows(path, wanted), total=total)


def _rows(path: Path, wanted: Collection[str]) -> Numbered:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in wanted]
            for batch in file.iter_batches(_fitting_rows(file.metadata), columns=names):
                # Where texts repeat, rows are longer than the file told.
                size = _fitting(batch.nbytes // max(batch.num_rows, 1))
                for start in range(0, batch.num_rows, size):
                    for row in batch.slice(start, size).to_pylist():
                        number += 1
                        yield number, row
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot be read after row {number}: {error}", where=str(path)) from error


def _fitting_rows(metadata: pq.FileMetaData) -> int:
    """Return how many rows make a batch, by the row group with the longest rows."""
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    longest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return _fitting(longest)


def _fitting(row_bytes: int) -> int:
    return min(BATCH_ROWS, max(1, BATCH_BYTES // max(row_bytes, 1)))
