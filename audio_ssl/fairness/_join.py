"""Columns that predictions lack, out of a manifest: by id, or by the audio file where there are no ids.

Ours and NeMo's manifests are read. Rows are looked up on the disk; only their keys are held. What predictions have
themselves stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from audio_ssl.errors import UserError
from audio_ssl.fairness._exclusions import Exclusions
from audio_ssl.fairness.readers.jsonl import parse_row
from audio_ssl.fairness.readers.lines import Lookup
from audio_ssl.fairness.readers.nemo import as_ours, is_nemo
from audio_ssl.fairness.readers.source import Numbered, Row
from audio_ssl.fairness.values import plain

_TRIED_ROWS = 1000

_Key = Callable[[Row, Path], str | None]


def _stem(column: str) -> _Key:
    return lambda row, folder: Path(str(row[column])).stem if row.get(column) else None


def _absolute(column: str) -> _Key:
    return lambda row, folder: os.path.abspath(folder / str(row[column])) if row.get(column) else None


def _id(row: Row, folder: Path) -> str | None:
    try:
        return plain(row.get("id"))
    except TypeError:
        return None


class Manifest:
    """Rows of a manifest by the key that fits the predictions.

    Parameters
    ----------
    path
        The manifest.
    sample
        First rows of the predictions.
    folder
        Where relative audio paths of the predictions start.
    path_column
        Column of the predictions with the audio file, where they have no ids.

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

    def fill(self, rows: Numbered, reference: str, left_out: Exclusions) -> Numbered:
        """Yield rows with what they lack; those that are not in the manifest are left out.

        Parameters
        ----------
        rows
            Of the predictions.
        reference
            The manifest's column with what is right.
        left_out
            Gets what is not in the manifest, and in the end what the manifest has more.
        """
        for number, row in rows:
            key = self._ours(row, self._folder)
            found = None if key is None else self._rows.get(key)
            if found is None:
                left_out.add("not in the manifest", [str(row.get("id", f"line {number}"))])
                continue
            more = self._parse(*found)
            more["reference"] = more.get("reference", more.get(reference))
            more.pop("hypothesis", None)
            yield number, {**row, **{name: value for name, value in more.items() if row.get(name) is None}}
        left_out.add("in the manifest, but no hypothesis", self._rows.unused())
        self._rows.close()

    def _parse(self, number: int, line: str) -> Row:
        row = parse_row(line, f"{self.path}:{number}")
        if not is_nemo(row):
            return row
        ours = as_ours(row)
        return {**ours, "path": row.get("audio_filepath")}

    def _key_of_line(self, number: int, line: str) -> str | None:
        if not line.strip():
            return None
        row = self._parse(number, line)
        self.columns.update(dict.fromkeys(row))
        return self._theirs(row, self.path.parent)


def first_rows(rows: Iterator[tuple[int, Row]]) -> list[Row]:
    """Return the rows to try keys on."""
    return [row for _, row in islice(rows, _TRIED_ROWS)]
