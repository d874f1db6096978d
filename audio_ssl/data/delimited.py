"""Tables of text with a header: commas, semicolons or tabs between cells, in whatever way spreadsheets write them.

Encoding and delimiter are found and said. No row is ever shifted or swallowed in silence: a row with another number of
cells than the header is refused by its line, and a quote that nothing closes stops the reading and names the line where
it was opened. Cells may hold line ends, as RFC 4180 has it, unless the lines within look like rows themselves: then a
stray quote is the likelier reading.

In ``.tsv`` files a quote is a sign like any other, as in Common Voice, unless quotes are doubled within quoted cells.
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
"""Characters of a line, or of a cell of several lines: more are no row of a table."""

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""Possible delimiters and their names."""

Refuse = Callable[[int, str], None]
"""Is given the number of the line where a row begins, and why the row cannot be used."""

_SAMPLE_LINES = 200
_SEP = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)
_SHOWN = 60


@dataclass
class Read:
    """What was met on the way; it grows while rows are read."""

    rows: int = 0
    """Rows that were given."""

    refused: int = 0
    """Rows that were not."""

    several_lines: int = 0
    """Rows with cells that hold line ends."""


@dataclass(frozen=True)
class Delimited:
    """A table that is not read yet: how it is written, and its header."""

    path: Path
    encoding: Encoding
    delimiter: str
    quotes: bool
    """Whether quotes hold cells together."""

    header: tuple[str, ...]
    """Names without spaces around; empty for columns without one."""

    header_lines: int
    """Lines before the first row."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about how it is written, in words."""
        expected = _usual_delimiter(self.path)
        found = [] if self.encoding.usual else [f"read as {self.encoding.name}"]
        if self.delimiter != expected:
            found.append(f"{DELIMITERS.get(self.delimiter, repr(self.delimiter))} between cells")
        if self.quotes and expected == "\t":
            found.append("quotes hold cells together")
        return tuple(found)

    def rows(self, refuse: Refuse, read: Read | None = None) -> Iterator[tuple[int, list[str]]]:
        """Yield the line where each row begins, and its cells, as many as the header has; empty rows are passed over.

        Parameters
        ----------
        refuse
            Gets the rows that cannot be used.
        read
            Counts what is met.

        Raises
        ------
        UserError
            If a quote is not closed in its row, or a line is too long.
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
    """Find out how a table is written, and read its header.

    Parameters
    ----------
    path
        The file.
    delimiter
        What is between cells, where the format says so; None: commas, semicolons or tabs, whichever makes the table.
    quotes
        Whether quotes hold cells together, where the format says so.

    Raises
    ------
    UserError
        If it cannot be read, or a name is in the header twice. An empty file has an empty header.
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
        # Excel's "Unicode text" quotes as its CSV does; so does whoever doubles quotes.
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
    """Lines of an open file with their ends, numbered, none too long."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._read, self.path = file.readline, path
        self.number = 0

    def next(self) -> str:
        """Return the next line, empty at the end."""
        line = self._read(LONGEST + 1)
        self.number += 1
        if len(line) > LONGEST:
            raise UserError(
                f"the line has more than {LONGEST} characters: this is not a table", where=f"{self.path}:{self.number}"
            )
        return line


class _QuotedRow:
    """Takes one row apart that has quotes in it, over as many lines as its cells have.

    Parameters
    ----------
    lines
        Where further lines come from.
    line
        The first one.
    delimiter
        What is between cells.
    width
        Cells of the header; 0 for the header itself.
    """

    def __init__(self, lines: _Lines, line: str, delimiter: str, width: int) -> None:
        self._lines, self._line, self._delimiter, self._width = lines, line, delimiter, width
        self._first = line
        self._likeness = 0

    def cells(self) -> tuple[list[str], str]:
        """Return the cells, and what is wrong with them, or nothing."""
        # Rows of one line with nothing wrong are left to C; it refuses all others, and cells of more than 128 KiB.
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
        """Return a cell, and where it ends in the line it ends in."""
        line = self._line
        if line[start : start + 1] != '"':
            end = line.find(self._delimiter, start)
            end = end if end >= 0 else len(line.rstrip("\r\n"))
            return line[start:end], end
        # 1 if the row is as wide as the header when this quote and all after it are ordinary characters.
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
                # The end of a cell in the first column always leaves a whole row.
                if column and self._lines.number > opened and self._like_a_row():
                    raise _stray(self._lines.path, opened, self._lines.number)
                pieces.append(self._line[place:end])
                return "".join(pieces), end + 1

    def _like_a_row(self) -> bool:
        """Return whether the lines since the quote was opened look like rows, if quotes are ordinary characters."""
        if self._width < 2 or self._line.count(self._delimiter) + 1 != self._width:
            return False
        ours, first = _shape(self._line, self._delimiter), _shape(self._first, self._delimiter)
        # Of two columns the second is often prose, with commas and line ends in it.
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
        # Untranslated, so that a line end within a cell stays what it is.
        with path.open(encoding=encoding.codec, newline="") as file:
            yield file
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _usual_delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() in (".tsv", ".tab") else ","


def _find_delimiter(sample: list[str], usual: str) -> str:
    """Return what makes most rows as wide as the header, of those what makes it widest."""
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
    """Take one line apart as well as it goes, to look at how a table is written."""
    pattern = rf'(?:\A|{delimiter})("[^"]*(?:""[^"]*)*"|[^{delimiter}]*)'
    return re.findall(pattern, line.rstrip("\r\n"))


def _doubles_quotes(sample: list[str], delimiter: str) -> bool:
    """Return whether cells between quotes have doubled ones within, and none has others."""
    doubled = False
    for line in sample:
        for cell in line.rstrip("\r\n").split(delimiter):
            if cell.startswith('"'):
                if len(cell) < 2 or not cell.endswith('"') or '"' in cell[1:-1].replace('""', ""):
                    return False
                doubled |= '""' in cell[1:-1]
    return doubled


def _shape(line: str, delimiter: str) -> str:
    """Return how the first cell is built: ``a0`` of ``clip12``."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", line.partition(delimiter)[0].strip('"')))
