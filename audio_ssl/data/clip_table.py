"""A manifest of any length as a table: read and hashed in one pass; clips are created when they are asked for.

The columns that whole-manifest stages need (id, length, speaker and a few more) are kept in arrays. The other columns
stay in the file, and each row's position in the file is kept. pyarrow parses the rows in blocks. Anything unusual (an
invalid row, mixed types in a column, line ends of other systems) is passed to the reader of single rows.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from audio_ssl.base.errors import UserError
from audio_ssl.data.columns import value_text
from audio_ssl.data.manifest import LONGEST_SECONDS, Clip, check_there, hash_manifest, parse_row, read_manifest

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_BLOCK_BYTES = 8 << 20
_TEXTS = ("id", "path", "text", "translation", "label", "speaker", "gender", "language", "split")
_NUMBERS = {"start": pa.float64(), "seconds": pa.float64(), "sample_rate": pa.int64()}
_REQUIRED = ("id", "path", *_NUMBERS)
# The second half of a surrogate pair without its first stands for a byte of a file's name.
_HALF = re.compile(rb"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]")
_EXACT = 2.0**53


class _Odd(Exception):  # noqa: N818 - it never leaves this module
    """The block is unusual; the reader of single rows must read it."""


@dataclass(frozen=True)
class TextColumn:
    """A column as recorded: its different values, and the value of each row."""

    values: list[str]
    index: Indices
    """Index into `values`, ``[row]``; −1 where empty."""

    def take(self, rows: Indices) -> TextColumn:
        """Return the column of some rows, with only the values that occur."""
        index = self.index[rows]
        used = np.unique(index[index >= 0])
        place = np.full(len(self.values) + 1, -1, np.int64)
        place[used] = np.arange(len(used))
        return TextColumn([self.values[code] for code in used.tolist()], place[index])


@dataclass
class _TextCoder:
    number: dict[str, int] = field(default_factory=dict)
    parts: list[Indices] = field(default_factory=list)

    def add(self, column: Any, rows: int) -> None:
        """Add the column of a block; None: no row of the block has the column."""
        if column is None or pa.types.is_null(column.type):
            self.parts.append(np.full(rows, -1, np.int64))
            return
        coded = column.combine_chunks().dictionary_encode()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        places = [self.place(value) for value in coded.dictionary.to_pylist()]
        table = np.array([*places, -1], np.int64)
        self.parts.append(table[np.asarray(coded.indices.fill_null(len(places)))])

    def place(self, value: object) -> int:
        """Return the number of a value; −1 if it is empty."""
        text = "" if value is None else value_text(value)
        return self.number.setdefault(text, len(self.number)) if text else -1

    def column(self) -> TextColumn:
        return TextColumn(list(self.number), np.concatenate(self.parts) if self.parts else np.zeros(0, np.int64))


class OpenFile:
    """A file that is held open, so that it can be read even after another file has replaced it."""

    def __init__(self, path: Path) -> None:
        self._number = os.open(path, os.O_RDONLY)

    def read(self, start: int, length: int) -> bytes:
        """Return bytes from a position; fewer at the end of the file."""
        return os.pread(self._number, length, start)

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_number"):
            os.close(self._number)


class ClipTable(Sequence[Clip]):
    """The rows of a manifest. As a sequence, it yields the clips.

    Parameters
    ----------
    path
        The manifest.
    hash
        Hash of its bytes (`hash_manifest`); empty for clips that come from no file.
    ids
        Ids, ``[row]``.
    seconds
        Lengths of the clips in seconds, ``[row]``.
    columns
        Text columns that were asked for.
    found
        Names of all columns that at least one row has.
    numbers
        Numeric columns that were asked for, ``[row]``; NaN where empty.
    lines
        First byte and number of bytes of each row in the file, ``[row, 2]``; None if `clips` has the rows.
    clips
        The clips, if they are in memory.
    file
        The open manifest.
    """

    def __init__(
        self,
        path: Path,
        hash: str,
        ids: Any,
        seconds: Numbers,
        columns: dict[str, TextColumn],
        found: frozenset[str],
        numbers: dict[str, Numbers],
        lines: Indices | None,
        clips: list[Clip] | None = None,
        file: OpenFile | None = None,
    ) -> None:
        self.path, self.hash, self.ids, self.seconds = path, hash, ids, seconds
        self.columns, self.found, self.numbers = columns, found, numbers
        self._lines, self._clips, self._file = lines, clips, file

    def __len__(self) -> int:
        return len(self.seconds)

    @overload
    def __getitem__(self, place: int) -> Clip: ...
    @overload
    def __getitem__(self, place: slice) -> ClipTable: ...
    def __getitem__(self, place: int | slice) -> Clip | ClipTable:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return next(self._made(np.array([place % len(self)])))

    def __iter__(self) -> Iterator[Clip]:
        return self._made(np.arange(len(self)))

    def names(self) -> list[str]:
        """Return the ids as text."""
        ids: list[Any] = self.ids.to_pylist()
        return [one.decode("utf-8", "surrogatepass") if isinstance(one, bytes) else one for one in ids]

    def take(self, rows: Indices) -> ClipTable:
        """Return the table of some rows, in the order of `rows`."""
        clips = None if self._clips is None else [self._clips[row] for row in rows.tolist()]
        lines = None if self._lines is None else self._lines[rows]
        columns = {name: one.take(rows) for name, one in self.columns.items()}
        found = self.found - {name for name, one in columns.items() if not one.values}
        numbers = {name: one[rows] for name, one in self.numbers.items()}
        ids = self.ids.take(pa.array(rows))
        return ClipTable(
            self.path, self.hash, ids, self.seconds[rows], columns, found, numbers, lines, clips, self._file
        )

    def _made(self, rows: Indices) -> Iterator[Clip]:
        if self._clips is not None:
            yield from (self._clips[row] for row in rows.tolist())
            return
        assert self._lines is not None
        assert self._file is not None
        for row, (start, length) in zip(rows.tolist(), self._lines[rows].tolist(), strict=True):
            line = self._file.read(start, length)
            clip = None
            if line[:1] == b"{" and line.rstrip()[-1:] == b"}":
                clip = parse_row(line.decode("utf-8", "surrogateescape").rstrip("\r\n"), self.path, row + 1)
            if clip is None or clip.id != self.ids[row].as_py():
                raise UserError("the manifest changed while it was being read", where=str(self.path))
            yield clip


def read_table(path: Path, columns: Sequence[str] = (), numbers: Sequence[str] = ()) -> ClipTable:
    """Read a manifest in one pass as a `ClipTable`.

    Parameters
    ----------
    path
        The manifest.
    columns
        Columns whose values are kept as text.
    numbers
        Columns whose values are kept as numbers.

    Raises
    ------
    UserError
        As `read_manifest`.
    """
    check_there(path)
    pool = pa.default_memory_pool()
    # The default memory pool keeps freed blocks: four times the memory, with no gain in time.
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        return _by_blocks(path, columns, numbers)
    except (_Odd, pa.ArrowException):
        return table_of(read_manifest(path), columns, numbers, path, hash_manifest(path))
    finally:
        pa.set_memory_pool(pool)


def _by_blocks(path: Path, columns: Sequence[str], numbers: Sequence[str]) -> ClipTable:
    digest = hashlib.sha256()
    coders = {name: _TextCoder() for name in columns}
    kept: dict[str, list[Numbers]] = {name: [] for name in numbers}
    ids: list[Any] = []
    seconds: list[Numbers] = []
    lines: list[Indices] = []
    found: set[str] = set()
    texts: dict[str, Any] = dict.fromkeys(_TEXTS, pa.string())
    file = OpenFile(path)
    for start, data in _blocks(file):
        digest.update(data)
        places = _lines_of(data)
        table = _parse(data, texts)
        if table.num_rows != len(places):
            raise _Odd
        _check(table)
        found.update(name for name in table.column_names if table[name].null_count < table.num_rows)
        ids.append(table["id"].combine_chunks())
        seconds.append(table["seconds"].to_numpy())
        for name, coder in coders.items():
            coder.add(table[name] if name in table.column_names else None, table.num_rows)
        for name, parts in kept.items():
            parts.append(_numbers(table, name))
        places[:, 0] += start
        lines.append(places)
    if not ids:
        raise _Odd
    together = pa.chunked_array([part.cast(pa.large_string()) for part in ids]).combine_chunks()
    if pc.count_distinct(together).as_py() != len(together):
        raise _Odd
    return ClipTable(
        path,
        digest.hexdigest()[:16],
        together,
        np.concatenate(seconds),
        {name: coder.column() for name, coder in coders.items()},
        frozenset(found - {"id", "path", "tags", *_NUMBERS}),
        {name: np.concatenate(parts) for name, parts in kept.items()},
        np.concatenate(lines),
        file=file,
    )


def _blocks(file: OpenFile) -> Iterator[tuple[int, bytes]]:
    """Yield blocks of whole lines, some megabytes each, with their position in the file."""
    start, at, rest = 0, 0, b""
    while more := file.read(at, _BLOCK_BYTES):
        at += len(more)
        cut = more.rfind(b"\n") + 1
        if not cut:
            rest += more
            continue
        yield start, rest + more[:cut]
        start += len(rest) + cut
        rest = more[cut:]
    if rest:
        yield start, rest


def _lines_of(data: bytes) -> Indices:
    """Return the start and the length of each line, without line ends; `_Odd` if a line is not an object."""
    # Searching for plain bytes is much faster than the pattern.
    if (b"\\ud" in data or b"\\uD" in data) and _HALF.search(data):
        raise _Odd
    if b"\0" in data or b"\\u0000" in data or not (data.isascii() or _is_utf8(data)):
        raise _Odd
    bytes_ = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(bytes_ == 10)
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (starts >= ends).any() or (bytes_[starts] != ord("{")).any():
        raise _Odd
    return np.stack([starts, ends - starts], axis=1).astype(np.int64)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _parse(data: bytes, texts: dict[str, Any]) -> Any:
    """Return a block as a table. Columns that pyarrow reads as times are read as text and added to `texts`."""
    reading = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
    while True:
        schema = pa.schema([*texts.items(), *_NUMBERS.items()])
        table = pj.read_json(io.BytesIO(data), reading, pj.ParseOptions(explicit_schema=schema))
        times = {one.name: pa.string() for one in table.schema if pa.types.is_temporal(one.type)}
        if not times:
            return table
        texts.update(times)


def _check(table: Any) -> None:
    """Raise `_Odd` for rows that `Clip.from_row` would not accept."""
    for name in _REQUIRED:
        if table[name].null_count:
            raise _Odd
    start, seconds = table["start"].to_numpy(), table["seconds"].to_numpy()
    rate = table["sample_rate"].to_numpy()
    if not ((start >= 0) & np.isfinite(start) & (seconds > 0) & (seconds < LONGEST_SECONDS) & (rate > 0)).all():
        raise _Odd
    for one in table.schema:
        kind = one.type
        if one.name == "tags":
            fits = pa.types.is_null(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type))
            fits = fits and (pa.types.is_null(kind) or not table["tags"].combine_chunks().flatten().null_count)
        elif pa.types.is_floating(kind):
            values = table[one.name].drop_null().to_numpy()
            fits = bool((np.abs(values) < _EXACT).all())
        else:
            plain = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
            fits = any(is_kind(kind) for is_kind in plain)
        if not fits:
            raise _Odd


def _numbers(table: Any, name: str) -> Numbers:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    kind = table[name].type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return np.full(table.num_rows, np.nan)
    return np.asarray(table[name].cast(pa.float64()).fill_null(np.nan).to_numpy(), np.float64)


def table_of(
    clips: Sequence[Clip],
    columns: Sequence[str] = (),
    numbers: Sequence[str] = (),
    path: Path | None = None,
    hash: str = "",
) -> ClipTable:
    """Return clips in memory as a table.

    Parameters
    ----------
    clips
        The clips.
    columns, numbers
        Columns to keep as text and as numbers, as in `read_table`.
    path, hash
        The manifest that they come from, if any.
    """
    found: set[str] = set()
    coders = {name: _TextCoder() for name in columns}
    indices: dict[str, list[int]] = {name: [] for name in columns}
    kept: dict[str, list[float]] = {name: [] for name in numbers}
    for clip in clips:
        row = clip.row()
        found.update(row)
        for name, coder in coders.items():
            indices[name].append(coder.place(row.get(name)))
        for name, values in kept.items():
            value = row.get(name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            values.append(float(value) if is_number and value is not None else np.nan)
    return ClipTable(
        path or Path(),
        hash,
        pa.array([clip.id.encode("utf-8", "surrogatepass") for clip in clips], pa.large_binary()),
        np.array([clip.seconds for clip in clips], np.float64),
        {name: TextColumn(list(coder.number), np.array(indices[name], np.int64)) for name, coder in coders.items()},
        frozenset(found - {"id", "path", "tags", *_NUMBERS}),
        {name: np.array(values, np.float64) for name, values in kept.items()},
        None,
        list(clips),
    )
