"""Turns errors of the disk into one line with the file, the cause, the disk and its free space.

Every library reports these errors differently: safetensors as a text, NumPy as a count, libsndfile as "System error",
torch as a position in an archive. Only this module knows them. If an error hides its cause, a small test file is
written.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audio_ssl.base.errors import AudioError, UserError

_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
_RIGHTS = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))
REFUSALS = (
    _ROOM
    | _RIGHTS
    | frozenset((errno.EFBIG, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST))
    | frozenset((errno.ENOENT, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.EBUSY, errno.ETXTBSY, errno.ENODEV))
)
"""Errors that are caused by the disk or by permissions, and not by this program."""

_NUMBER = re.compile(r"\((?:os error|errno) (\d+)\)|\[[Ee]rrno (\d+)\]")
_PROBE_BYTES = 64 << 10
_ELSEWHERE = "choose another place"
_AGAIN = "run the same command again"


class DiskError(UserError):
    """A file could not be written. The file that was there before is unchanged."""

    def going_on_with(self, option: str) -> DiskError:
        """Return this error with the option that continues the command in its remedy."""
        remedy = self.remedy and self.remedy.replace(_AGAIN, f"{_AGAIN} with {option}")
        return DiskError(self.what, where=self.where, remedy=remedy)


@contextmanager
def writing(path: Path, needed_bytes: int | None = None) -> Iterator[None]:
    """Turn errors of the disk within the block into a `DiskError` about `path`.

    Parameters
    ----------
    path
        File that is written.
    needed_bytes
        Its size, if known.
    """
    try:
        yield
    # Errors of several libraries, which have no common class.
    except Exception as error:
        number = refusal(error, path.parent)
        if number is None:
            raise
        raise disk_error(path, number, needed_bytes) from error


def refusal(error: BaseException, folder: Path, partial: Path | None = None) -> int | None:
    """Return the error number of the disk; None if the error is about something else.

    Parameters
    ----------
    error
        Error that was raised while a file was written.
    folder
        Folder of the file.
    partial
        Unfinished file, which is written to once more if the error hides its cause.
    """
    if isinstance(error, UserError | AudioError):
        return None
    number = number_of(error)
    if number is not None:
        return number if number in REFUSALS and _concerns(error, folder) else None
    return _ask(folder, partial) if isinstance(error, OSError | RuntimeError) else None


def number_of(error: BaseException) -> int | None:
    """Return the error number of the system, from the text of the error if the library gives it only there.

    Examples
    --------
    >>> number_of(Exception("Error while serializing: I/O error: No space left on device (os error 28)"))
    28
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _NUMBER.search(str(error))
    return int(found.group(1) or found.group(2)) if found else None


def disk_error(path: Path, number: int, needed_bytes: int | None = None) -> DiskError:
    """Return the error with the file, the cause and the disk."""
    what = f"cannot be written: {os.strerror(number)}"
    blocking = next((one for one in path.parents if one.is_file()), None)
    if number in (errno.EEXIST, errno.ENOTDIR) and blocking is not None:
        return DiskError(f"cannot be written: {blocking} is a file, not a folder", where=str(path), remedy=_ELSEWHERE)
    if number in _ROOM | _RIGHTS | {errno.EIO, errno.ESTALE, errno.EFBIG}:
        what += f"; {_disk(path, number, needed_bytes)}"
    if number in _ROOM:
        remedy = f"make room there or choose another place, then {_AGAIN}"
    elif number in _RIGHTS:
        remedy = "choose a place that you may write to"
    elif number == errno.EFBIG:
        remedy = "`ulimit -f` or the file system allows no larger file; choose another place"
    else:
        remedy = _ELSEWHERE
    return DiskError(what, where=str(path), remedy=remedy)


def mount_of(path: Path) -> Path:
    """Return the mount point of a path, which need not exist."""
    place = Path(os.path.abspath(path))
    while not os.path.ismount(place) and place != place.parent:
        place = place.parent
    return place


def readable_size(size: float) -> str:
    """Return a number of bytes with a unit.

    Examples
    --------
    >>> readable_size(0), readable_size(65536), readable_size(3_210_000_000)
    ('0 B', '65.5 kB', '3.2 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _disk(path: Path, number: int, needed_bytes: int | None) -> str:
    mount = mount_of(path)
    try:
        usage = shutil.disk_usage(mount)
    except OSError:
        usage = None
    if number not in _ROOM or usage is None:
        return f"the disk is mounted at {mount}"
    room = f"the disk mounted at {mount} has {readable_size(usage.free)} free of {readable_size(usage.total)}"
    # A file needs a little more space than its content.
    if needed_bytes is None or needed_bytes <= usage.free:
        return room
    return f"{room}, and {readable_size(needed_bytes)} are needed"


def _concerns(error: BaseException, folder: Path) -> bool:
    """Return whether an error is about a file below a folder, or names no file."""
    names = [os.fsdecode(name) for name in _names(error)]
    home = os.path.abspath(folder)
    paths = [os.path.abspath(name) for name in names]
    # A folder that could not be created is above.
    return not paths or any(one == home or one.startswith(home + os.sep) or home.startswith(one) for one in paths)


def _names(error: BaseException) -> list[str | bytes]:
    found = [getattr(error, "filename", None), getattr(error, "filename2", None)]
    return [name for name in found if isinstance(name, str | bytes)]


def _ask(folder: Path, partial: Path | None) -> int | None:
    """Write a little and return the error number of the system."""
    try:
        if partial is not None and partial.is_file():
            with partial.open("ab") as file:
                _fill(file.fileno())
        else:
            with tempfile.TemporaryFile(dir=folder) as file:
                _fill(file.fileno())
    except OSError as error:
        return error.errno if error.errno in REFUSALS else None
    return None


def _fill(descriptor: int) -> None:
    os.write(descriptor, b"\0" * _PROBE_BYTES)
    os.write(descriptor, b"\0")
    os.fsync(descriptor)
