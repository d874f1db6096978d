"""What `audio-ssl extract` leaves beside the features: ``extraction.json`` and ``index.jsonl``.

``extraction.json`` says what the folder holds (`Extraction`), ``index.jsonl`` has one row a clip (`IndexRow`). The hash
of the index is recorded, and other programs read it, so a row is written with the same bytes in every release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from audio_ssl.artifacts.records import absent, read_record, write_record
from audio_ssl.base.checksums import Seal
from audio_ssl.base.documents import JsonObject, find, iterate_json_lines
from audio_ssl.base.errors import UserError, shown

INDEX_FILE, EXTRACTION_FILE, STORE = "index.jsonl", "extraction.json", "store"
_REMEDY = "choose another --out, or delete the folder to extract again"
_MOST_CLIPS = 1 << 62

T = TypeVar("T")


@dataclass(frozen=True)
class Extraction:
    """What features depend on, and what they are: ``extraction.json``, and ``meta.json`` of a store of features."""

    model: str
    """Its fingerprint."""
    layers: tuple[int, ...]
    mix: str | None
    """The folder of the probe whose mix of layers is given; None: the layers are given as they are."""
    pool: str
    format: str
    dtype: str
    hop_seconds: float
    """Between two frames."""
    precision: str
    chunk_seconds: float
    """Length of the chunks that long files are cut into."""
    context_seconds: float
    """Audio on either side of a chunk that the model hears as well."""
    names: int | None = absent(None)
    """Version of the rule by which files are named; None: the first one, or a store, which names no files."""
    codes: str | None = absent(None)
    """Where the folder holds units: the code book that makes them of a layer, or how it is fitted; None: features."""
    command: str = absent("")
    """Shell command that makes the features again."""
    more: JsonObject = field(default_factory=dict)


def read_extraction(out: Path) -> Extraction | None:
    """Return what a folder of features holds; None where none was begun.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = out / EXTRACTION_FILE
    return read_record(Extraction, path, _REMEDY) if path.exists() else None


def write_extraction(out: Path, extraction: Extraction) -> None:
    """Write what a folder of features holds."""
    write_record(out / EXTRACTION_FILE, extraction)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """The features of one clip: a row of ``index.jsonl``. Rows of earlier releases lack some keys, which are None.

    Examples
    --------
    >>> IndexRow("a", path="a.wav", seconds=0.5, frames=2, file="a.npy", number=7).line()
    '{"id": "a", "path": "a.wav", "seconds": 0.5, "frames": 2, "file": "a.npy"}'
    """

    id: str
    path: str | None = None
    """Of the audio."""
    seconds: float | None = None
    frames: int | None = None
    layers: tuple[int, ...] | None = None
    hop_seconds: float | None = None
    model: str | None = None
    """Fingerprint."""
    file: str = ""
    """Where the features lie, relative to the folder of the index."""
    bytes: int | None = None
    """Length of the file; `sha256` is its hash."""
    sha256: str | None = None
    number: int | None = None
    """Place of the clip among all clips; in journals alone."""
    more: JsonObject = field(default_factory=dict)

    @property
    def seal(self) -> Seal | None:
        """Return what the file was when it was written; None where the row does not say."""
        return None if self.bytes is None or self.sha256 is None else Seal(self.bytes, self.sha256)

    def line(self, number: bool = False) -> str:
        """Return the row as ASCII JSON without a line break, for a journal with the clip's `number`."""
        row = {
            "id": self.id,
            "number": self.number if number else None,
            "path": self.path,
            "seconds": self.seconds,
            "frames": self.frames,
            "layers": self.layers,
            "hop_seconds": self.hop_seconds,
            "model": self.model,
            "file": self.file,
            "bytes": self.bytes,
            "sha256": self.sha256,
        }
        return json.dumps({key: v for key, v in row.items() if v is not None} | self.more, ensure_ascii=True)


_KEYS = frozenset(IndexRow.__dataclass_fields__) - {"more"}


def as_index_row(row: JsonObject, where: str) -> IndexRow:
    """Return a row of an index or of a journal from its plain data.

    Raises
    ------
    UserError
        If `id` or `file` is missing, or a value has the wrong type; `where` names the line.
    """
    layers, number = _known(row, "layers", list, where), _known(row, "number", int, where)
    if number is not None and abs(number) >= _MOST_CLIPS:
        raise UserError(f"`number` must be the place of a clip, but is {shown(number)}", where=where)
    return IndexRow(
        id=find(row, "id", str, where),
        path=_known(row, "path", str, where),
        seconds=_known(row, "seconds", float, where),
        frames=_known(row, "frames", int, where),
        layers=None if layers is None else tuple(layers),
        hop_seconds=_known(row, "hop_seconds", float, where),
        model=_known(row, "model", str, where),
        file=find(row, "file", str, where),
        bytes=_known(row, "bytes", int, where),
        sha256=_known(row, "sha256", str, where),
        number=number,
        more={} if row.keys() <= _KEYS else {key: value for key, value in row.items() if key not in _KEYS},
    )


def _known(row: JsonObject, key: str, kind: type[T], where: str) -> T | None:
    value = row.get(key)
    # An extraction may have millions of rows: values of the right type are not looked up again.
    return value if value is None or type(value) is kind else find(row, key, kind, where)


def read_index(out: Path) -> Iterator[IndexRow]:
    """Yield the rows of a finished extraction.

    Raises
    ------
    UserError
        If a row is damaged; the text has its line.
    """
    path = out / INDEX_FILE
    for number, row in iterate_json_lines(path):
        yield as_index_row(row, f"{path}, line {number}")
