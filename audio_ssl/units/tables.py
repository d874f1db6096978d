"""Writes ``units.jsonl`` and ``units.parquet``: a row a clip, with its units and when each begins and ends.

Codes of all frames stay in the store, so a folder can be written merged or not without computing anything again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open

from audio_ssl.artifacts.features import IndexRow, read_index
from audio_ssl.artifacts.unit_records import TABLE_LINES, TABLE_PARQUET
from audio_ssl.base.files import atomic_write
from audio_ssl.base.text import readable_id
from audio_ssl.data.store import read_ids

_MOST_OPEN = 64
"""Shards that are held open at once."""

_UNITS_AT_ONCE = 1 << 20
"""Of a row group of the Parquet file, or of one clip."""

_DIGITS = 6
"""Of seconds: a microsecond is less than a sample."""

Codes = npt.NDArray[np.int32]


class UnitRuns(NamedTuple):
    """Units of a clip."""

    units: Codes
    """``[unit, codebook]``."""
    first: npt.NDArray[np.int64]
    """First frame of each, ``[unit]``."""
    stop: npt.NDArray[np.int64]
    """The frame after its last, ``[unit]``."""


def runs_of(codes: Codes, merge: bool) -> UnitRuns:
    """Return the units of a clip's codes ``[frame, codebook]``: its frames, or runs of frames with equal codes.

    Examples
    --------
    >>> found = runs_of(np.array([[7], [7], [3]], np.int32), merge=True)
    >>> found.units[:, 0].tolist(), found.first.tolist(), found.stop.tolist()
    ([7, 3], [0, 2], [2, 3])
    """
    frames = len(codes)
    if not merge or not frames:
        every = np.arange(frames)
        return UnitRuns(codes, every, every + 1)
    first = np.flatnonzero(np.append(True, (codes[1:] != codes[:-1]).any(1)))
    return UnitRuns(codes[first], first, np.append(first[1:], frames))


class ClipUnits(NamedTuple):
    """A row of both files."""

    id: str
    path: str | None
    unit: list[int] | list[list[int]]
    """The units of the clip; of several codebooks a list for each, coarse to fine."""
    start: list[float]
    """Seconds from the clip's start."""
    end: list[float]


class Totals(NamedTuple):
    """What a table holds."""

    clips: int
    units: int
    seconds: float
    """Of audio."""


def write_tables(out: Path, hop_seconds: float, merge: bool) -> Totals:
    """Write both files from the codes of all frames, in the order of the index; each is whole or not there."""
    clips = units = 0
    seconds = 0.0
    with (
        atomic_write(out / TABLE_LINES) as lines_part,
        atomic_write(out / TABLE_PARQUET) as parquet_part,
        lines_part.open("w", encoding="ascii") as lines,
        _Parquet(parquet_part) as parquet,
    ):
        for row, codes in iterate_codes(out):
            runs = runs_of(codes, merge)
            shown = runs.units[:, 0] if codes.shape[1] == 1 else runs.units
            times = [np.round(frames * hop_seconds, _DIGITS) for frames in (runs.first, runs.stop)]
            found = ClipUnits(row.id, row.path, shown.tolist(), times[0].tolist(), times[1].tolist())
            lines.write(json.dumps(found._asdict(), ensure_ascii=True) + "\n")
            parquet.add(found, several=codes.shape[1] > 1)
            clips, units, seconds = clips + 1, units + len(shown), seconds + (row.seconds or 0.0)
    return Totals(clips, units, round(seconds, 3))


def iterate_codes(out: Path) -> Iterator[tuple[IndexRow, Codes]]:
    """Yield the row of each clip of a finished folder, in its order, and its codes ``[frame, codebook]``.

    Raises
    ------
    UserError
        If a row or a shard is damaged.
    """
    shards: OrderedDict[str, tuple[Any, dict[str, int]]] = OrderedDict()
    for row in read_index(out):
        if row.file not in shards:
            places = {name: place for place, name in enumerate(read_ids(out / row.file))}
            shards[row.file] = safe_open(out / row.file, framework="np"), places
            if len(shards) > _MOST_OPEN:
                shards.popitem(last=False)
        shards.move_to_end(row.file)
        handle, places = shards[row.file]
        yield row, handle.get_tensor(f"{places[row.id]}/features")


class _Parquet:
    """Writes rows in groups."""

    def __init__(self, path: Path) -> None:
        self._path, self._rows, self._units = path, list[ClipUnits](), 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, row: ClipUnits, several: bool) -> None:
        """Add a clip."""
        if self._writer is None:
            unit = pa.list_(pa.int32()) if several else pa.int32()
            kinds = {"id": pa.string(), "path": pa.string(), "unit": pa.list_(unit)}
            kinds |= {"start": pa.list_(pa.float64()), "end": pa.list_(pa.float64())}
            self._schema = pa.schema(kinds)
            self._writer = pq.ParquetWriter(self._path, self._schema)
        path = None if row.path is None else readable_id(row.path)
        self._rows.append(row._replace(id=readable_id(row.id), path=path))
        self._units += len(row.unit)
        if self._units >= _UNITS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._rows and self._writer is not None:
            self._writer.write_table(pa.Table.from_pylist([row._asdict() for row in self._rows], self._schema))
        self._rows, self._units = [], 0
