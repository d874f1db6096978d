"""The clips of a folder or a manifest, one after the other: nothing grows with their number but 16 bytes a row.

Each gets a number, its place in the order, and a name for its own file that no other has: the same in every run and in
every process, whichever clips a process takes.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_ssl.data.audio import Note, audio_info
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, audio_files, iterate_manifest
from audio_ssl.errors import UserError
from audio_ssl.features.names import SCHEME, folder_name, key, short_name, unused


class Item(NamedTuple):
    """A clip that may be extracted."""

    number: int
    """Place in the order of the folder or manifest."""

    id: str
    """Relative path, or the manifest's id."""

    path: str
    """The audio file."""

    name: str
    """Relative path without suffix, for files named after the clip."""

    clip: Clip | None
    """The manifest's row; None where the file has not been looked at."""

    note: Note | None = None
    """Told what is worth knowing of the file; None: the log."""

    def open(self) -> Clip:
        """Return the clip, its length read from the file if need be; AudioError if that cannot be."""
        if self.clip is not None:
            return self.clip
        info = audio_info(self.path, self.note)
        return Clip(self.id, self.path, 0.0, info.seconds, info.sample_rate)


def walk(audio: Path, ledger: ErrorLedger, scheme: int = SCHEME) -> Iterator[Item]:
    """Yield the clips of a manifest (``.jsonl``), a folder, or one file.

    Parameters
    ----------
    audio
        What to walk.
    ledger
        Receives folders that cannot be read, and what is worth knowing of files.
    scheme
        How names are made.

    Raises
    ------
    UserError
        If there is nothing there, a manifest's row is wrong, or two rows have one id.
    """
    if not audio.exists():
        raise UserError("no such file or folder", where=str(audio))
    return _rows(audio, ledger, scheme) if audio.suffix == ".jsonl" else _files(audio, ledger, scheme)


def items_of(clips: Iterable[Clip]) -> Iterator[Item]:
    """Yield clips that are known already."""
    for number, clip in enumerate(clips):
        yield Item(number, clip.id, clip.path, short_name(clip.id, clip.path), clip)


def _files(root: Path, ledger: ErrorLedger, scheme: int) -> Iterator[Item]:
    number = 0
    for folder, paths in groupby(audio_files(root, ledger), key=lambda path: path.parent):
        within = "" if folder == root.parent or scheme == 1 else folder.relative_to(root).as_posix()
        place = folder_name(root, within) if within not in ("", ".") else within
        names = _Names(scheme)
        for path in paths:
            clip_id = path.name if path == root else path.relative_to(root).as_posix()
            # Whole ids were named by the first scheme; now the folder has a name of its own.
            name = names.next(clip_id if scheme == 1 else path.name, str(path))
            name = f"{place}/{name}" if place not in ("", ".") else name
            yield Item(number, clip_id, str(path), name, None, ledger.note)
            number += 1


class _Names:
    """Names of the files of one folder, each given once."""

    def __init__(self, scheme: int) -> None:
        self._scheme, self._taken = scheme, set[str]()

    def next(self, clip_id: str, path: str) -> str:
        """Return the best name of a clip that is not taken, and take it."""
        name = unused(clip_id, path, self._scheme, lambda name: self._key(name) in self._taken)
        self._taken.add(self._key(name))
        return name

    def _key(self, name: str) -> str:
        return name if self._scheme == 1 else key(name)


def _rows(path: Path, ledger: ErrorLedger, scheme: int) -> Iterator[Item]:
    ids, names = array("Q"), array("Q")
    for clip in iterate_manifest(path):
        ids.append(_hash(clip.id))
        names.append(_name_hash(short_name(clip.id, clip.path, scheme), scheme))
    if not ids:
        raise UserError("the manifest has no clips", where=str(path))
    _refuse_repeated(path, _repeated(ids))
    shared, all_names = _repeated(names), np.unique(np.frombuffer(names, dtype=np.uint64))
    taken: set[int] = set()

    def is_taken(name: str) -> bool:
        # A longer name that a clip falls back on may be the short one of another clip.
        value = _name_hash(name, scheme)
        return value in taken or (value not in shared and scheme > 1 and _holds(all_names, value))

    for number, clip in enumerate(iterate_manifest(path)):
        name = short_name(clip.id, clip.path, scheme)
        if _name_hash(name, scheme) in shared:
            name = unused(clip.id, clip.path, scheme, is_taken)
            taken.add(_name_hash(name, scheme))
        yield Item(number, clip.id, clip.path, name, clip, ledger.note)


def _holds(values: npt.NDArray[np.uint64], value: int) -> bool:
    place = int(np.searchsorted(values, np.uint64(value)))
    return place < len(values) and int(values[place]) == value


def _name_hash(name: str, scheme: int) -> int:
    return _hash(name if scheme == 1 else key(name))


def _repeated(hashes: array[int]) -> set[int]:
    values, counts = np.unique(np.frombuffer(hashes, dtype=np.uint64), return_counts=True)
    return set(values[counts > 1].tolist())


def _refuse_repeated(path: Path, suspects: set[int]) -> None:
    # Few hashes are suspect, so their ids can be held and compared as they are.
    lines: dict[str, int] = {}
    for row, clip in enumerate(iterate_manifest(path) if suspects else (), 1):
        if _hash(clip.id) in suspects and lines.setdefault(clip.id, row) != row:
            raise UserError(
                f"the id `{clip.id}` of row {row} was used in row {lines[clip.id]} already", where=str(path)
            )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")
