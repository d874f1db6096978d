"""index.jsonl: which clips were extracted, and in which file their features lie; any process can stop and continue.

Each process appends the rows of clips whose features are on the disk to a journal of its own below ``.index``. When all
processes have finished, the journals become ``index.jsonl``, in the order of the clips. In memory a clip takes 16
bytes. Files of features are written below ``.index``, too, and renamed when they are complete: what a killed process
left is removed with that folder.
"""

from __future__ import annotations

import logging
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.features import INDEX_FILE, STORE, IndexRow, as_index_row
from audio_ssl.base.checksums import SEALS_FILE, Seal, fault, put_seals, write_seals
from audio_ssl.base.documents import parse_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import append, atomic_write
from audio_ssl.features.clips import folded
from audio_ssl.features.journal import JOURNALS, digest, holds, journal_path, sorted_digests, whole_lines

_MOST_SAID = 10

logger = logging.getLogger(__name__)


class Journal:
    """The rows of one process, on the disk as they are added."""

    def __init__(self, out: Path, part: str) -> None:
        self._path = journal_path(out, part)

    def add(self, rows: Iterable[IndexRow]) -> None:
        """Add rows whose features are on the disk."""
        append(self._path, "".join(f"{row.line(number=True)}\n" for row in rows).encode("ascii"))


class Done:
    """The clips whose features are on the disk."""

    def __init__(self, out: Path) -> None:
        digests, named, files = bytearray(), bytearray(), _Files(out)
        for path in _sources(out):
            for _, row in _rows(path, say=True):
                if files.fault(row) is None:
                    digests += digest(row.id)
                    named += digest(folded(row.file)) if row.file.endswith(".npy") else b""
        self._digests, self._files = sorted_digests(digests), sorted_digests(named)

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, clip_id: str) -> bool:
        return holds(self._digests, clip_id)

    def has_file(self, name: str) -> bool:
        """Tell whether a file of one clip has this name, or one that some disks take for the same."""
        return holds(self._files, folded(name))


class _Files:
    """The files of features; each is checked once."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._known: dict[str, str | None] = {}

    def fault(self, row: IndexRow) -> str | None:
        """Return what is wrong with a row's file, None if nothing; rows of earlier versions lack its length."""
        file = row.file
        if file.endswith(".npy"):
            # The file of a single clip is not looked up again.
            return self._look(file, row)
        if file not in self._known:
            self._known[file] = self._look(file, row)
        return self._known[file]

    def _look(self, file: str, row: IndexRow) -> str | None:
        path, told = self._out / file, row.bytes
        if told is None:
            return fault(path)
        try:
            size = path.stat().st_size
        except OSError:
            return "is missing"
        return None if size == told else f"has {size:,} bytes where {told:,} were written"


def remove_damaged(out: Path) -> None:
    """Remove the rows of clips whose file is missing or has another length than was written, and damaged files.

    Call this before any process writes. If clips are lost, ``index.jsonl`` becomes a journal again: the extraction is
    incomplete, and these clips are extracted again.
    """
    files, lost = _Files(out), Counter[str]()
    ends: dict[bytes, tuple[str, str | None]] = {}
    for path in _sources(out):
        kept: list[int] = []
        before = lost.total()
        for offset, line in whole_lines(path):
            # Of a million rows of a few files, few ends differ.
            end = line[max(0, line.rfind(b'"file": ')) :]
            if end not in ends:
                row = _row(line, path)
                # Damaged rows are kept: the readers of rows report them.
                ends[end] = ("", None) if row is None else (row.file, files.fault(row))
            file, wrong = ends[end]
            if file.endswith(".npy"):
                del ends[end]
            if wrong is None:
                kept.append(offset)
            else:
                lost[f"{out / file} {wrong}"] += 1
                _remove(out, file)
        if lost.total() == before:
            continue
        is_index = path.name == INDEX_FILE
        with (
            atomic_write(out / JOURNALS / "earlier.jsonl" if is_index else path) as partial,
            path.open("rb") as old,
            partial.open("wb") as rest,
        ):
            for offset in kept:
                old.seek(offset)
                rest.write(old.readline())
        if is_index:
            path.unlink()
    for said, count in list(lost.items())[:_MOST_SAID]:
        logger.warning("%s: %d clip%s extracted again", said, count, " is" if count == 1 else "s are")
    if len(lost) > _MOST_SAID:
        logger.warning("and %d more files", len(lost) - _MOST_SAID)


def _remove(out: Path, file: str) -> None:
    # A damaged index may name anything.
    path = out / file
    if path.is_file() and path.resolve().is_relative_to(out.resolve()):
        path.unlink()


def publish(out: Path) -> int:
    """Make ``index.jsonl`` of the journals and of the index that was there; return how many clips it has."""
    sources, files = _sources(out), _Files(out)
    digests, places = bytearray(), array("q")
    shards: dict[str, Seal] = {}
    for number, path in enumerate(sources):
        for offset, row in _rows(path):
            # Clips whose features are missing or damaged are left out.
            if files.fault(row) is not None:
                continue
            if row.file.startswith(f"{STORE}/") and row.seal is not None:
                shards[row.file.removeprefix(f"{STORE}/")] = row.seal
            digests += digest(row.id)
            # Rows of an earlier index come first, in their order.
            places.extend((offset - (1 << 62) if row.number is None else row.number, number, offset))
    if not places:
        return 0
    order = np.frombuffer(places, dtype=np.int64).reshape(-1, 3)
    # The last row of a clip counts: the clip was extracted again because the file of the first row was missing.
    _, newest = np.unique(np.frombuffer(digests, dtype="S16")[::-1], return_index=True)
    kept = order[len(order) - 1 - newest]
    kept = kept[np.lexsort((kept[:, 2], kept[:, 1], kept[:, 0]))]
    # The record of hashes must never be that of an older index.
    (out / SEALS_FILE).unlink(missing_ok=True)
    with atomic_write(out / INDEX_FILE) as partial:
        _copy_rows(sources, kept, partial)
    write_seals(out, [INDEX_FILE])
    if shards:
        put_seals(out / STORE, shards)
    shutil.rmtree(out / JOURNALS, ignore_errors=True)
    return len(kept)


def _copy_rows(sources: list[Path], places: npt.NDArray[np.int64], path: Path) -> None:
    files = [source.open("rb") for source in sources]
    try:
        with path.open("w", encoding="ascii") as out:
            for _, number, offset in places.tolist():
                files[number].seek(offset)
                row = _parsed(files[number].readline(), sources[number])
                out.write(f"{row.line()}\n")
    finally:
        for file in files:
            file.close()


def _sources(out: Path) -> list[Path]:
    index = out / INDEX_FILE
    return [*([index] if index.exists() else []), *sorted((out / JOURNALS).glob("*.jsonl"))]


def _rows(path: Path, say: bool = False) -> Iterator[tuple[int, IndexRow]]:
    """Yield the rows that can be read, each with its offset; with `say` the log has the number of damaged ones."""
    damaged = 0
    for offset, line in whole_lines(path):
        row = _row(line, path)
        if row is not None:
            yield offset, row
        elif line.strip():
            damaged += 1
    if damaged and say:
        logger.warning("%s: %d lines are damaged; their clips are extracted again", path, damaged)


def _row(line: bytes, path: Path) -> IndexRow | None:
    """Return a row; None of a damaged one."""
    try:
        return _parsed(line, path)
    except UserError:
        return None


def _parsed(line: bytes, path: Path) -> IndexRow:
    return as_index_row(parse_object(line, str(path)), str(path))
