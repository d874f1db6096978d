"""Common Voice's tables, which CoVoST 2 reads too: rows of tab-separated text, and who speaks."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from audio_ssl.data.audio import SUFFIXES
from audio_ssl.errors import UserError

GENDERS = {"male": "M", "female": "F", "male_masculine": "M", "female_feminine": "F"}
"""The words for the two genders, until and since release 17; other words are kept as they are."""

_NOT_SAID = frozenset({"", "do_not_wish_to_say"})


def common_voice_rows(path: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a table.

    Raises
    ------
    UserError
        If a needed column is missing.
    """
    with path.open(encoding="utf-8", newline="") as file:
        # As the authors write and read them: a quote is a quote, and never holds lines together.
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\", restval="")
        names = table.fieldnames or []
        if missing := [name for name in needed if name not in names]:
            raise UserError(f"the columns {', '.join(missing)} are missing; there are {list(names)}", where=str(path))
        yield from table


def common_voice_audio(path: Path) -> Path:
    """Return the file of a clip; the first releases name it without a suffix, and people convert clips."""
    if path.suffix not in SUFFIXES:
        path = path.with_name(f"{path.name}.mp3")
    if path.is_file():
        return path
    others = (path.with_suffix(suffix) for suffix in sorted(SUFFIXES))
    return next((other for other in others if other.is_file()), path)


def common_voice_gender(row: Mapping[str, str]) -> str | None:
    """Return F, M, another word as it was given, or None where nothing was said.

    Examples
    --------
    >>> [common_voice_gender({"gender": said}) for said in ("female_feminine", "non-binary", "")]
    ['F', 'non-binary', None]
    """
    said = row.get("gender") or ""
    return None if said in _NOT_SAID else GENDERS.get(said, said)
