"""Annotations of corpora, read so that one bad row or file leaves out one clip and never shifts another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from audio_ssl.data.delimited import open_delimited
from audio_ssl.data.reading import LeftOut
from audio_ssl.errors import AudioError, UserError


def annotation_rows(
    path: Path,
    needed: Sequence[str],
    left_out: LeftOut,
    *,
    delimiter: str | None = None,
    quotes: bool | None = None,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where each row of a table with a header lies, ``FILE:LINE``, and the row, without spaces around its cells.

    Rows of another width than the header are left out by name.

    Parameters
    ----------
    path
        The table.
    needed
        Columns without which it is none.
    left_out
        Gets the rows that cannot be read.
    delimiter, quotes
        See `open_delimited`.

    Raises
    ------
    UserError
        If it cannot be opened, a needed column is missing, or a quote is not closed.
    """
    table = open_delimited(path, delimiter, quotes)
    if missing := [name for name in needed if name not in table.header]:
        named = ", ".join(filter(None, table.header)) or "none"
        raise UserError(f"the columns {', '.join(missing)} are missing; there are {named}", where=str(path))
    rows = table.rows(lambda number, reason: left_out.add(f"{path}:{number}", reason))
    for number, cells in rows:
        pairs = zip(table.header, cells, strict=True)
        yield f"{path}:{number}", {name: cell.strip() for name, cell in pairs if name}


def annotation_text(path: Path) -> str:
    """Return the text of an annotation, without a byte-order mark.

    Raises
    ------
    AudioError
        If it cannot be read or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AudioError(f"the annotation {path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AudioError(f"the annotation {path.name} is not UTF-8") from error


def list_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield where each line of a list lies, ``FILE:LINE``, and the line; empty ones are passed over.

    Raises
    ------
    UserError
        If it cannot be read or is not UTF-8.
    """
    try:
        text = annotation_text(path)
    except AudioError as error:
        raise UserError(error.reason, where=str(path)) from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.rstrip("\r")
