"""The reader of tables with a header whose cells are separated by commas, semicolons or tabs.

Encoding and delimiter are detected and reported. A row with another number of cells than the header is refused with its
line number. A quote that is never closed stops the reading with the line number of the quote. Quoted cells may contain
line ends (RFC 4180), unless the lines within look like rows: then the quote is taken for a stray one.

In ``.tsv`` files, as in Common Voice, a quote is an ordinary character unless quoted cells contain doubled quotes.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from audio_ssl.base.errors import UserError, one_line
from audio_ssl.base.text import Encoding, find_encoding

LONGEST = 1 << 26
"""Maximum number of characters of a line, or of a cell of several lines."""

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""Delimiters and their names."""

Refuse = Callable[[int, str], None]
"""Called with the line number of a row that cannot be used, and the reason."""

_SAMPLE_LINES = 200
_SEP = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)
_SHOWN = 60


@dataclass
class Read:
    """Counts of rows; they grow while rows are read."""

    rows: int = 0
    """Number of rows that were yielded."""

    refused: int = 0
    """Number of rows that were refused."""

    several_lines: int = 0
    """Number of rows with line ends within cells."""


@dataclass(frozen=True)
class Delimited:
    """The format and the header of a table whose rows are not read yet."""

    path: Path
    encoding: Encoding
    delimiter: str
    quotes: bool
    """Whether quotes enclose cells."""

    header: tuple[str, ...]
    """Stripped names; empty for columns without a name."""

    header_lines: int
    """Number of lines before the first row."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Anything unusual about the format, in words."""
        expected = _usual_delimiter(self.path)
        found = [] if self.encoding.usual else [f"read as {self.encoding.name}"]
        if self.delimiter != expected:
            found.append(f"{DELIMITERS.get(self.delimiter, repr(self.delimiter))} between cells")
        if self.quotes and expected == "\t":
            found.append("quotes hold cells together")
        return tuple(found)

    def rows(self, refuse: Refuse, read: Read | None = None) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number and the cells of each row, as many cells as the header has; empty rows are skipped.

        Parameters
        ----------
        refuse
            Called for rows that cannot be used.
        read
            Counts the rows.

        Raises
        ------
        UserError
            If a quote is not closed within its row, or a line is too long.
        """
        read = read or Read()
        width, delimiter = len(self.header), self.delimiter
        with _open(self.path, self.encoding) as file:
            lines = _Lines(file, self.path)
            for _ in range(self.header_lines):
                lines.next()
            while line := lines.next():
                number, fault = lines.number, ""
                if self.quotes and '"' in line:
                    cells, fault = _QuotedRow(lines, line, delimiter, width).cells()
                    if lines.number > number:
                        read.several_lines += 1
                        # The quote may have swallowed further rows.
                        if fault or len(cells) != width:
                            raise _stray(self.path, number, lines.number)
                else:
                    cells = line.rstrip("\r\n").split(delimiter)
                # Spreadsheets write empty rows as delimiters alone, and empty cells after the last column.
                if len(cells) > width and not any(cells[width:]):
                    del cells[width:]
                if not fault and not any(cells):
                    continue
                if not fault and len(cells) != width:
                    fault = f"{len(cells)} cells in the row, but {width} in the header"
                if fault:
                    read.refused += 1
                    refuse(number, fault)
                else:
                    read.rows += 1
                    yield number, cells


def open_delimited(path: Path, delimiter: str | None = None, quotes: bool | None = None) -> Delimited:
    """Detect the format of a table and read its header.

    Parameters
    ----------
    path
        The file.
    delimiter
        Delimiter of the format; None: detect it among commas, semicolons and tabs.
    quotes
        Whether quotes enclose cells in the format; None: detect it.

    Raises
    ------
    UserError
        If the file cannot be read, or the header has a name twice. An empty file has an empty header.
    """
    encoding = find_encoding(path)
    usual = _usual_delimiter(path)
    with _open(path, encoding) as file:
        lines = _Lines(file, path)
        first = lines.next()
        told = _SEP.match(first)
        if told:
            delimiter, first = delimiter or told[1], lines.next()
        sample = [first, *islice(iter(lines.next, ""), _SAMPLE_LINES)]
    delimiter = delimiter or _find_delimiter(sample, usual)
    if quotes is None:
        # Excel's "Unicode text" encloses cells in quotes as its CSV does, and so do files with doubled quotes.
        bare = usual == delimiter == "\t" and encoding.usual
        quotes = not bare or _doubles_quotes(sample, delimiter)
    with _open(path, encoding) as file:
        lines = _Lines(file, path)
        for _ in range(2 if told else 1):
            first = lines.next()
        where = f"{path}:{lines.number}"
        cells = first.rstrip("\r\n").split(delimiter)
        if quotes and '"' in first:
            cells, fault = _QuotedRow(lines, first, delimiter, 0).cells()
            if fault:
                raise UserError(f"the header cannot be read: {fault}", where=where)
        header_lines = lines.number
    header = [" ".join(name.split()).strip("\ufeff\u200b ") for name in cells]
    named = [name for name in header if name]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise UserError(f"a column's name appears twice: {one_line(twice, _SHOWN)}", where=where)
    return Delimited(path, encoding, delimiter, quotes, tuple(header), header_lines)


class _Lines:
    """Numbered lines of an open file, with their line ends and a maximum length."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._read, self.path = file.readline, path
        self.number = 0

    def next(self) -> str:
        """Return the next line; empty at the end of the file."""
        line = self._read(LONGEST + 1)
        self.number += 1
        if len(line) > LONGEST:
            raise UserError(
                f"the line has more than {LONGEST} characters: this is not a table",
                where=f"{self.path}:{self.number}",
            )
        return line


class _QuotedRow:
    """Splits one row with quotes into cells. Its cells may continue on further lines.

    Parameters
    ----------
    lines
        Source of further lines.
    line
        First line of the row.
    delimiter
        Delimiter.
    width
        Number of cells of the header; 0 for the header itself.
    """

    def __init__(self, lines: _Lines, line: str, delimiter: str, width: int) -> None:
        self._lines, self._line, self._delimiter, self._width = lines, line, delimiter, width
        self._first = line
        self._likeness = 0

    def cells(self) -> tuple[list[str], str]:
        """Return the cells, and a fault in words; empty if there is none."""
        # Correct rows of one line are read by C code, which refuses all others and cells above 128 KiB.
        with suppress(csv.Error):
            return next(csv.reader((self._line,), delimiter=self._delimiter, strict=True)), ""
        cells: list[str] = []
        place = 0
        while True:
            text, end = self._cell(len(cells), place)
            cells.append(text)
            after = self._line[end : end + 1]
            if after == self._delimiter:
                place = end + 1
            else:
                return cells, "" if after in ("\r", "\n", "") else "there is text after a closing quote"

    def _cell(self, column: int, start: int) -> tuple[str, int]:
        """Return a cell, and its end within the line it ends in."""
        line = self._line
        if line[start : start + 1] != '"':
            end = line.find(self._delimiter, start)
            end = end if end >= 0 else len(line.rstrip("\r\n"))
            return line[start:end], end
        # 1 if the row has the width of the header when this quote and all after it are ordinary characters.
        self._likeness = int(column + 1 + line.count(self._delimiter, start) == self._width)
        opened, pieces, place, size = self._lines.number, [], start + 1, 0
        while True:
            end = self._line.find('"', place)
            if end < 0:
                pieces.append(self._line[place:])
                size += len(pieces[-1])
                self._line = self._lines.next()
                place = 0
                if not self._line or size > LONGEST:
                    raise UserError(
                        "a quote is opened here and never closed", where=f"{self._lines.path}:{opened}", remedy=_REMEDY
                    )
                if '"' not in self._line and self._like_a_row():
                    raise _stray(self._lines.path, opened, self._lines.number)
            elif self._line[end + 1 : end + 2] == '"':
                pieces.append(self._line[place : end + 1])
                place = end + 2
            else:
                # After a cell in the first column there is always a whole row.
                if column and self._lines.number > opened and self._like_a_row():
                    raise _stray(self._lines.path, opened, self._lines.number)
                pieces.append(self._line[place:end])
                return "".join(pieces), end + 1

    def _like_a_row(self) -> bool:
        """Return whether the lines since the quote look like rows when quotes are ordinary characters."""
        if self._width < 2 or self._line.count(self._delimiter) + 1 != self._width:
            return False
        ours, first = _shape(self._line, self._delimiter), _shape(self._first, self._delimiter)
        # With two columns, the second is often prose that contains commas and line ends.
        if self._width > 2 or ours == first:
            self._likeness += 1 + (ours == first and "0" in ours)
        return self._likeness > 1


def _stray(path: Path, opened: int, swallowed: int) -> UserError:
    return UserError(
        f"a quote is opened here and not closed in its row: the cell would swallow line {swallowed}",
        where=f"{path}:{opened}",
        remedy=_REMEDY,
    )


_REMEDY = "remove the quote, or write it twice in a quoted cell; cells with line ends must have spaces instead"


@contextmanager
def _open(path: Path, encoding: Encoding) -> Iterator[TextIO]:
    try:
        # Line ends are not translated, so that those within cells are kept.
        with path.open(encoding=encoding.codec, newline="") as file:
            yield file
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _usual_delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() in (".tsv", ".tab") else ","


def _find_delimiter(sample: list[str], usual: str) -> str:
    """Return the delimiter with which most rows have the width of the header; of several, the one with most columns."""
    best, chosen = (0.0, 0), usual
    for delimiter in sorted(DELIMITERS, key=lambda one: one != usual):
        widths = [len(_plain_cells(line, delimiter)) for line in sample if line.strip()]
        if not widths or widths[0] < 2:
            continue
        fitting = sum(width == widths[0] for width in widths) / len(widths)
        if (score := (round(fitting, 1), widths[0])) > best:
            best, chosen = score, delimiter
    return chosen


def _plain_cells(line: str, delimiter: str) -> list[str]:
    """Split one line, as well as possible, to detect the format."""
    pattern = rf'(?:\A|{delimiter})("[^"]*(?:""[^"]*)*"|[^{delimiter}]*)'
    return re.findall(pattern, line.rstrip("\r\n"))


def _doubles_quotes(sample: list[str], delimiter: str) -> bool:
    """Return whether quoted cells contain doubled quotes, and no single ones."""
    doubled = False
    for line in sample:
        for cell in line.rstrip("\r\n").split(delimiter):
            if cell.startswith('"'):
                if len(cell) < 2 or not cell.endswith('"') or '"' in cell[1:-1].replace('""', ""):
                    return False
                doubled |= '""' in cell[1:-1]
    return doubled


def _shape(line: str, delimiter: str) -> str:
    """Return the pattern of the first cell: ``a0`` for ``clip12``."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", line.partition(delimiter)[0].strip('"')))
