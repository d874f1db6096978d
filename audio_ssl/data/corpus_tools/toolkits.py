"""Files of other toolkits: Common Voice's tables, lhotse's cuts, names of segments.

Common Voice's tables, which CoVoST 2 reads too: rows of tab-separated text, and who speaks.

Cuts of lhotse (Żelasko et al. 2021, arXiv 2110.12561) as rows: one JSON object a line, plain or gzipped.

A ``MonoCut`` is a span of a recording, with what was said in ``supervisions``. What is left out on purpose: cuts that
are mixed or padded, which are no span of a file.

Names of parts of audio files, the same wherever a segment is met: in manifests, in predictions, in a join.
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


_KEPT = ("speaker", "gender", "language")


def is_lhotse(row: Mapping[str, Any]) -> bool:
    """Tell by the keys.

    Examples
    --------
    >>> is_lhotse({"id": "c", "start": 0.0, "duration": 2.0, "supervisions": []}), is_lhotse({"id": "c", "start": 0.0})
    (True, False)
    """
    return "supervisions" in row or "tracks" in row or ("recording_id" in row and "duration" in row)


def cut_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``id, start, seconds``, and of what is there ``path, text, speaker, gender, language`` and custom values.

    A line of a ``SupervisionSet`` has no path. Of several supervisions the texts follow one another; a speaker, gender
    or language is that of all of them, or none.

    Raises
    ------
    ValueError
        If the cut is not a part of one file.

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
    """Return the file of a recording, None where none is told."""
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
    """Return the id of the part of a file that begins at `start`: the path alone where that is the file's beginning.

    Parameters
    ----------
    path
        The audio file, as a table names it.
    start
        In seconds, a number or text of one; None where a table does not say. Microseconds tell two segments apart.

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
