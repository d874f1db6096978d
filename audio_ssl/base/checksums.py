"""Detects damaged files: the length is compared at every opening, the SHA-256 on request.

The folder of an artifact has ``files.json`` with the length and the SHA-256 of each large file. The length is also
compared with the one in the file itself (safetensors, npy, parquet), so artifacts without ``files.json`` are checked as
well. Files that users may edit (recipes, cards) are not recorded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from audio_ssl.base.documents import find, read_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import write_json
from audio_ssl.base.npy import open_npy

SEALS_FILE = "files.json"


@dataclass(frozen=True)
class Seal:
    """Length and hash of a file when it was written."""

    bytes: int
    sha256: str
    """SHA-256 in hexadecimal digits."""


def seal(path: Path) -> Seal:
    """Return the length and the hash of a file."""
    with path.open("rb") as file:
        return Seal(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def read_seals(folder: Path) -> dict[str, Seal]:
    """Return the recorded files of a folder by their relative names; empty without a record.

    Raises
    ------
    UserError
        If the record is damaged.
    """
    path = folder / SEALS_FILE
    if not path.is_file():
        return {}
    files = find(read_object(path), "files", dict, str(path))
    found = {}
    for name, value in files.items():
        where = f"{path}: $.files"
        if not isinstance(value, dict):
            raise UserError(f"`{name}` must be an object", where=where, remedy=f"delete {SEALS_FILE} to do without it")
        found[name] = Seal(find(value, "bytes", int, where), find(value, "sha256", str, where))
    return found


def write_seals(folder: Path, names: Iterable[str]) -> None:
    """Add files of a folder that have just been written to its record."""
    put_seals(folder, {name: seal(folder / name) for name in names})


def put_seals(folder: Path, seals: Mapping[str, Seal]) -> None:
    """Write the record of a folder, without files that no longer exist."""
    known = {name: one for name, one in read_seals(folder).items() if (folder / name).exists()} | dict(seals)
    write_json(folder / SEALS_FILE, {"files": {name: asdict(known[name]) for name in sorted(known)}})


def fault(path: Path, told: Seal | None = None, full: bool = False) -> str | None:
    """Return the damage of a file in words; None if there is none.

    Parameters
    ----------
    path
        The file.
    told
        Its recorded length and hash, if any.
    full
        Read the whole file. Without a record, it is checked as far as its format allows.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if told is not None and size != told.bytes:
        return f"has {size:,} bytes where {told.bytes:,} were written"
    if size == 0:
        return "is empty"
    try:
        if told is not None and full:
            found = seal(path)
            hashes = f"SHA-256 {found.sha256[:16]}… where {told.sha256[:16]}… was recorded"
            return None if found == told else f"has other bytes than were written: {hashes}"
        if path.suffix in _CHECKS:
            return _CHECKS[path.suffix](path, full)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return None


def faults(folder: Path, needed: Iterable[str] = (), full: bool = False) -> dict[str, str]:
    """Return the damage of the recorded and the required files of a folder.

    Raises
    ------
    UserError
        If the record is damaged.
    """
    seals = read_seals(folder)
    names = dict.fromkeys([*needed, *seals])
    found = {name: fault(folder / name, seals.get(name), full) for name in names}
    return {name: wrong for name, wrong in found.items() if wrong is not None}


def require_whole(folder: Path, remedy: str) -> None:
    """Raise UserError if a recorded file of a folder is missing or has another length."""
    for name, wrong in faults(folder).items():
        raise UserError(f"{name} {wrong}: the folder is damaged", where=str(folder), remedy=remedy)


def require_unchanged(path: Path) -> None:
    """Raise UserError if a file is not what its folder recorded when it was finished; without a record, take it.

    For tables that a command goes on with: a changed digit in one of their rows is found in no other way.
    """
    told = read_seals(path.parent).get(path.name) if path.exists() else None
    if told is None or (wrong := fault(path, told, full=True)) is None:
        return
    raise UserError(
        f"{path.name} {wrong}: the folder is damaged, or the file was edited",
        where=str(path.parent),
        remedy=f"delete {path.name} to make it again, or {SEALS_FILE} to go on with it as it is",
    )


def _safetensors(path: Path, full: bool) -> str | None:
    try:
        with safe_open(path, framework="np"):
            return None
    except SafetensorError as error:
        return f"is cut or damaged: {error}"


def _npy(path: Path, full: bool) -> str | None:
    try:
        open_npy(path)
    except ValueError as error:
        return f"is cut or damaged: {error}"
    return None


def _parquet(path: Path, full: bool) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups if full else 0):
                file.read_row_group(group)
    except (pa.ArrowException, ValueError, OSError) as error:
        return f"is cut or damaged: {str(error).splitlines()[0]}"
    return None


_CHECKS: Mapping[str, Callable[[Path, bool], str | None]] = {
    ".safetensors": _safetensors,
    ".npy": _npy,
    ".parquet": _parquet,
}
