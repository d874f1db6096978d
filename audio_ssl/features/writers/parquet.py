"""A table in parts: ``id``, ``start_frame``, ``shape``, and the values in row-major order.

A clip is one row; a long clip is several, which follow one another in a part of their own, each with the number of its
first frame. The parts lie in a folder of their own, as what reads tables reads whole folders
(``pandas.read_parquet("features/parquet")``) and stumbles over other files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from audio_ssl.artifacts.features import Extraction, IndexRow
from audio_ssl.base.files import atomic_write
from audio_ssl.base.text import readable_id
from audio_ssl.data.store import Waiting
from audio_ssl.features.journal import JOURNALS
from audio_ssl.features.writing import OnWritten, Pieces, WriterTraits, next_number, placed

FOLDER = "parquet"


class ParquetWriter:
    """Holds clips until a part is full."""

    def __init__(self, out: Path, part: str, sealed: OnWritten) -> None:
        self._out, self._part, self._sealed = out, part, sealed
        self._work = out / JOURNALS
        # An extraction that was begun with its parts beside the index goes on there, so that they stay together.
        self._below = "" if next(out.glob("features-*.parquet"), None) else f"{FOLDER}/"
        self._number = next_number(out / self._below, f"features-{part}", ".parquet")
        self._held: list[tuple[IndexRow, Tensor]] = []
        self._waiting = Waiting()

    def add(self, row: IndexRow, name: str, array: Tensor) -> None:
        """Hold a clip; write a part if it is full."""
        self._held.append((row, array.clone() if array._base is not None else array))
        if self._waiting.add(array.nbytes):
            self.close()

    def add_long(self, row: IndexRow, name: str, shape: tuple[int, ...], dtype: torch.dtype, pieces: Pieces) -> None:
        """Write a part of one clip."""
        file, first, writer = self._next(), 0, None
        with atomic_write(self._out / file, self._work) as partial:
            try:
                for piece in pieces:
                    rows = table([row.id], [first], [piece])
                    writer = writer or pq.ParquetWriter(partial, rows.schema)
                    writer.write_table(rows)
                    first += piece.shape[-2]
            finally:
                if writer is not None:
                    writer.close()
        self._sealed(placed([row], self._out, file))

    def close(self) -> None:
        """Write the clips that are held as a part."""
        if not self._held:
            return
        file = self._next()
        with atomic_write(self._out / file, self._work) as partial:
            rows = table([row.id for row, _ in self._held], [0] * len(self._held), [a for _, a in self._held])
            pq.write_table(rows, partial)
        self._sealed(placed([row for row, _ in self._held], self._out, file))
        self._held = []
        self._waiting.clear()

    def _next(self) -> str:
        self._number += 1
        return f"{self._below}features-{self._part}{self._number - 1:05d}.parquet"


def table(ids: Sequence[str], first: Sequence[int], arrays: Sequence[Tensor]) -> pa.Table:
    """Return rows of the table."""
    values = [array.numpy() for array in arrays]
    ends = np.cumsum([0, *(value.size for value in values)])
    flat = pa.array(np.concatenate([value.reshape(-1) for value in values]))
    return pa.table(
        {
            "id": [readable_id(name) for name in ids],
            "start_frame": pa.array(first, pa.int64()),
            "shape": [list(value.shape) for value in values],
            "features": pa.LargeListArray.from_arrays(ends, flat),
        }
    )


TRAITS = WriterTraits()


def build(out: Path, part: str, extraction: Extraction, sealed: OnWritten) -> ParquetWriter:
    """Make the writer."""
    return ParquetWriter(out, part, sealed)
