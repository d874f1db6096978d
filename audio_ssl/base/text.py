"""Texts: the composed form (NFC), a printable form, Markdown tables, and the encoding of a file.

Texts are composed before they are compared or used as names, so that é is the same as one code point and as two.

The encodings of text files are UTF-8, UTF-16, and Windows-1252 if no other one is possible. Spreadsheets still write
Windows-1252 ("CSV"), which contains ISO 8859-1, and UTF-16 ("Unicode text"). A detected encoding is reported, as other
8-bit encodings cannot always be distinguished from Windows-1252. Left out on purpose: all other encodings, which cannot
be recognised from the bytes.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.base.documents import wide_mark
from audio_ssl.base.errors import UserError


def composed(text: str) -> str:
    r"""Return text in Unicode's composed form.

    Examples
    --------
    >>> composed("Jose\u0301") == "Jos\u00e9"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_composed(text: str) -> bool:
    """Return whether `composed` leaves a text as it is."""
    return text.isascii() or unicodedata.is_normalized("NFC", text)


# Control characters of terminals and of text direction, and characters that HTML does not allow.
_UNSEEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufffe\\uffff]")
_SPACES = "\t\n\v\f\r\x85\u2028\u2029"


def readable_id(clip_id: str) -> str:
    """Return an id as valid UTF-8, in which bytes that are not UTF-8 are escaped."""
    return clip_id.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Return a table as Markdown.

    Examples
    --------
    >>> print(markdown_table(("key", "value"), [("a", "1|2")]))
    | key | value |
    | --- | --- |
    | a | 1\|2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )


def printable(text: str) -> str:
    r"""Return text that can be shown anywhere, on one line.

    A lone surrogate, which JSON can contain, becomes ``?``. A control character becomes its Unicode picture or U+FFFD.

    Examples
    --------
    >>> printable("a\n\x1b[2J\u202eb")
    'a ␛[2J�b'
    """
    if text.isprintable():
        return text
    return _UNSEEN.sub(_picture, text.encode("utf-8", "replace").decode("utf-8"))


def _picture(found: re.Match[str]) -> str:
    sign = found[0]
    if sign in _SPACES:
        return " "
    return chr(0x2400 + ord(sign)) if sign < " " else "␡" if sign == "\x7f" else "\ufffd"


_CHUNK = 1 << 20
_HEAD = 1 << 12
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_BAD = re.compile("[\udc80-\udcff]")
_HIGH = re.compile("[\x80-\ud7ff\ue000-\U0010ffff]")
# No Western language has so many accented letters in a row, but misread Greek, Cyrillic, Hebrew and Chinese have.
_RUN = re.compile("[\udca1-\udcff]{4,}")
# Misread letters of Central European encodings become these, within words.
_NOT_WESTERN = re.compile("(?<=[^\\W\\d_])[€‚ƒ†‡ˆ‰˜¤¥¦§¨©¬®¯±²³µ¶¸¹¼½¾¿×÷](?=[^\\W\\d_])")


@dataclass(frozen=True)
class Encoding:
    """An encoding of a text file."""

    codec: str
    """Name for `open`; a byte order mark is not part of the text."""

    name: str
    """Usual name."""

    @property
    def usual(self) -> bool:
        """Whether it is UTF-8, which need not be reported."""
        return self.name == "UTF-8"


def find_encoding(path: Path) -> Encoding:
    """Return the encoding of a text file, which is read completely.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UserError
        If the file cannot be read, is a workbook, is damaged UTF-8 (with the line number), or its encoding cannot be
        recognised.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head.startswith(_WORKBOOKS):
            raise UserError(
                "this is a workbook, not a table of text", where=str(path), remedy="save the sheet as CSV UTF-8"
            )
        found = _by_mark(head) or _by_zeros(head)
        if found is not None:
            _check(path, found)
            return found
        failed = _first_failure(path, "utf-8")
        return Encoding("utf-8", "UTF-8") if failed is None else _eight_bits(path, *failed)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _by_mark(head: bytes) -> Encoding | None:
    if head.startswith(codecs.BOM_UTF8):
        return Encoding("utf-8-sig", "UTF-8")
    name = wide_mark(head)
    return Encoding(name.lower(), name) if name else None


def _by_zeros(head: bytes) -> Encoding | None:
    """Detect UTF-16 without a byte order mark: every second byte of Latin letters is zero."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 4 < len(head) or not head:
        return None
    return Encoding("utf-16-le" if odd > even else "utf-16-be", "UTF-16")


def _check(path: Path, encoding: Encoding) -> None:
    failed = _first_failure(path, encoding.codec)
    if failed is not None:
        line, what = failed
        raise UserError(f"the line is not {encoding.name}: {what}", where=f"{path}:{line}", remedy="save it again")


def _first_failure(path: Path, codec: str) -> tuple[int, str] | None:
    """Return the number of a line that cannot be decoded, and the reason; None if all can."""
    decoder = codecs.getincrementaldecoder(codec)()
    line = 1
    for chunk, last in _chunks(path):
        try:
            line += decoder.decode(chunk, last).count("\n")
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(error.encoding, "replace").count("\n")
            what = f"byte {error.object[error.start]:#04x}" if error.start < len(error.object) else error.reason
            return line + before, what
    return None


def _eight_bits(path: Path, line: int, what: str) -> Encoding:
    """Return Windows-1252; UserError if the file is not in it."""
    bad = high = runs = 0
    for text in _decoded(path, "utf-8", "surrogateescape"):
        bad, high = bad + _count(_BAD, text), high + _count(_HIGH, text)
        runs += sum(len(found[0]) for found in _RUN.finditer(text))
    if high > bad:
        raise UserError(
            f"the line is not UTF-8: {what}; all else in the file is",
            where=f"{path}:{line}",
            remedy="mend the line, or save the table again as UTF-8",
        )
    try:
        odd = sum(_count(_NOT_WESTERN, text) for text in _decoded(path, "cp1252", "strict"))
    except UnicodeDecodeError:
        odd = bad
    if 10 * odd > bad or 2 * runs > bad:
        raise UserError(
            f"the line is neither UTF-8 nor Windows-1252: {what}",
            where=f"{path}:{line}",
            remedy="save the table again as UTF-8, or convert it with `iconv -f ENCODING -t UTF-8`",
        )
    return Encoding("cp1252", "Windows-1252")


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in pattern.finditer(text))


def _decoded(path: Path, codec: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    return (decoder.decode(chunk, last) for chunk, last in _chunks(path))


def _chunks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes in blocks, with whether a block is the last one."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk, False
    yield b"", True
