"""The clips of a folder or a manifest, one after the other; memory grows by 16 bytes a manifest row.

Each clip gets a number, its place in the order, and a unique name for a file of its own. Both are the same in every run
and in every process, whichever clips a process takes.

The name of a file of features is the clip's name without its suffix, unless another clip has that name.

Many disks take two names for the same if they differ only in case or in how an accent is composed. Here, too, they
count as the same name.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import UserError
from audio_ssl.data.audio import Note, audio_info
from audio_ssl.data.audio.formats import SUFFIXES
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, audio_files, iterate_manifest


class ClipToExtract(NamedTuple):
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
    """Receives notes on the file; None: they go to the log."""

    def open(self) -> Clip:
        """Return the clip, its length read from the file if need be; AudioError if that cannot be."""
        if self.clip is not None:
            return self.clip
        info = audio_info(self.path, self.note)
        return Clip(self.id, self.path, 0.0, info.seconds, info.sample_rate)


SCHEME = 2
"""How names are made. 1: a hash sign anywhere marked a piece, and any suffix was taken away."""


def walk(audio: Path, ledger: ErrorLedger, scheme: int = SCHEME) -> Iterator[ClipToExtract]:
    """Yield the clips of a manifest (``.jsonl``), a folder, or one file.

    Parameters
    ----------
    audio
        What to walk.
    ledger
        Receives folders that cannot be read, and notes on files.
    scheme
        How names are made.

    Raises
    ------
    UserError
        If there is no such file or folder, a row of the manifest is wrong, or two rows have the same id.
    """
    if not audio.exists():
        raise UserError("no such file or folder", where=str(audio))
    return _rows(audio, ledger, scheme) if audio.suffix == ".jsonl" else _files(audio, ledger, scheme)


def items_of(clips: Iterable[Clip]) -> Iterator[ClipToExtract]:
    """Yield clips that are known already."""
    for number, clip in enumerate(clips):
        yield ClipToExtract(number, clip.id, clip.path, short_name(clip.id, clip.path), clip)


def _files(root: Path, ledger: ErrorLedger, scheme: int) -> Iterator[ClipToExtract]:
    number = 0
    for folder, paths in groupby(audio_files(root, ledger), key=lambda path: path.parent):
        within = "" if folder == root.parent or scheme == 1 else folder.relative_to(root).as_posix()
        place = folder_name(root, within) if within not in ("", ".") else within
        names = _Names(scheme)
        for path in paths:
            clip_id = path.name if path == root else path.relative_to(root).as_posix()
            # The first scheme made names from complete ids; now the folder has a name of its own.
            name = names.next(clip_id if scheme == 1 else path.name, str(path))
            name = f"{place}/{name}" if place not in ("", ".") else name
            yield ClipToExtract(number, clip_id, str(path), name, None, ledger.note)
            number += 1


class _Names:
    """Names of the files of one folder, each given once."""

    def __init__(self, scheme: int) -> None:
        self._scheme, self._taken = scheme, set[str]()

    def next(self, clip_id: str, path: str) -> str:
        """Return the best name of a clip that is not taken, and take it."""
        name = unused_name(clip_id, path, self._scheme, lambda name: self._key(name) in self._taken)
        self._taken.add(self._key(name))
        return name

    def _key(self, name: str) -> str:
        return name if self._scheme == 1 else folded(name)


def _rows(path: Path, ledger: ErrorLedger, scheme: int) -> Iterator[ClipToExtract]:
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
        # A fallback name may equal the short name of another clip.
        value = _name_hash(name, scheme)
        return value in taken or (value not in shared and scheme > 1 and _holds(all_names, value))

    for number, clip in enumerate(iterate_manifest(path)):
        name = short_name(clip.id, clip.path, scheme)
        if _name_hash(name, scheme) in shared:
            name = unused_name(clip.id, clip.path, scheme, is_taken)
            taken.add(_name_hash(name, scheme))
        yield ClipToExtract(number, clip.id, clip.path, name, clip, ledger.note)


def _holds(values: npt.NDArray[np.uint64], value: int) -> bool:
    place = int(np.searchsorted(values, np.uint64(value)))
    return place < len(values) and int(values[place]) == value


def _name_hash(name: str, scheme: int) -> int:
    return _hash(name if scheme == 1 else folded(name))


def _repeated(hashes: array[int]) -> set[int]:
    values, counts = np.unique(np.frombuffer(hashes, dtype=np.uint64), return_counts=True)
    return set(values[counts > 1].tolist())


def _refuse_repeated(path: Path, suspects: set[int]) -> None:
    # Few hashes occur twice, so the ids with these hashes fit into memory and can be compared.
    lines: dict[str, int] = {}
    for row, clip in enumerate(iterate_manifest(path) if suspects else (), 1):
        if _hash(clip.id) in suspects and lines.setdefault(clip.id, row) != row:
            raise UserError(
                f"the id `{clip.id}` of row {row} was used in row {lines[clip.id]} already", where=str(path)
            )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


_PIECE = re.compile(r"(.*?)(#\d{3,})", re.DOTALL)
_LONGEST_BYTES = 240
"""Of one part of a path; disks allow 255, and a suffix follows."""


def short_name(clip_id: str, path: str = "", scheme: int = SCHEME) -> str:
    """Return the name of a clip's file: its id without suffix and without parts that lead out of the folder.

    Parameters
    ----------
    clip_id
        Relative path, or the id of a manifest's row; rows cut from one file end in ``#000``.
    path
        The audio file; its suffix is removed from the id as well, even if it is not a known one.
    scheme
        That of the folder: an extraction that an earlier version began keeps its names.

    Examples
    --------
    >>> [short_name(name) for name in ("x/a.wav", "b.wav#001", "v1.2.wav", "../up.wav", "/", "take #3.wav", "s.12")]
    ['x/a', 'b#001', 'v1.2', 'up', 'clip', 'take #3', 's.12']
    """
    whole, piece = _parts(clip_id, scheme)
    if not whole:
        return f"clip{piece}"
    suffix = PurePosixPath(whole).suffix
    audio = suffix.lower() in SUFFIXES or (path and suffix == PurePosixPath(path).suffix)
    if scheme == 1 or (suffix and audio):
        whole = PurePosixPath(whole).with_suffix("").as_posix()
    return _fit(whole) + piece


def candidates(clip_id: str, path: str = "", scheme: int = SCHEME) -> Iterator[str]:
    """Yield names for a clip's file, the best first: the short one, the one with the suffix, and that with a number."""
    yield short_name(clip_id, path, scheme)
    whole, piece = _parts(clip_id, scheme)
    name = _fit(whole or "clip") + piece
    yield name
    number = 1
    while True:
        number += 1
        yield f"{name}~{number}"


def unused_name(clip_id: str, path: str, scheme: int, taken: Callable[[str], bool]) -> str:
    """Return the first of a clip's names that is not taken."""
    return next(name for name in candidates(clip_id, path, scheme) if not taken(name))


def own_name(clip_id: str) -> str:
    """Return a unique name for a clip whose other names are in use since an earlier run."""
    whole, piece = _parts(clip_id, SCHEME)
    digest = hashlib.blake2b(clip_id.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return f"{_fit(whole or 'clip')}{piece}~{digest}"


def folded(name: str) -> str:
    """Return the form of a name in which names that some disks take for the same are equal.

    Examples
    --------
    >>> folded("Stra\u00dfe/A") == folded("STRASSE/a")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _parts(clip_id: str, scheme: int) -> tuple[str, str]:
    if scheme == 1:
        stem, mark, number = clip_id.partition("#")
        piece = mark + number
    else:
        found = _PIECE.fullmatch(clip_id)
        stem, piece = found.groups() if found else (clip_id, "")
    parts = [part for part in PurePosixPath(stem).parts if part not in ("/", "//", "..")]
    return "/".join(parts), piece


def _fit(name: str) -> str:
    """Shorten parts of a path that are too long for disks; a hash keeps them distinct."""
    return "/".join(part if len(os.fsencode(part)) <= _LONGEST_BYTES else _shorten(part) for part in name.split("/"))


def _shorten(part: str) -> str:
    data = os.fsencode(part)
    digest = hashlib.blake2b(data, digest_size=6).hexdigest()
    return os.fsdecode(data[: _LONGEST_BYTES - 32]).encode("utf-8", "ignore").decode() + f"~{digest}"


def folder_name(root: Path, folder: str) -> str:
    """Return where files of a folder below `root` go; folders whose names some disks take for the same stay apart."""
    names, place = [], root
    for part in PurePosixPath(folder).parts:
        names.append(_subfolders(place).get(part, part))
        place /= part
    return "/".join(names)


@lru_cache(maxsize=256)
def _subfolders(folder: Path) -> dict[str, str]:
    """Return the new names of the subfolders that need one."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return {}
    seen: dict[str, int] = {}
    others = {}
    for name in names:
        seen[folded(name)] = seen.get(folded(name), 0) + 1
        if seen[folded(name)] > 1:
            others[name] = f"{name}~{seen[folded(name)]}"
    return others
