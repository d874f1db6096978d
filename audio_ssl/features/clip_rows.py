"""Rows that several processes write as they come: any of them can stop and continue, and the end is in order.

Each process appends rows of JSON to a journal of its own below ``.index``; when all have finished, they become one file
of JSON Lines in the order of the clips, so its presence says that the work is whole. In memory a clip takes 16 bytes.
"""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_ssl.base.checksums import SEALS_FILE, write_seals
from audio_ssl.base.documents import JsonObject, find, parse_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import append, atomic_write
from audio_ssl.features.journal import JOURNALS, digest, holds, journal_path, sorted_digests, whole_lines


class RowJournal:
    """The rows of one process, on the disk as they are added.

    Parameters
    ----------
    out
        Folder of the work.
    part
        Prefix of the process's files.
    """

    def __init__(self, out: Path, part: str) -> None:
        self._path = journal_path(out, part)

    def add(self, rows: Iterable[tuple[int, JsonObject]]) -> None:
        """Add rows, each with the number of its clip; a row has the clip's ``id``."""
        lines = (json.dumps({"number": number, "row": row}, ensure_ascii=True) for number, row in rows)
        append(self._path, "".join(f"{line}\n" for line in lines).encode("ascii"))


class FinishedClips:
    """The clips that have a row in a journal, or in the file that an earlier command finished."""

    def __init__(self, out: Path, file: str) -> None:
        self._digests = sorted_digests(
            b"".join(digest(str(row["id"])) for path in _sources(out, file) for _, _, row in _rows(path))
        )

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, clip_id: str) -> bool:
        return holds(self._digests, clip_id)


def publish_rows(out: Path, file: str) -> int:
    """Make the file of the journals, and of the file that was there; return how many rows it has."""
    sources = _sources(out, file)
    digests, places = bytearray(), array("q")
    for source, path in enumerate(sources):
        for offset, number, row in _rows(path):
            digests += digest(str(row["id"]))
            # Rows of an earlier file come first, in their order.
            places.extend((offset - (1 << 62) if number is None else number, source, offset))
    if not places:
        return 0
    order = np.frombuffer(places, dtype=np.int64).reshape(-1, 3)
    _, first = np.unique(np.frombuffer(digests, dtype="S16"), return_index=True)
    kept = order[first]
    kept = kept[np.lexsort((kept[:, 2], kept[:, 1], kept[:, 0]))]
    # The record of hashes must never be that of an older file.
    (out / SEALS_FILE).unlink(missing_ok=True)
    with atomic_write(out / file) as partial:
        _copy(sources, kept, partial)
    write_seals(out, [file])
    shutil.rmtree(out / JOURNALS, ignore_errors=True)
    return len(kept)


def _sources(out: Path, file: str) -> list[Path]:
    return [*([out / file] if (out / file).exists() else []), *sorted((out / JOURNALS).glob("*.jsonl"))]


def _rows(path: Path) -> Iterator[tuple[int, int | None, JsonObject]]:
    """Yield offset, number and row of each line that can be read; clips of damaged lines count as not done."""
    for offset, line in whole_lines(path):
        try:
            number, row = _parsed(line, path)
        except UserError:
            continue
        yield offset, number, row


def _parsed(line: bytes, path: Path) -> tuple[int | None, JsonObject]:
    found = parse_object(line, str(path))
    number = None
    if path.parent.name == JOURNALS:
        number, found = find(found, "number", int, str(path)), find(found, "row", dict, str(path))
    find(found, "id", str, str(path))
    return number, found


def _copy(sources: list[Path], places: npt.NDArray[np.int64], path: Path) -> None:
    files = [source.open("rb") for source in sources]
    try:
        with path.open("w", encoding="ascii") as out:
            for _, source, offset in places.tolist():
                files[source].seek(offset)
                _, row = _parsed(files[source].readline(), sources[source])
                out.write(json.dumps(row, ensure_ascii=True) + "\n")
    finally:
        for file in files:
            file.close()
