"""Reads text files in UTF-8 with a maximum size; errors name other encodings."""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path

from audio_ssl.base.documents.limits import MAX_BYTES
from audio_ssl.base.errors import UserError

# The byte order mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(path: Path, most_bytes: int = MAX_BYTES) -> str:
    r"""Return the text of a file, with ``\n`` at the ends of its lines.

    Raises
    ------
    UserError
        If the file cannot be opened, is larger than `most_bytes`, or is not UTF-8.
    """
    text = decode_text(_read(path, most_bytes), path)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def decode_text(data: bytes, path: Path | str, first_line: int = 1) -> str:
    """Return UTF-8 bytes as text, without a byte order mark.

    Parameters
    ----------
    data
        A whole file, or whole lines of it.
    path
        Path in errors.
    first_line
        Number of the first line of `data`.

    Raises
    ------
    UserError
        For another encoding. The message has the probable encoding and how to convert the file.
    """
    begins = first_line == 1
    try:
        text = data.decode("utf-8-sig" if begins else "utf-8")
    except UnicodeDecodeError as error:
        utf = _wide(data) if begins else None
        raise _is_utf(utf, path) if utf else _not_utf8(data, error.start, path, first_line) from None
    if "\0" in text:
        utf = _wide(data) if begins else None
        line = first_line + text.count("\n", 0, text.index("\0"))
        raise (
            _is_utf(utf, path)
            if utf
            else UserError(
                "the file is damaged: it contains NUL bytes", where=f"{path}:{line}", remedy="make or fetch it again"
            )
        )
    return text


def wide_mark(data: bytes) -> str | None:
    r"""Return UTF-32 or UTF-16 if the bytes begin with its byte order mark, else None.

    Examples
    --------
    >>> wide_mark(b"\xff\xfea\0"), wide_mark(b"a\0")
    ('UTF-16', None)
    """
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)


def _wide(data: bytes) -> str | None:
    """Return the probable encoding with two or four bytes per character; None if there is none."""
    if name := wide_mark(data):
        return name
    start = data[:200]
    # Every second byte of Latin letters is zero.
    for place, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        if len(start) > 3 and start[place::2].count(0) > 0.4 * len(start) and not start[1 - place :: 2].count(0):
            return name
    return None


def _is_utf(name: str, path: Path | str) -> UserError:
    return UserError(f"the file is in {name}, but must be in UTF-8", where=str(path), remedy=_convert(path, name))


def _not_utf8(data: bytes, place: int, path: Path | str, first_line: int) -> UserError:
    line = first_line + data.count(b"\n", 0, place)
    latin = "CP1252" if _decodes(data, "cp1252") else "ISO-8859-1"
    return UserError(
        f"the file is not in UTF-8: it holds the byte 0x{data[place]:02x}, as Latin-1 does",
        where=f"{path}:{line}",
        remedy=_convert(path, latin),
    )


def cannot_read(path: Path, error: OSError) -> UserError:
    """Return the error for a file that cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        return UserError("there is no such file", where=str(path))
    return UserError(f"the file cannot be read: {error.strerror or error}", where=str(path))


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise cannot_read(path, error) from error
    except ValueError as error:
        # A NUL in the name.
        raise UserError(f"not a valid file name: {error}", where=str(path)) from error
    if len(data) > most_bytes:
        raise UserError(f"the file is larger than {_amount(most_bytes)}; no file of its kind is", where=str(path))
    return data


def _amount(number: int) -> str:
    return f"{number >> 20} MiB" if number >= 1 << 20 else f"{number} bytes"


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _convert(path: Path | str, encoding: str) -> str:
    path = Path(path)
    new = path.with_name(f"{path.stem}.utf8{path.suffix}")
    return f"convert it: iconv -f {encoding} -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(str(new))}"
