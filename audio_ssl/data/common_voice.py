"""Common Voice's tables, which CoVoST 2 reads too: rows of tab-separated text, and who speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from audio_ssl.data.audio import SUFFIXES
from audio_ssl.data.reading import LeftOut
from audio_ssl.documents.text import decode_text
from audio_ssl.errors import UserError

_NOT_ESCAPED_TAB = re.compile(r"(?<!\\)\t")
_ESCAPED = re.compile(r'\\([\t"\\])')


def common_voice_rows(path: Path, needed: Sequence[str], left_out: LeftOut) -> Iterator[dict[str, str]]:
    """Yield the rows of a table; one of another width than the header is left out by the number of its line.

    Parameters
    ----------
    path
        The table.
    needed
        Columns without which it is none.
    left_out
        Gets the rows that cannot be read.

    Raises
    ------
    UserError
        If a needed column is missing, or the table is not UTF-8.
    """
    try:
        # Only a line feed ends a row: sentences hold other separators of Unicode.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            names = [name.strip() for name in file.readline().rstrip("\r\n").split("\t")]
            if missing := [name for name in needed if name not in names]:
                raise UserError(
                    f"the columns {', '.join(missing)} are missing; there are {', '.join(names)}", where=str(path)
                )
            for number, line in enumerate(file, 2):
                text = line.rstrip("\r\n")
                if not text.strip():
                    continue
                cells = split_cells(text, len(names))
                if len(cells) == len(names):
                    yield dict(zip(names, cells, strict=True))
                else:
                    left_out.add(f"{path}:{number}", f"the row has {len(cells)} cells and the header {len(names)}")
    except UnicodeDecodeError:
        # The reader reads ahead: what is wrong lies in some later line.
        with path.open("rb") as whole:
            for number, row in enumerate(whole, 1):
                decode_text(row, path, number)


def split_cells(line: str, width: int) -> list[str]:
    r"""Return the cells of a row, without the backslashes that some releases write before quotes.

    A quote is a quote and never holds cells together. A tab with a backslash before it is text only where the row has
    too many cells otherwise: a sentence may end in a backslash.

    Parameters
    ----------
    line
        The row, without its end.
    width
        Cells of the header.

    Examples
    --------
    >>> split_cells('a\\\tHe said \\"no\t3', 3)
    ['a\\', 'He said "no', '3']
    >>> split_cells('a\\\tb\t3', 2)
    ['a\tb', '3']
    """
    cells = line.split("\t")
    if len(cells) > width:
        joined = _NOT_ESCAPED_TAB.split(line)
        cells = joined if len(joined) == width else cells
    return [_ESCAPED.sub(r"\1", cell) for cell in cells]


def common_voice_audio(path: Path) -> Path:
    """Return the file of a clip; the first releases name it without a suffix, and people convert clips."""
    if path.suffix not in SUFFIXES:
        path = path.with_name(f"{path.name}.mp3")
    if path.is_file():
        return path
    others = (path.with_suffix(suffix) for suffix in sorted(SUFFIXES))
    return next((other for other in others if other.is_file()), path)


def common_voice_gender(row: Mapping[str, str]) -> str | None:
    """Return what a speaker said, in the table's word, or None where nothing was said.

    Every reader's words are read as F and M where corpora are read, see `LoadedCorpus.read`.

    Examples
    --------
    >>> [common_voice_gender({"gender": said}) for said in ("female_feminine", "non-binary", "")]
    ['female_feminine', 'non-binary', None]
    """
    return row.get("gender", "").strip() or None
