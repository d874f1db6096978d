"""Reads rows of tables as clips, and annotations of corpora.

The same rules hold for CSV files and Hugging Face datasets. A column with the name of a field of the manifest is read
as that field. `columns` assigns other columns (``{"text": "sentence"}``). All further columns are kept in ``extra``. An
invalid row or annotation leaves out one clip and never shifts others.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_ssl.base.documents import iterate_json_lines
from audio_ssl.base.errors import AudioError, UserError, unknown_name
from audio_ssl.data.audio import audio_info
from audio_ssl.data.corpus_tools.toolkits import segment_id
from audio_ssl.data.delimited import open_delimited
from audio_ssl.data.ledger import LeftOut
from audio_ssl.data.manifest import Clip, Scalar

PATHS = ("path", "audio", "audio_path", "audio_file", "file", "filename", "file_name", "audio_filepath", "wav")
"""Names of the column with the audio file, in order of preference, if `columns` does not assign it."""

TEXTS = ("text", "translation", "label", "speaker", "gender", "language", "split")
NUMBERS = ("start", "seconds")
FIELDS = ("path", "id", *NUMBERS, "tags", *TEXTS)
"""Fields of the manifest."""

SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "val": "valid",
    "test": "test",
}
"""Usual names of splits to our names; other names stay."""

_FLOATS, _INTS = ("valence", "arousal"), ("pitch",)


def table_rows(path: Path, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the row of a CSV, TSV or JSON Lines file.

    Encoding and delimiter are detected (`audio_ssl.data.delimited`). Rows of another width than the header are left
    out with their line number.

    Parameters
    ----------
    path
        The table.
    left_out
        Where rows that cannot be read are recorded.

    Raises
    ------
    UserError
        For another kind of file, a line that is not a row, or a header with a name twice.
    """
    suffix = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    suffix = suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json"):
        yield from iterate_json_lines(path)
    elif suffix in (".csv", ".tsv"):
        table = open_delimited(path)
        for note in table.notes:
            left_out.say(f"{path.name}: {note}")
        for number, cells in table.rows(lambda line, reason: left_out.add(f"{path}:{line}", reason)):
            yield number, {name: cell for name, cell in zip(table.header, cells, strict=True) if name}
    else:
        raise UserError("a table must be a .csv, .tsv or .jsonl file", where=str(path))


def split_named(name: str) -> str | None:
    """Return the split that a word of a file name means; None if there is none.

    Examples
    --------
    >>> split_named("cuts_dev-clean.jsonl.gz"), split_named("cuts.jsonl")
    ('valid', None)
    """
    return next((SPLIT_NAMES[word] for word in re.split(r"[\W_]+", name) if word in SPLIT_NAMES), None)


def match_columns(names: Iterable[str], columns: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the field of the manifest for each column of a table.

    Parameters
    ----------
    names
        Columns of the table.
    columns
        Field of the manifest to column of the table.
    where
        Name of the table in errors.

    Raises
    ------
    UserError
        If a column is not in the table, or no column has the audio file.

    Examples
    --------
    >>> match_columns(["file", "sentence", "age"], {"text": "sentence"}, "a.csv")
    {'file': 'path', 'sentence': 'text', 'age': 'age'}
    >>> match_columns(["audio_filepath", "offset", "duration"], {}, "nemo.json")
    {'audio_filepath': 'path', 'offset': 'start', 'duration': 'seconds'}
    """
    names = list(names)
    chosen = dict(columns)
    for column in chosen.values():
        if column not in names:
            raise unknown_name("column", column, names, where)
    if "path" not in chosen:
        found = [name for name in PATHS if name in names and name not in chosen.values()]
        if not found:
            raise UserError(
                f"no column has the audio file; the columns are {', '.join(names)}",
                where=where,
                remedy="say which: --column path=NAME",
            )
        chosen["path"] = found[0]
    # NeMo's names of the span of a row. A duration without an offset is often that of the whole file.
    for field, column in (("start", "offset"), ("seconds", "duration")):
        free = field not in chosen and field not in names and column not in chosen.values()
        if free and column in names and "offset" in names:
            chosen[field] = column
    ours = {column: ours for ours, column in chosen.items()}
    # Other columns must not be read as fields, or as columns that `columns` assigns.
    return {name: ours.get(name) or (f"table_{name}" if name in chosen else name) for name in names}


class Rows:
    """Makes clips of rows. Each audio file is examined once.

    Parameters
    ----------
    names
        Result of `match_columns`.
    folder
        Folder of relative audio paths.
    """

    def __init__(self, names: Mapping[str, str], folder: Path) -> None:
        self.names = names
        self._folder = folder
        self._ids: dict[str, int] = {}
        self._infos: dict[Path, tuple[float, int]] = {}

    def clip(self, row: Mapping[str, Any], where: str, split: str | None = None) -> Clip:
        """Return the clip of a row; `split` is used if the row has none.

        Raises
        ------
        UserError
            If an id of the table appears twice.
        AudioError
            If the row or its file cannot be used.
        """
        values = {self.names[name]: value for name, value in row.items() if name in self.names and not _empty(value)}
        if "path" not in values:
            raise AudioError("no audio file in the row")
        path = self._folder / str(values["path"])
        length, rate = self._info(path)
        start, seconds = (_number(values.get(name), name) for name in NUMBERS)
        start = start or 0.0
        seconds = length - start if seconds is None else seconds
        # Times in tables are rounded, but the span must be within the file.
        if start < 0 or seconds <= 0 or start + seconds > length + 0.02:
            raise AudioError("the span is not within the file")
        seconds = min(seconds, length - start)
        texts = {name: str(values[name]).strip() for name in TEXTS if name in values}
        own = texts.pop("split", None) or split
        extra = {name: _scalar(name, value) for name, value in values.items() if name not in (*FIELDS, "sample_rate")}
        return Clip(
            id=self._id(values, start, where),
            path=str(path),
            start=start,
            seconds=seconds,
            sample_rate=rate,
            tags=_tags(values["tags"]) if "tags" in values else None,
            split=None if own is None else SPLIT_NAMES.get(own.lower(), own),
            extra=extra,
            **texts,
        )

    def _info(self, path: Path) -> tuple[float, int]:
        if path not in self._infos:
            info = audio_info(path)
            self._infos[path] = (info.seconds, info.sample_rate)
        return self._infos[path]

    def _id(self, values: Mapping[str, Any], start: float, where: str) -> str:
        given = "id" in values
        name = str(values["id"]).strip() if given else segment_id(str(values["path"]).strip(), start)
        self._ids[name] = self._ids.get(name, 0) + 1
        if self._ids[name] == 1:
            return name
        if given:
            raise UserError(
                f"the id `{name}` appears twice", where=where, remedy="name another column: --column id=NAME"
            )
        return f"{name}#{self._ids[name] - 1:03d}"


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise AudioError(f"`{name}` is not a number")
    return number


def _tags(value: Any) -> tuple[str, ...]:
    """Return tags from a list, or from text separated by bars, semicolons or commas, whichever is found first."""
    if isinstance(value, list | tuple):
        return tuple(str(tag) for tag in value)
    mark = next((mark for mark in "|;," if mark in str(value)), "|")
    return tuple(tag for tag in re.split(rf"\s*{re.escape(mark)}\s*", str(value).strip()) if tag)


def _scalar(name: str, value: Any) -> Scalar:
    if name in _FLOATS or name in _INTS:
        number = _number(value, name)
        return int(number) if number is not None and name in _INTS else number
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def annotation_rows(
    path: Path,
    needed: Sequence[str],
    left_out: LeftOut,
    *,
    delimiter: str | None = None,
    quotes: bool | None = None,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the position (``FILE:LINE``) and the stripped cells of each row of a table with a header.

    Rows of another width than the header are left out and recorded.

    Parameters
    ----------
    path
        The table.
    needed
        Required columns.
    left_out
        Where rows that cannot be read are recorded.
    delimiter, quotes
        See `open_delimited`.

    Raises
    ------
    UserError
        If the table cannot be opened, a required column is missing, or a quote is not closed.
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
        If the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AudioError(f"the annotation {path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AudioError(f"the annotation {path.name} is not UTF-8") from error


def list_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the position (``FILE:LINE``) and the text of each line of a list; empty lines are skipped.

    Raises
    ------
    UserError
        If the file cannot be read or is not UTF-8.
    """
    try:
        text = annotation_text(path)
    except AudioError as error:
        raise UserError(error.reason, where=str(path)) from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.rstrip("\r")
