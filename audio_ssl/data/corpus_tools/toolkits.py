"""Reads tables of Common Voice (also used by CoVoST 2) and cuts of lhotse, and names segments of files.

lhotse (Żelasko et al. 2021, arXiv 2110.12561): a ``MonoCut`` is a span of a recording whose texts and speakers are its
``supervisions``; a file has one JSON object per line, plain or gzipped. Left out on purpose: mixed and padded cuts,
which are not a span of a file.

The id of a segment is the same in manifests, predictions and joined tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_ssl.base.documents.text import decode_text
from audio_ssl.base.errors import UserError
from audio_ssl.data.audio.formats import SUFFIXES
from audio_ssl.data.ledger import LeftOut

_NOT_ESCAPED_TAB = re.compile(r"(?<!\\)\t")
_ESCAPED = re.compile(r'\\([\t"\\])')


def common_voice_rows(path: Path, needed: Sequence[str], left_out: LeftOut) -> Iterator[dict[str, str]]:
    """Yield the rows of a table. Rows of another width than the header are left out with their line number.

    Parameters
    ----------
    path
        The table.
    needed
        Required columns.
    left_out
        Where rows that cannot be read are recorded.

    Raises
    ------
    UserError
        If a required column is missing, or the table is not UTF-8.
    """
    try:
        # Only a line feed ends a row, as sentences contain other line separators of Unicode.
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
        # The decoder reads ahead, so the error is in a later line.
        with path.open("rb") as whole:
            for number, row in enumerate(whole, 1):
                decode_text(row, path, number)


def split_cells(line: str, width: int) -> list[str]:
    r"""Return the cells of a row, without the backslashes that some releases write before quotes.

    Quotes are ordinary characters. A tab after a backslash is text only if the row would have too many cells otherwise,
    as a sentence may end with a backslash.

    Parameters
    ----------
    line
        The row without its line end.
    width
        Number of cells of the header.

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
    """Return the audio file of a clip, with any suffix: early releases have none, and clips are often converted."""
    if path.suffix not in SUFFIXES:
        path = path.with_name(f"{path.name}.mp3")
    if path.is_file():
        return path
    others = (path.with_suffix(suffix) for suffix in sorted(SUFFIXES))
    return next((other for other in others if other.is_file()), path)


def common_voice_gender(row: Mapping[str, str]) -> str | None:
    """Return the gender of a speaker as the table has it; None if it is empty.

    `LoadedCorpus.read` normalises it.

    Examples
    --------
    >>> [common_voice_gender({"gender": said}) for said in ("female_feminine", "non-binary", "")]
    ['female_feminine', 'non-binary', None]
    """
    return row.get("gender", "").strip() or None


_KEPT = ("speaker", "gender", "language")


def is_lhotse(row: Mapping[str, Any]) -> bool:
    """Return whether an object is a cut of lhotse, by its keys.

    Examples
    --------
    >>> is_lhotse({"id": "c", "start": 0.0, "duration": 2.0, "supervisions": []}), is_lhotse({"id": "c", "start": 0.0})
    (True, False)
    """
    return "supervisions" in row or "tracks" in row or ("recording_id" in row and "duration" in row)


def cut_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``id, start, seconds`` and, if known, ``path, text, speaker, gender, language`` and custom values.

    A line of a ``SupervisionSet`` has no path. The texts of several supervisions are joined. Their speaker, gender or
    language is used if it is the same in all of them.

    Raises
    ------
    ValueError
        If the cut is not a span of one file.

    Examples
    --------
    >>> said = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 2.0, "text": "yes", "speaker": "a"}
    >>> cut_row({"id": "c", "start": 1.5, "duration": 2.0, "channel": 0, "supervisions": [said]})
    {'id': 'c', 'start': 1.5, 'seconds': 2.0, 'text': 'yes', 'speaker': 'a'}
    """
    kind = row.get("type", "MonoCut")
    if "tracks" in row or kind not in ("MonoCut", "MultiCut"):
        raise ValueError(f"a {kind if isinstance(kind, str) else 'cut'} is not a part of one file")
    found: dict[str, Any] = {"id": row.get("id"), "start": row.get("start"), "seconds": row.get("duration")}
    path = _path(row.get("recording"))
    if path is not None:
        found["path"] = path
    supervisions = row.get("supervisions", [row])
    if not isinstance(supervisions, list) or not all(isinstance(one, Mapping) for one in supervisions):
        raise ValueError("`supervisions` is not a list of objects")
    ordered = sorted(supervisions, key=lambda one: float(one.get("start") or 0))
    texts = [one["text"] for one in ordered if isinstance(one.get("text"), str)]
    if texts:
        found["text"] = " ".join(texts)
    for name in _KEPT:
        values = {one.get(name) for one in ordered}
        if len(values) == 1 and None not in values:
            found[name] = values.pop()
    for one in (*ordered, row):
        custom = one.get("custom")
        if isinstance(custom, Mapping):
            found.update(
                (k, v) for k, v in custom.items() if isinstance(v, str | int | float | bool) and k not in found
            )
    return found


def _path(recording: object) -> str | None:
    """Return the file of a recording; None if it has none."""
    if not isinstance(recording, Mapping):
        return None
    sources = recording.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], Mapping):
        raise ValueError("the recording lies in several files")
    kind, name = sources[0].get("type"), sources[0].get("source")
    if kind != "file" or not isinstance(name, str):
        raise ValueError(f"the recording is not a file, but of the type `{str(kind)[:40]}`")
    return name


def segment_id(path: str, start: object = None) -> str:
    """Return the id of the segment of a file from `start` on: the path alone if it starts at 0.

    Parameters
    ----------
    path
        Path of the audio file in the table.
    start
        Start in seconds, a number or its text; None if the table has none. Starts are compared in microseconds.

    Raises
    ------
    ValueError
        If `start` is not a number of seconds from 0.

    Examples
    --------
    >>> segment_id("a.wav"), segment_id("a.wav", 0.0), segment_id("a.wav", 12.340000001)
    ('a.wav', 'a.wav', 'a.wav@12.34')
    """
    if start is None or start == "":
        return path
    if isinstance(start, bool) or not isinstance(start, int | float | str):
        raise ValueError(f"{start!r} is not a number of seconds")
    seconds = float(start)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{start!r} is not a number of seconds from 0")
    text = f"{seconds:.6f}".rstrip("0").rstrip(".")
    return path if text == "0" else f"{path}@{text}"
