"""The clips of a folder or a manifest, one after the other: nothing grows with their number but 16 bytes a row.

Each gets a number, its place in the order, and a name for its own file that no other has: the same in every run and in
every process, whichever clips a process takes.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_ssl.data.audio import audio_info
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, audio_files, iterate_manifest
from audio_ssl.errors import UserError


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
    """The manifest's row; None where the header has not been read."""

    def open(self) -> Clip:
        """Return the clip, its length read from the file's header if need be; AudioError if that cannot be."""
        if self.clip is not None:
            return self.clip
        info = audio_info(self.path)
        return Clip(self.id, self.path, 0.0, info.seconds, info.sample_rate)


def walk(audio: Path, ledger: ErrorLedger) -> Iterator[Item]:
    """Yield the clips of a manifest (``.jsonl``), a folder, or one file.

    Raises
    ------
    UserError
        If there is nothing there, a manifest's row is wrong, or two rows have one id.
    """
    if not audio.exists():
        raise UserError("no such file or folder", where=str(audio))
    return _rows(audio) if audio.suffix == ".jsonl" else _files(audio, ledger)


def items_of(clips: Iterable[Clip]) -> Iterator[Item]:
    """Yield clips that are known already."""
    for number, clip in enumerate(clips):
        yield Item(number, clip.id, clip.path, short_name(clip.id), clip)


def short_name(clip_id: str) -> str:
    """Return the name of a clip's file: its id without suffix, and without what would lead out of the folder.

    Examples
    --------
    >>> [short_name(name) for name in ("x/a.wav", "b.wav#001", "v1.2.wav", "../up.wav", "/")]
    ['x/a', 'b#001', 'v1.2', 'up', 'clip']
    """
    whole, mark, piece = _inner(clip_id)
    return f"{Path(whole).with_suffix('').as_posix() if whole else 'clip'}{mark}{piece}"


def _long_name(clip_id: str) -> str:
    return "".join(_inner(clip_id))


def _inner(clip_id: str) -> tuple[str, str, str]:
    # Rows cut from one file end in #000: the number is no suffix.
    stem, mark, piece = clip_id.partition("#")
    parts = [part for part in Path(stem).parts if part not in ("/", "..")]
    return "/".join(parts), mark, piece


def _unused(clip_id: str, taken: Collection[str]) -> str:
    """Return a name not taken: the short one, the one with the suffix, or that with a number."""
    name = short_name(clip_id)
    if name in taken:
        name = whole = _long_name(clip_id)
        number = 1
        while name in taken:
            number += 1
            name = f"{whole}~{number}"
    return name


def _files(root: Path, ledger: ErrorLedger) -> Iterator[Item]:
    number = 0
    for _, paths in groupby(audio_files(root, ledger), key=lambda path: path.parent):
        taken: set[str] = set()
        for path in paths:
            clip_id = path.name if path == root else path.relative_to(root).as_posix()
            name = _unused(clip_id, taken)
            taken.add(name)
            yield Item(number, clip_id, str(path), name, None)
            number += 1


def _rows(path: Path) -> Iterator[Item]:
    ids, names = array("Q"), array("Q")
    for clip in iterate_manifest(path):
        ids.append(_hash(clip.id))
        names.append(_hash(short_name(clip.id)))
    if not ids:
        raise UserError("the manifest has no clips", where=str(path))
    _refuse_repeated(path, _repeated(ids))
    shared = _repeated(names)
    taken: set[str] = set()
    for number, clip in enumerate(iterate_manifest(path)):
        name = short_name(clip.id)
        if _hash(name) in shared:
            name = _unused(clip.id, taken)
            taken.add(name)
        yield Item(number, clip.id, clip.path, name, clip)


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
