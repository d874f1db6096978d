"""Parquet, which probes write: batches with the wanted columns only."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audio_ssl.errors import UserError
from audio_ssl.fairness.readers.source import Numbered, Source

_BATCH_ROWS = 4096


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
    return Source((path,), columns, lambda wanted: _rows(path, wanted), total=total)


def _rows(path: Path, wanted: Collection[str]) -> Numbered:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in wanted]
            for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot be read after row {number}: {error}", where=str(path)) from error
