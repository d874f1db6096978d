"""JSON Lines: one object a line, plain or gzipped."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from audio_ssl.documents import parse_line
from audio_ssl.fairness.readers.lines import read_lines
from audio_ssl.fairness.readers.source import Numbered, Source

_PEEK_ROWS = 1000


def open_jsonl(path: Path) -> Source:
    """Describe a file by its first rows.

    Raises
    ------
    UserError
        If a row is not an object; the line is named.
    """
    columns = tuple(dict.fromkeys(name for _, row in islice(json_rows(path), _PEEK_ROWS) for name in row))
    return Source((path,), columns, lambda wanted, refuse: json_rows(path), complete=False)


def json_rows(path: Path) -> Numbered:
    """Yield the objects of a file with the numbers of their lines."""
    for number, _, line in read_lines(path):
        if line.strip():
            # NaN means missing; texts are cleaned where they are counted.
            yield number, parse_line(line, path, number, nan_is_null=True, any_text=True)
