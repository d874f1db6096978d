"""Columns that predictions lack, joined from a manifest by id, or by the audio file where there are no ids.

Manifests of this package, of NeMo and of lhotse are read, and sclite's references. Only keys are held in memory; rows
are looked up on the disk. Columns of the predictions are not replaced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from audio_ssl.base.documents import parse_line
from audio_ssl.base.errors import UserError
from audio_ssl.data.corpus_tools.toolkits import is_lhotse, segment_id
from audio_ssl.fairness.tables import formats
from audio_ssl.fairness.tables.kaldi import parse_trn, speaker_of
from audio_ssl.fairness.tables.lines import Lookup
from audio_ssl.fairness.tables.scalars import plain
from audio_ssl.fairness.tables.source import Numbered, Row
from audio_ssl.fairness.tallies import Exclusions

_TRIED_ROWS = 1000
_TEXTS = ("reference", "hypothesis")

_Key = Callable[[Row, Path], str | None]


def _start(row: Row) -> object:
    return row.get("offset") if row.get("offset") is not None else row.get("start")


def _named(name: str, row: Row) -> str | None:
    try:
        return plain(segment_id(name, _start(row)))
    except ValueError:
        return None


def _stem(column: str) -> _Key:
    return lambda row, folder: _named(Path(str(row[column])).stem, row) if row.get(column) else None


def _absolute(column: str) -> _Key:
    return lambda row, folder: _named(os.path.abspath(folder / str(row[column])), row) if row.get(column) else None


def _id(row: Row, folder: Path) -> str | None:
    try:
        return plain(row.get("id"))
    except TypeError:
        return None


class Manifest:
    """Rows of a manifest by the key that matches the predictions.

    Parameters
    ----------
    path
        The manifest.
    sample
        First rows of the predictions.
    folder
        Folder of relative audio paths of the predictions.
    path_column
        Column of the predictions with the audio file, if they have no ids.

    Raises
    ------
    UserError
        If it cannot be read, an id appears twice, or no row of `sample` is in it.
    """

    def __init__(self, path: Path, sample: Sequence[Row], folder: Path, path_column: str | None) -> None:
        if not path.is_file():
            raise UserError("no such manifest", where=str(path))
        self.path = path
        self.columns: dict[str, None] = {}
        self.other_splits = 0
        """Rows of splits without predictions; they do not belong to the test."""
        self._folder = folder
        ways: list[tuple[str, _Key, _Key]] = [("id", _id, _id)]
        if path_column is not None:
            audio = "path"
            ways += [
                (f"stem of {path_column} = id", _stem(path_column), _id),
                (f"{path_column} = path", _absolute(path_column), _absolute(audio)),
                (f"stem of {path_column} = stem of path", _stem(path_column), _stem(audio)),
            ]
        for self.way, self._ours, self._theirs in ways:
            self._rows = Lookup(path, self._key_of_line)
            if any((self._ours(row, folder) or "") in self._rows for row in sample):
                return
        tried = ", ".join(f"`{way}`" for way, _, _ in ways)
        raise UserError(
            f"none of the first {len(sample)} predictions is in the manifest; tried: {tried}", where=str(path)
        )

    def fill(self, rows: Numbered, reference: str, left_out: Exclusions, absent: Callable[[Row], None]) -> Numbered:
        """Yield rows with the missing columns. Rows that are not in the manifest are excluded.

        Parameters
        ----------
        rows
            Predictions.
        reference
            The manifest's column with the reference.
        left_out
            Receives the rows that are not in the manifest.
        absent
            Receives, at the end, the clips without predictions of the splits that have predictions.
        """
        splits: set[str] = set()
        for number, row in rows:
            key = self._ours(row, self._folder)
            found = None if key is None else self._rows.get(key)
            if found is None:
                left_out.add("not in the manifest", [str(row.get("id", f"line {number}"))])
                continue
            more = self._parse(*found)
            splits.add(str(more.get("split")))
            more["reference"] = more.get("reference", more.get(reference))
            more.pop("hypothesis", None)
            yield number, {**row, **{name: value for name, value in more.items() if _lacks(row, name)}}
        for key in list(self._rows.unused()):
            more = self._parse(*(self._rows.get(key) or (0, "{}")))
            if str(more.get("split")) in splits:
                absent({**more, "id": more.get("id") or key})
            else:
                self.other_splits += 1
        self._rows.close()

    def notes(self) -> list[str]:
        """Return notes on the join."""
        found = [f"columns of {self.path.name} by {self.way}"]
        if self.other_splits:
            found.append(f"{self.other_splits:,} clips of its other splits are no part of this")
        return found

    def _parse(self, number: int, line: str) -> Row:
        where = f"{self.path}:{number}"
        try:
            if self.path.suffix.lower() == ".trn":
                utterance, words = parse_trn(line) or ("", "")
                return {"id": utterance, "text": words, "speaker": speaker_of(utterance)}
            row = parse_line(line, self.path, number, nan_is_null=True, any_text=True)
            if is_lhotse(row):
                return formats.lhotse_row(row)
            if formats.is_nemo(row):
                return {**formats.nemo_row(row), "path": row.get("audio_filepath")}
        except (ValueError, TypeError) as error:
            raise UserError(str(error), where=where) from error
        return row

    def _key_of_line(self, number: int, line: str) -> str | None:
        if not line.strip() or line.startswith(";;"):
            return None
        row = self._parse(number, line)
        self.columns.update(dict.fromkeys(row))
        return self._theirs(row, self.path.parent)


def _lacks(row: Row, name: str) -> bool:
    """Return whether a row lacks a value. An empty text is a value; any other empty cell is not."""
    value = row.get(name)
    return value is None or (value == "" and name not in _TEXTS)


def first_rows(rows: Numbered) -> list[Row]:
    """Return the first rows, to try keys with."""
    return [row for _, row in islice(rows, _TRIED_ROWS)]
