"""One command at a time writes a folder or a file; a second one is told who does, and since when.

The lock is the system's own (`flock`), so it ends with its owner, also by ``kill -9``, and nothing has to be tidied
up. A file ``.lock`` beside what is written says whose it is. Of a job of several processes the leader alone holds it. A
network disk takes part where it passes locks on (NFS and Lustre do as a rule); where one does not, that is said.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from audio_ssl.atomic import PARTIAL, clear_partials
from audio_ssl.disk import writing
from audio_ssl.documents import parse_object
from audio_ssl.errors import UserError

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
_COMMAND_LETTERS = 100


@contextmanager
def locked_folder(folder: Path, deep: bool = True) -> Iterator[None]:
    """Be the only one to write a folder, and clear it of what killed processes left unfinished.

    Parameters
    ----------
    folder
        Made if it is not there, and removed at the end if nothing was written into it.
    deep
        Clear the folders below it, too.

    Raises
    ------
    UserError
        If another command is writing it, or the folder cannot be written at all.
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
    """Be the only one to write a file and, with other suffixes, what goes with it; see `locked_folder`."""
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
    """Tell whether a folder holds anything but a lock, what a killed process left unfinished, and some names."""
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
        # Removed while it is held: who opens it now finds that it is gone (see `_acquire`).
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
        # Its last owner has removed it in between.
        os.close(handle)


def _owner() -> str:
    command = shlex.join(["audio-ssl", *sys.argv[1:]])[:_COMMAND_LETTERS]
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since, "command": command})


def _read_owner(told: bytes) -> str:
    try:
        owner = parse_object(told, "lock")
        return f"process {owner['pid']} on {owner['host']} since {owner['since']} (`{owner['command']}`)"
    # It has only just begun.
    except (UserError, KeyError):
        return "it has just begun"
