"""JSON Lines: one object a line, as fast as a bare loop over `json.loads`, and with every check of a document.

The checks cost little: brackets and escapes are counted in a block of lines at once, and the single line is looked at
only where there are enough of them for a fault. A key twice shows as a line with more colons than its object has keys.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from audio_ssl.documents.json_text import decoder, has_odd_escape, parse_json, parse_object
from audio_ssl.documents.limits import MAX_DEPTH, MAX_LINE_BYTES, JsonObject
from audio_ssl.documents.text import cannot_read, decode_text
from audio_ssl.errors import UserError, shown

_BLOCK_BYTES = 1 << 17
_SCANNERS = [
    (decoder(True, nan_is_null).scan_once, decoder(False, nan_is_null).scan_once) for nan_is_null in (False, True)
]
"""With and without a look at every key."""


def iterate_json_lines(
    path: Path, torn_end: bool = False, nan_is_null: bool = False
) -> Iterator[tuple[int, JsonObject]]:
    """Yield the number and the object of each line; empty lines are passed over.

    Parameters
    ----------
    path
        UTF-8, with or without a byte order mark, with any line ends; packed where its name ends in ``.gz``.
    torn_end
        Leave out a last line that has no line break and cannot be read: a log that a killed process was writing.
    nan_is_null
        Take NaN and infinite numbers, which other programs write, for missing ones; they are refused otherwise.

    Raises
    ------
    UserError
        If the file cannot be read, is not UTF-8, has a line that is no JSON object, a line longer than 16 MiB, or
        holds what no document may hold; with the number of the line.
    """
    number, strict, scan = 0, *_SCANNERS[nan_is_null]
    for text, torn in _blocks(path, torn_end):
        lines = text.split("\n")
        # Rows of one kind have their brackets and escapes alike, so most files need no look at the single line.
        deep = text.count("{") + text.count("[") > len(lines) + MAX_DEPTH
        odd = has_odd_escape(text)
        for line in lines:
            number += 1
            try:
                row, end = scan(line, 0)
            except (ValueError, StopIteration, RecursionError):
                row, end = None, -1
            if (
                end == len(line)
                and row.__class__ is dict
                and not ((deep and line.count("{") + line.count("[") > MAX_DEPTH) or (odd and "\\u" in line))
            ):
                if scan is strict or line.count(":") == len(row):
                    yield number, row
                    continue
                # Objects in the row, colons in its texts or a key twice: from here on every key is looked at.
                scan = strict
            elif not line or line.isspace():
                continue
            try:
                row = parse_line(line, path, number, nan_is_null)
            except UserError:
                if torn and torn_end:
                    return
                raise
            yield number, row


def readable_rows(path: Path) -> Iterator[JsonObject]:
    """Yield what can be read of a log of ours, and nothing where there is no such file.

    A line that a killed process or a full disk left in part is passed over, as what it says will be said again.
    """
    try:
        with path.open("rb") as file:
            for line in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
                with suppress(UserError):
                    yield parse_object(line, str(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_read(path, error) from error


def parse_line(
    line: str, path: Path | str, number: int, nan_is_null: bool = False, any_text: bool = False
) -> JsonObject:
    """Return the object of one line; a complaint names the line.

    Raises
    ------
    UserError
        As `iterate_json_lines`.
    """
    where = f"{path}:{number}"
    try:
        row = parse_json(line.rstrip(), "row", nan_is_null, any_text)
    except UserError as error:
        # To the parser a line is a document: of its place only the column says something.
        column = (error.where or "").removeprefix("row").rpartition(":")[-1]
        raise UserError(error.what, where=f"{where}:{column}" if column else where, remedy=error.remedy) from None
    if not isinstance(row, dict):
        raise UserError(f"a row must be a JSON object, but is {shown(row)}", where=where)
    return row


def _blocks(path: Path, torn_end: bool) -> Iterator[tuple[str, bool]]:
    """Yield whole lines without the last line break, and whether they are one line that has none."""
    rest, first = b"", 1
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
                if cut:
                    text = _text(rest + block[:cut], path, first)
                    yield text[:-1], False
                    first += text.count("\n")
                    rest = block[cut:]
                else:
                    rest += block
                if len(rest) > MAX_LINE_BYTES:
                    raise UserError(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB", where=f"{path}:{first}")
    except (EOFError, zlib.error) as error:
        raise UserError(f"cannot be unpacked: {error}", where=str(path)) from error
    except OSError as error:
        raise cannot_read(path, error) from error
    try:
        whole, end, last = _text(rest, path, first).rpartition("\n")
    except UserError:
        if torn_end:
            return
        raise
    if end:
        yield whole, False
    yield last, True


def _text(data: bytes, path: Path, first: int) -> str:
    text = decode_text(data, path, first)
    if "\r" in text:
        # A line break within a text is always escaped, so no other one can be meant.
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text
