"""JSON Lines: one object a line, plain or gzipped."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from audio_ssl.errors import UserError
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
            yield number, parse_row(line, f"{path}:{number}")


def parse_row(line: str, where: str) -> dict[str, Any]:
    """Return the object of one line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not a JSON row: {error}", where=where, remedy="write one object a line") from error
    if not isinstance(row, dict):
        raise UserError("a row must be a JSON object", where=where)
    return row
