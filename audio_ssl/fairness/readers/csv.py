"""Tables with a header, as programs and spreadsheets write them; how they are read is `audio_ssl.data.delimited`'s.

An empty cell is empty text: whether that means that nothing was heard or that nothing was recorded is for whoever knows
which column it is.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from audio_ssl.data.delimited import Delimited, Read, open_delimited
from audio_ssl.fairness.readers.source import Numbered, Refuse, Source


def open_csv(path: Path) -> Source:
    """Describe a table.

    Raises
    ------
    UserError
        If it cannot be read, or the header has a name twice.
    """
    table, read = open_delimited(path), Read()
    return Source(
        (path,),
        tuple(name for name in table.header if name),
        lambda wanted, refuse: _rows(table, wanted, refuse, read),
        note=", ".join(table.notes),
        noticed=lambda: _noticed(read),
        commas_between=table.delimiter == ",",
    )


def _rows(table: Delimited, wanted: Collection[str], refuse: Refuse, read: Read) -> Numbered:
    read.several_lines = 0
    names = [(place, name) for place, name in enumerate(table.header) if name in wanted]
    for number, cells in table.rows(refuse, read):
        yield number, {name: cells[place] for place, name in names}


def _noticed(read: Read) -> str:
    if not read.several_lines:
        return ""
    rows = "1 row has" if read.several_lines == 1 else f"{read.several_lines:,} rows have"
    return f"{rows} cells with line ends"
