"""Rows of predictions as columns: each row is checked and counted, then its text is dropped.

A million rows have to fit into memory. What remains of a row are a few numbers, the bytes of its id, and two hashes.
"""

from __future__ import annotations

import contextlib
import hashlib
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audio_ssl.base.errors import UserError, one_line
from audio_ssl.base.text import composed, is_composed, printable
from audio_ssl.data.columns import by_number, is_unknown
from audio_ssl.fairness.tables.scalars import Numbers, Spellings, notes_of, plain
from audio_ssl.fairness.tables.source import Row
from audio_ssl.fairness.tallies import (
    NAMED,
    NOT_TEXT,
    PERHAPS_NOT_TEXT,
    ClipTexts,
    Exclusions,
    GroupCounter,
    WorstClips,
)
from audio_ssl.metrics.metric import AdditiveMetric, Array

_LONGEST_ALIGNMENT = 4e11
"""Characters of the reference times characters of the hypothesis: about 15 seconds for one clip."""

_MOST_GROUPS = 1000
_LONGEST_ID = 200
"""Characters of an id in messages."""

NUMBERS = ("seconds", "level_dbfs")
"""Columns of numbers that are read if they exist."""


@dataclass(frozen=True)
class ClipCodes:
    """A categorical column."""

    names: list[str]
    index: npt.NDArray[np.int32]
    """``[clip]``, place in `names`; -1 where unknown."""


class CountedClip(NamedTuple):
    """A row that can be counted."""

    id: str
    speaker: str
    reference: str
    hypothesis: str
    plain_reference: str
    """Normalised, as is the next."""
    plain_hypothesis: str
    terms: str
    groups: tuple[str | None, ...]
    numbers: tuple[Any, ...]
    """Values of `NUMBERS` as in the row."""


class CountedColumns(NamedTuple):
    """What remains of the rows that are kept; arrays are ``[clip]``."""

    statistics: dict[str, Array]
    """Metric -> ``[clip, column]``."""
    speakers: ClipCodes
    attributes: dict[str, ClipCodes]
    numbers: dict[str, Array]
    """By the names of `NUMBERS`; NaN where not recorded."""
    words: Array
    """Number of words of the normalised reference."""
    keys: npt.NDArray[np.uint64]
    """Hash of id and reference."""
    empty_references: npt.NDArray[np.bool_]
    empty_hypotheses: npt.NDArray[np.bool_]
    """True where something was said and the hypothesis has no word."""
    empty_names: tuple[str, ...]
    """Ids of the first clips with an empty hypothesis."""


class Coder:
    """Numbers names in order of appearance."""

    def __init__(self, what: str, most: int | None = None) -> None:
        self._what, self._most = what, most
        self._codes: dict[str, int] = {}
        self.names: list[str] = []
        self._index = array("i")

    def add(self, name: str | None) -> None:
        """Append the code of one clip."""
        code = -1
        if name is not None:
            code = self._codes.setdefault(name, len(self.names))
            if code == len(self.names):
                self.names.append(name)
                if self._most is not None and code == self._most:
                    raise UserError(f"`{self._what}` has more than {self._most} values: it names no groups")
        self._index.append(code)

    def index(self, start: int = 0) -> npt.NDArray[np.int32]:
        """Return the codes from `start` on."""
        return np.array(self._index[start:], np.int32)

    def codes(self, kept: npt.NDArray[np.bool_]) -> ClipCodes:
        """Return the codes of the clips that are kept; names are sorted, and unused names are dropped."""
        index = self.index()[kept]
        # Sorted, so that resamples by code do not depend on the order of the rows; groups in the order of audits.
        order = (lambda code: by_number(self.names[code])) if self._most else self.names.__getitem__
        used = np.array(sorted(np.unique(index[index >= 0]).tolist(), key=order), np.intp)
        place = np.full(len(self.names) + 1, -1, np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        # Code -1 indexes the last place.
        return ClipCodes([self.names[code] for code in used.tolist()], place[index])


class PredictionTable:
    """Counts rows in batches.

    Parameters
    ----------
    measures
        Metrics to count, the main one first.
    attributes
        Columns that make groups.
    normalise
        For the texts of `NORMALISED`.
    left_out
        Receives the rows that cannot be counted.
    where
        Path for errors.
    """

    def __init__(
        self,
        measures: Mapping[str, AdditiveMetric],
        attributes: Sequence[str],
        normalise: Callable[[str], str],
        left_out: Exclusions,
        where: str,
    ) -> None:
        self.measures, self._normalise, self.left_out, self._where = measures, normalise, left_out, where
        self.rows = 0
        self.spellings = [Spellings(name) for name in attributes]
        self.speakers = Coder("speaker")
        self.groups = {name: Coder(name, _MOST_GROUPS) for name in attributes}
        self.worst = WorstClips(next(iter(measures.values())))
        self._labels = all(name == "accuracy" for name in measures)
        self._lines: dict[int, int] = {}
        self._line_of, self._content = array("q"), array("q")
        self._numbers = {name: Numbers(name, positive=name == "seconds") for name in NUMBERS}
        self._words = array("d")
        self._keys, self._empty, self._silent = array("Q"), bytearray(), bytearray()
        self._composed = self._perhaps_missing = 0
        self.missing = GroupCounter(attributes)
        self._ids: list[pa.Array] = []
        self._statistics: dict[str, list[Array]] = {name: [] for name in measures}

    def count_with(self, measures: Mapping[str, AdditiveMetric]) -> None:
        """Count these metrics. To be called before the first rows."""
        assert not self._keys, "some rows have been counted"
        self.measures = measures
        self.worst = WorstClips(next(iter(measures.values())))
        self._statistics = {name: [] for name in measures}

    def add(self, batch: Sequence[tuple[int, Row]], columns: Collection[str]) -> None:
        """Count a batch of numbered rows. If an id appears twice, `columns` are compared."""
        self.rows += len(batch)
        start = len(self._keys)
        clips = [clip for number, row in batch if (clip := self._clip(number, row, columns)) is not None]
        if not clips:
            return
        for clip in clips:
            self._append(clip)
        self._ids.append(pa.array([clip.id for clip in clips], pa.large_string()))
        for name, measure in self.measures.items():
            self._statistics[name].append(measure.statistics(self._pair(name, clip) for clip in clips))
        main = next(iter(self._statistics.values()))[-1]
        codes = {name: coder.index(start) for name, coder in self.groups.items()}
        self.worst.look(main, codes, np.frombuffer(self._silent[start:], np.bool_), lambda place: _texts(clips[place]))

    @property
    def clips(self) -> int:
        """Number of rows counted so far."""
        return len(self._keys)

    def ids(self) -> pa.ChunkedArray:
        """Return the ids, ``[clip]``."""
        return pa.chunked_array(self._ids, pa.large_string())

    def absent(self, row: Row) -> None:
        """Count a clip of the manifest that has no row."""
        groups = self._groups(row)
        self.missing.add([None] * len(self.spellings) if isinstance(groups, str) else groups)
        self.left_out.add("in the manifest, but no hypothesis", [one_line(str(row.get("id")), _LONGEST_ID)])

    def columns(self, kept: npt.NDArray[np.bool_], commas_between: bool) -> CountedColumns:
        """Return the columns of the clips that are kept. The table drops its statistics."""
        empty = np.frombuffer(bytes(self._silent), np.bool_)[kept]
        ids = self.ids()
        first = np.flatnonzero(kept)[empty][:NAMED].tolist()
        return CountedColumns(
            statistics={name: self._take(name, kept) for name in self.measures},
            speakers=self.speakers.codes(kept),
            attributes={name: coder.codes(kept) for name, coder in self.groups.items()},
            numbers={name: column.values(commas_between)[kept] for name, column in self._numbers.items()},
            words=np.array(self._words, np.float64)[kept],
            keys=np.array(self._keys, np.uint64)[kept],
            empty_references=np.frombuffer(bytes(self._empty), np.bool_)[kept],
            empty_hypotheses=empty,
            empty_names=tuple(one_line(ids[place].as_py(), _LONGEST_ID) for place in first),
        )

    def _take(self, name: str, kept: npt.NDArray[np.bool_]) -> Array:
        whole = np.concatenate(self._statistics.pop(name))
        return whole if kept.all() else whole[kept]

    def notes(self, commas_between: bool) -> list[str]:
        """Return notes on the values that were read."""
        found = notes_of([*self._numbers.values()], commas_between)
        if self._composed:
            found.append(f"letters of {self._composed:,} rows composed (Unicode NFC)")
        if self._perhaps_missing:
            many = "1 hypothesis is" if self._perhaps_missing == 1 else f"{self._perhaps_missing:,} hypotheses are"
            found.append(f"{many} `None`, `null` or `nan`, and counted as the word")
        return found

    def _append(self, clip: CountedClip) -> None:
        words = len(clip.plain_reference.split())
        self.speakers.add(clip.speaker)
        for coder, group in zip(self.groups.values(), clip.groups, strict=True):
            coder.add(group)
        for column, value in zip(self._numbers.values(), clip.numbers, strict=True):
            column.add(value)
        self._words.append(words)
        self._empty.append(words == 0)
        self._silent.append(words > 0 and not clip.plain_hypothesis)
        both = f"{clip.id}\0{clip.plain_reference}".encode("utf-8", "surrogatepass")
        self._keys.append(int.from_bytes(hashlib.blake2b(both, digest_size=8).digest(), "little"))

    def _pair(self, name: str, clip: CountedClip) -> tuple[str, str]:
        measure = self.measures[name]
        if measure.prose:
            return clip.plain_reference, clip.plain_hypothesis
        return (clip.terms if measure.reference == "terms" else clip.reference), clip.hypothesis

    def _clip(self, number: int, row: Row, columns: Collection[str]) -> CountedClip | None:
        """Return what is counted of a row, or None if it is excluded."""
        name: str | None = None
        with contextlib.suppress(TypeError):
            name = plain(row.get("id"))
        if name is None:
            self.left_out.add("no id", [f"line {number}"])
            return None
        if self._seen(name, number, row, columns):
            self.left_out.add("appears twice", [one_line(name, _LONGEST_ID)])
            return None
        made = self._check(name, row)
        if isinstance(made, str):
            self.left_out.add(made, [one_line(name, _LONGEST_ID)])
            return None
        return made

    def _check(self, name: str, row: Row) -> CountedClip | str:
        """Return a clip, or the reason why it is excluded."""
        reference, hypothesis = self._text(row.get("reference")), self._text(row.get("hypothesis"))
        if reference is None:
            return "no reference"
        groups = self._groups(row)
        if isinstance(groups, str):
            return f"`{groups}` is not a plain value"
        if hypothesis is None:
            self.missing.add(groups)
            return "no hypothesis"
        if not isinstance(reference, str) or not isinstance(hypothesis, str):
            return f"the {'hypothesis' if isinstance(reference, str) else 'reference'} is not text"
        try:
            speaker = plain(row.get("speaker"))
        except TypeError:
            speaker = None
        if speaker is None or is_unknown(speaker):
            return "no speaker"
        reason = self._why_not(reference, hypothesis, row)
        if reason is not None:
            return reason
        self._composed += not all(is_composed(value) for value in self._texts_of(row))
        self._perhaps_missing += hypothesis in PERHAPS_NOT_TEXT and hypothesis != reference
        return CountedClip(
            name,
            speaker,
            reference,
            hypothesis,
            self._normalise(reference),
            self._normalise(hypothesis),
            str(row.get("terms")),
            tuple(groups),
            tuple(row.get(column) for column in NUMBERS),
        )

    def _text(self, value: object) -> object:
        """Return a text in composed letters, None where there is none; other types are returned unchanged."""
        if self._labels and not isinstance(value, str):
            value = _or_none(value)
        if value is None or value != value or (isinstance(value, str) and value in NOT_TEXT):
            return None
        return composed(value) if isinstance(value, str) else value

    def _texts_of(self, row: Row) -> list[str]:
        names = ("reference", "hypothesis", "speaker", *(spelling.attribute for spelling in self.spellings))
        return [value for name in names if isinstance(value := row.get(name), str)]

    def _groups(self, row: Row) -> list[str | None] | str:
        """Return the groups of a row, or the name of an attribute whose value is a list or an object."""
        groups = []
        for spelling in self.spellings:
            try:
                groups.append(spelling.read(row.get(spelling.attribute)))
            except TypeError:
                return spelling.attribute
        return groups

    def _why_not(self, reference: str, hypothesis: str, row: Row) -> str | None:
        """Return the reason if one of the metrics cannot count a clip."""
        measures = self.measures.values()
        if len(reference) * len(hypothesis) > _LONGEST_ALIGNMENT and any(one.errors for one in measures):
            return "reference and hypothesis too long to align"
        for one in measures:
            if one.why_not is not None:
                right = row.get("terms") if one.reference == "terms" else reference
                if reason := one.why_not(right, hypothesis):
                    return reason
        return None

    def _seen(self, name: str, number: int, row: Row, columns: Collection[str]) -> bool:
        """Return whether the same row was counted before; UserError if a different row has its id."""
        content = hash(repr([row.get(column) for column in columns if column != "id"]))
        place = self._lines.setdefault(hash(name), len(self._line_of))
        if place == len(self._line_of):
            self._line_of.append(number)
            self._content.append(content)
            return False
        if self._content[place] != content:
            lines = f"lines {self._line_of[place]} and {number}"
            raise UserError(
                f"the id `{one_line(name, _LONGEST_ID)}` appears twice with different content: {lines}",
                where=self._where,
            )
        return True


def _or_none(value: object) -> Any:
    """Return a label as text; other types are returned unchanged."""
    try:
        return plain(value)
    except TypeError:
        return value


def _texts(clip: CountedClip) -> ClipTexts:
    return ClipTexts(
        one_line(clip.id, _LONGEST_ID), clip.speaker, printable(clip.reference), printable(clip.hypothesis)
    )
