"""Tables with a header: commas and quotes in ``.csv``, tabs in ``.tsv``, where a quote means nothing (as Common Voice).

An empty cell of an attribute is unknown; an empty reference or hypothesis is empty text. A row that ends early lacks
its last cells; one with too many is an error, since commas without quotes would shift every text.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from audio_ssl.errors import UserError
from audio_ssl.fairness.readers.lines import LONGEST_BYTES, read_lines
from audio_ssl.fairness.readers.source import Numbered, Source

_TEXTS = ("reference", "hypothesis")


def open_csv(path: Path) -> Source:
    """Describe a table.

    Raises
    ------
    UserError
        If it cannot be read, or the header has a name twice.
    """
    with _long_cells():
        header = _header(next(_cells(path), (1, []))[1], path)
    return Source((path,), tuple(name for name in header if name), lambda wanted: _rows(path))


def _rows(path: Path) -> Numbered:
    header: list[str] | None = None
    with _long_cells():
        for number, cells in _cells(path):
            if header is None:
                header = _header(cells, path)
            elif len(cells) > len(header):
                raise UserError(
                    f"the row has {len(cells)} cells, but the header {len(header)}",
                    where=f"{path}:{number}",
                    remedy="put texts with commas between quotes",
                )
            elif cells:
                row = {
                    name: None if cell == "" and name not in _TEXTS else cell
                    for name, cell in zip(header, cells, strict=False)
                    if name
                }
                yield number, row


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line where each row ends, and its cells."""
    tabs = path.suffix.lower() == ".tsv"
    reader = csv.reader(
        (line for _, _, line in read_lines(path)),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    )
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"cannot be read: {error}", where=f"{path}:{reader.line_num}") from error


def _header(cells: Collection[str], path: Path) -> list[str]:
    header = [name.strip() for name in cells]
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise UserError(f"a column's name appears twice: {', '.join(header)}", where=f"{path}:1")
    return header


@contextmanager
def _long_cells() -> Iterator[None]:
    """Allow cells as long as lines may be; Python's limit is 128 KiB."""
    before = csv.field_size_limit(LONGEST_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)
