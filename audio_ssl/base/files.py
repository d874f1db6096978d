"""Writes files and folders completely or not at all, and locks them while a command writes them.

A file is written beside its target, flushed to the disk and renamed. So a killed command or a full disk leaves either
the old file or the new one. A process holds a lock on its unfinished file. Unfinished files without a lock were left by
killed processes, and `clear_partials` deletes them.

Only one command at a time writes a folder or a file. A second one ends with an error that names the first. The lock is
that of the system (`flock`), so it ends with its owner, even after ``kill -9``. The file ``.lock`` names the owner. In
a job of several processes, the leader holds the lock. Network disks usually support locks (NFS and Lustre do); for one
that does not, there is a warning.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audio_ssl.base.disk import disk_error, refusal, writing
from audio_ssl.base.documents import parse_object
from audio_ssl.base.errors import UserError

logger = logging.getLogger(__name__)

PARTIAL = ".partial-"
"""Prefix of the names of unfinished files."""

_OURS = re.compile(r"\.partial-[0-9a-f]{8}-")
"""Names of unfinished files whose writer holds a lock. Earlier versions used names without the hash, and no lock."""

_JUST_MADE_SECONDS = 10.0
_SURELY_OLD_SECONDS = 24 * 3600.0
"""Seconds after which an unfinished file without locks (an earlier version, or a disk without locks) is old."""


@contextmanager
def atomic_write(path: Path, work: Path | None = None, needed_bytes: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success it is renamed to `path`; on failure it is deleted.

    The temporary name has the suffix of `path`, as some writers need it.

    Parameters
    ----------
    path
        Final path.
    work
        Folder for the temporary file, on the same disk. Its owner deletes files left by killed processes.
    needed_bytes
        Size of the file, if known, for the message about a full disk.

    Raises
    ------
    DiskError
        If the disk is full or refuses for another reason. `path` is unchanged.
    """
    folder = path.parent if work is None else work
    with writing(path, needed_bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{PARTIAL}{_tag(path)}-", suffix=path.suffix, dir=folder)
    partial = Path(name)
    try:
        _hold(handle)
        yield partial
        flush(partial)
        # mkstemp creates private files; restore the usual permissions.
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    # Errors of several libraries, which have no common class.
    except Exception as error:
        number = refusal(error, folder, partial)
        if number is None:
            raise
        # Its space is freed first, so that the error reports the free space without it.
        with suppress(OSError):
            os.ftruncate(handle, 0)
        raise disk_error(path, number, needed_bytes) from error
    finally:
        os.close(handle)
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, needed_bytes: int | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside `path`. On success it replaces `path`; on failure it is deleted."""
    partial = path.parent / f"{PARTIAL}{path.name}"
    with writing(path, needed_bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        handle = os.open(partial, os.O_RDONLY)
    try:
        _hold(handle)
        yield partial
        for file in (*partial.iterdir(), partial):
            flush(file)
        remove_folder(path)
        partial.rename(path)
        flush(path.parent)
    except Exception as error:
        number = refusal(error, partial.parent)
        if number is None:
            raise
        shutil.rmtree(partial, ignore_errors=True)
        raise disk_error(path, number, needed_bytes) from error
    finally:
        os.close(handle)
        shutil.rmtree(partial, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Delete a folder. It is renamed first, so that a killed process leaves no part of it under its name."""
    gone = path.parent / f"{PARTIAL}gone-{path.name}"
    if path.exists():
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def append(path: Path, data: bytes) -> None:
    """Append bytes to a file. A part that was written before the disk was full is removed.

    Raises
    ------
    DiskError
        If the disk is full or refuses for another reason. The file is unchanged.
    """
    with writing(path, len(data)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            before = os.fstat(handle).st_size
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[os.write(handle, rest) :]
            except OSError:
                os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)


def flush(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    data = text.encode("utf-8")
    with atomic_write(path, needed_bytes=len(data)) as partial:
        partial.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically. NaN is refused, as JSON does not have it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def clear_partials(folder: Path, target: Path | None = None) -> None:
    """Delete the unfinished files of killed processes in a folder, not those of living ones.

    Parameters
    ----------
    folder
        Folder; folders below it are not searched.
    target
        Delete only unfinished files of this target.
    """
    prefix = PARTIAL if target is None else f"{PARTIAL}{_tag(target)}-"
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and _abandoned(folder / name):
                with suppress(OSError):
                    _remove(folder / name)


def _abandoned(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        status = os.fstat(handle)
        age = time.time() - status.st_mtime
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return age > _SURELY_OLD_SECONDS
        # Another version of this program, which holds no lock, may be writing it.
        if path.is_file() and not _OURS.match(path.name):
            return age > _SURELY_OLD_SECONDS
        # A new file may not be locked yet.
        return status.st_size > 0 or age > _JUST_MADE_SECONDS
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _hold(handle: int) -> None:
    # On a disk without locks, age decides (see `_abandoned`).
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _tag(path: Path) -> str:
    return hashlib.blake2b(os.fsencode(path.name), digest_size=4).hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


LOCK_FILE = ".lock"
_COMMAND_LETTERS = 100


@contextmanager
def locked_folder(folder: Path, deep: bool = True) -> Iterator[None]:
    """Lock a folder for writing, and delete the unfinished files of killed processes.

    Parameters
    ----------
    folder
        Folder; it is created if missing, and deleted at the end if it is empty.
    deep
        Also delete unfinished files in the folders below it.

    Raises
    ------
    UserError
        If another command is writing the folder, or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file; a folder is needed", where=str(folder), remedy="choose another --out")
    made = not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with _held(folder / LOCK_FILE, folder):
            for one in (Path(name) for name, _, _ in os.walk(folder)) if deep else [folder]:
                clear_partials(one)
            yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def locked_file(path: Path, *beside: str) -> Iterator[None]:
    """Lock a file, and files with other suffixes beside it, for writing (see `locked_folder`)."""
    made = not path.parent.exists()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _held(path.parent / f".{path.name}{LOCK_FILE}", path):
            for target in (path, *(path.with_suffix(suffix) for suffix in beside)):
                clear_partials(path.parent, target)
            yield
    finally:
        if made:
            with suppress(OSError):
                path.parent.rmdir()


def is_used(folder: Path, *but: str) -> bool:
    """Return whether a folder has files other than a lock, unfinished files and the given names."""
    names = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    return any(name not in (LOCK_FILE, *but) and not name.startswith(PARTIAL) for name in names)


@contextmanager
def _held(lock: Path, what: Path) -> Iterator[None]:
    handle = _acquire(lock, what)
    try:
        with writing(what):
            os.ftruncate(handle, 0)
            os.write(handle, _owner().encode("ascii"))
        yield
    finally:
        # Deleted while the lock is held: a process that has opened it sees that it is gone (see `_acquire`).
        lock.unlink(missing_ok=True)
        os.close(handle)


def _acquire(lock: Path, what: Path) -> int:
    while True:
        with writing(what):
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = os.pread(handle, 4096, 0)
            os.close(handle)
            raise UserError(
                f"another command is writing here: {_read_owner(told)}",
                where=str(what),
                remedy="wait until it is done, or choose another --out",
            ) from None
        except OSError as error:
            logger.warning(
                "the disk of %s has no locks (%s): make sure that no other command writes there", what, error.strerror
            )
            return handle
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        # Its last owner has deleted it in the meantime.
        os.close(handle)


def _owner() -> str:
    command = shlex.join(["audio-ssl", *sys.argv[1:]])[:_COMMAND_LETTERS]
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since, "command": command})


def _read_owner(told: bytes) -> str:
    try:
        owner = parse_object(told, "lock")
        return f"process {owner['pid']} on {owner['host']} since {owner['since']} (`{owner['command']}`)"
    # The owner has only just begun.
    except (UserError, KeyError):
        return "it has just begun"
