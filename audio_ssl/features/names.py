"""Names of files of features: the clip's own with its last suffix replaced, and never one that another clip has.

Two names that differ in case or in how an accent is composed are one name on many disks, so they count as one.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from audio_ssl.data.formats import SUFFIXES

SCHEME = 2
"""How names are made. 1: a hash sign anywhere marked a piece, and any suffix was taken away."""

_PIECE = re.compile(r"(.*?)(#\d{3,})", re.DOTALL)
_LONGEST_BYTES = 240
"""Of one part of a path; disks allow 255, and a suffix follows."""


def short_name(clip_id: str, path: str = "", scheme: int = SCHEME) -> str:
    """Return the name of a clip's file: its id without suffix, and without what would lead out of the folder.

    Parameters
    ----------
    clip_id
        Relative path, or the id of a manifest's row; rows cut from one file end in ``#000``.
    path
        The audio file, whose suffix is one of the id, too, whatever it is.
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


def unused(clip_id: str, path: str, scheme: int, taken: Callable[[str], bool]) -> str:
    """Return the first of a clip's names that is not taken."""
    return next(name for name in candidates(clip_id, path, scheme) if not taken(name))


def own_name(clip_id: str) -> str:
    """Return a name that no other clip can have, for one whose other names are in use since an earlier run."""
    whole, piece = _parts(clip_id, SCHEME)
    digest = hashlib.blake2b(clip_id.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return f"{_fit(whole or 'clip')}{piece}~{digest}"


def key(name: str) -> str:
    """Return what two names have in common that are one on some disk.

    Examples
    --------
    >>> key("Stra\u00dfe/A") == key("STRASSE/a")
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
    """Shorten parts of a path that no disk would take; a hash keeps them apart."""
    return "/".join(part if len(os.fsencode(part)) <= _LONGEST_BYTES else _shorten(part) for part in name.split("/"))


def _shorten(part: str) -> str:
    data = os.fsencode(part)
    digest = hashlib.blake2b(data, digest_size=6).hexdigest()
    return os.fsdecode(data[: _LONGEST_BYTES - 32]).encode("utf-8", "ignore").decode() + f"~{digest}"


def folder_name(root: Path, folder: str) -> str:
    """Return where files of a folder below `root` go: folders whose names are one on some disk are kept apart."""
    names, place = [], root
    for part in PurePosixPath(folder).parts:
        names.append(_subfolders(place).get(part, part))
        place /= part
    return "/".join(names)


@lru_cache(maxsize=256)
def _subfolders(folder: Path) -> dict[str, str]:
    """Return the subfolders that need another name, with that name."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return {}
    seen: dict[str, int] = {}
    others = {}
    for name in names:
        seen[key(name)] = seen.get(key(name), 0) + 1
        if seen[key(name)] > 1:
            others[name] = f"{name}~{seen[key(name)]}"
    return others
