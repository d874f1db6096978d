"""Numbered lines of text files, and a lookup of lines by key.

Text is strict UTF-8, with or without a byte order mark. Files that end in ``.gz`` are unpacked while they are read.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from audio_ssl.base.documents.text import decode_text
from audio_ssl.base.errors import UserError

LONGEST_BYTES = 1 << 26
"""A longer line (64 MiB) is not a row of a table."""

_MARK = "\ufeff".encode()


def read_lines(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield number, offset in bytes, and text of each line, its end included.

    Raises
    ------
    UserError
        If the file cannot be opened, or a line is not UTF-8 or too long; the number is named.
    """
    try:
        with _open(path) as file:
            offset = 0
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_BYTES + 1), b""), 1):
                yield number, offset, decode_line(line, path, number)
                offset += len(line)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(path)) from error


def _open(path: Path) -> gzip.GzipFile | BinaryIO:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def decode_line(line: bytes, path: Path, number: int) -> str:
    """Return one line as text, without the byte order mark of the first line."""
    if len(line) > LONGEST_BYTES:
        raise UserError(f"the line has more than {LONGEST_BYTES} bytes: this is not a table", where=f"{path}:{number}")
    if number == 1 and line.startswith(_MARK):
        line = line[len(_MARK) :]
    try:
        return line.decode()
    except UnicodeDecodeError:
        return decode_text(line, path, number)


def _seekable(path: Path) -> IO[bytes]:
    """Open a file for random access. A packed file is unpacked once, because a seek in it would unpack it again."""
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    plain = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed by whoever asked for it
    with gzip.open(path) as file:
        shutil.copyfileobj(file, plain)
    return plain


class Lookup:
    """Lines of a file by key. Only their offsets are held in memory.

    Parameters
    ----------
    path
        The file.
    key_of
        Returns the key of a line, None if it has none.

    Raises
    ------
    UserError
        If two lines have the same key.
    """

    def __init__(self, path: Path, key_of: Callable[[int, str], str | None]) -> None:
        self.path = path
        self._place: dict[str, int] = {}
        self._offsets, self._numbers = array("q"), array("q")
        for number, offset, line in read_lines(path):
            key = key_of(number, line)
            if key is None:
                continue
            if key in self._place:
                first = self._numbers[self._place[key]]
                raise UserError(f"`{key}` was given in line {first} already", where=f"{path}:{number}")
            self._place[key] = len(self._offsets)
            self._offsets.append(offset)
            self._numbers.append(number)
        self._used = bytearray(len(self._offsets))
        self._file: IO[bytes] | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self._place)

    def get(self, key: str) -> tuple[int, str] | None:
        """Return number and text of the line, None where there is none."""
        place = self._place.get(key)
        if place is None:
            return None
        self._used[place] = 1
        if self._file is None:
            self._file = _seekable(self.path)
        self._file.seek(self._offsets[place], os.SEEK_SET)
        number = self._numbers[place]
        return number, decode_line(self._file.readline(), self.path, number)

    def unused(self) -> Iterator[str]:
        """Yield the keys that were not looked up."""
        return (key for key, place in self._place.items() if not self._used[place])

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
