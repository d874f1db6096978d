"""Trials of a verification result with the speakers of both sides; unusable trials are counted and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audio_ssl.artifacts.result_tables import PREDICTIONS_FILE, TRIALS_FILE, read_columns
from audio_ssl.base.errors import UserError
from audio_ssl.data.columns import by_number, is_unknown
from audio_ssl.fairness.tables.scalars import Spellings, plain
from audio_ssl.fairness.tallies import NAMED, Exclusion

Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

_NEEDED = ("clip_a", "clip_b", "score", "same")


@dataclass(frozen=True)
class People:
    """The speakers' groups by one attribute."""

    names: tuple[str, ...]
    """Names of the groups, F first."""

    group: Places
    """``[speaker]``, -1 where unknown."""

    ambiguous: Flags
    """``[speaker]``, True if recorded under several values. Trials of such speakers are excluded."""

    note: str
    """Note on merged spellings."""


@dataclass(frozen=True)
class Trials:
    """Usable trials."""

    scores: npt.NDArray[np.float64]
    same: Flags
    clips: Places
    """``[trial, side]``."""

    speakers: tuple[str, ...]
    speaker_of: Places
    """``[clip]``, -1 where unknown."""

    seconds: npt.NDArray[np.float64]
    """``[clip]``, NaN where not recorded."""

    people: dict[str, People]
    """Groups by attribute."""

    excluded: list[Exclusion]
    """What was excluded."""

    @property
    def sides(self) -> Places:
        """Return the speakers of both sides, ``[trial, side]``."""
        return self.speaker_of[self.clips]


def read_trials(folder: Path, by: Sequence[str]) -> Trials:
    """Read ``trials.parquet`` and ``predictions.parquet`` of a result folder.

    Raises
    ------
    UserError
        If one is missing or cannot be read, a column is missing or of the wrong type, an id appears twice, or no trial
        can be used.
    """
    path = folder / PREDICTIONS_FILE
    clips = read_columns(path, ("id", "speaker", *by), ("seconds",))
    ids = _texts(clips, "id", path)
    if doubled := [row["values"].as_py() for row in ids.value_counts() if row["counts"].as_py() > 1]:
        raise UserError(f"the id `{doubled[0]}` appears twice", where=str(path))
    named = [_speaker(value, path) for value in clips["speaker"].to_pylist()]
    speakers = tuple(sorted({name for name in named if name is not None}))
    code = {name: place for place, name in enumerate(speakers)}
    speaker_of = np.array([-1 if name is None else code[name] for name in named], np.intp)
    people = {name: _people(clips[name].to_pylist(), name, speaker_of, len(speakers), path) for name in by}
    seconds = np.full(len(ids), np.nan)
    if "seconds" in clips.column_names:
        seconds = _numbers(clips, "seconds", path)
    path = folder / TRIALS_FILE
    table = read_columns(path, _NEEDED)
    both = [_texts(table, name, path) for name in ("clip_a", "clip_b")]
    scores = _numbers(table, "score", path)
    same = _numbers(table, "same", path)
    if not np.isin(same[~np.isnan(same)], (0, 1)).all():
        raise UserError("`same` must be true or false", where=str(path))
    places = np.stack([pc.fill_null(pc.index_in(side, value_set=ids), -1).to_numpy() for side in both], 1)
    usable, excluded = _usable(both, places.astype(np.intp), scores, same, speaker_of)
    if not usable.any():
        why = "; ".join(one.reason for one in excluded)
        raise UserError(f"none of {len(scores)} trials can be used: {why or 'there are none'}", where=str(path))
    kept = places[usable].astype(np.intp)
    return Trials(scores[usable], same[usable] == 1, kept, speakers, speaker_of, seconds, people, excluded)


def _usable(
    both: list[pa.Array], places: Places, scores: npt.NDArray[np.float64], same: npt.NDArray[Any], speaker_of: Places
) -> tuple[Flags, list[Exclusion]]:
    """Return the mask of usable trials, and the others by the first reason that applies."""
    missing = (places < 0).any(1)
    of = np.where(places < 0, -1, speaker_of[places])
    nobody = (of < 0).any(1)
    low, high = places.min(1), places.max(1)
    again = np.ones(len(places), bool)
    again[np.unique(low * (len(speaker_of) + 1) + high, return_index=True)[1]] = False
    left = np.ones(len(places), bool)
    excluded = []
    for reason, bad in (
        ("trials of clips that predictions.parquet does not have", missing),
        ("trials of a clip with itself", low == high),
        ("trials that do not say whether both sides are the same", np.isnan(same)),
        ("trials without a finite score", ~np.isfinite(scores)),
        ("trials of clips without a speaker", nobody),
        ("trials whose `same` contradicts the speakers of predictions.parquet", (same == 1) != (of[:, 0] == of[:, 1])),
        ("trials that were listed before", again),
    ):
        found = np.flatnonzero(left & bad)
        if len(found):
            names = [" ".join(str(side[int(row)].as_py()) for side in both) for row in found[:NAMED]]
            excluded.append(Exclusion(reason, len(found), tuple(names)))
        left &= ~bad
    return left, excluded


def _people(values: list[Any], name: str, speaker_of: Places, speakers: int, path: Path) -> People:
    """Return the groups of speakers. Clips without a value are ignored."""
    spellings = Spellings(name)
    found: list[set[str]] = [set() for _ in range(speakers)]
    for speaker, value in zip(speaker_of.tolist(), values, strict=True):
        try:
            group = spellings.read(value)
        except TypeError as error:
            raise UserError(f"`{name}` must be one value a clip, but is {value!r}", where=str(path)) from error
        if speaker >= 0 and group is not None:
            found[speaker].add(group)
    ambiguous = np.array([len(groups) > 1 for groups in found], bool)
    single = [next(iter(groups)) if len(groups) == 1 else None for groups in found]
    names = tuple(sorted({one for one in single if one is not None}, key=lambda one: (one != "F", by_number(one))))
    code = {one: place for place, one in enumerate(names)}
    group_of = np.array([-1 if one is None else code[one] for one in single], np.intp)
    return People(names, group_of, ambiguous, spellings.note())


def _texts(table: pa.Table, name: str, path: Path) -> pa.Array:
    try:
        return pc.fill_null(table[name].combine_chunks().cast(pa.large_string()), "")
    except pa.ArrowException as error:
        raise UserError(f"`{name}` must be text: {error}", where=str(path)) from error


def _numbers(table: pa.Table, name: str, path: Path) -> npt.NDArray[np.float64]:
    column = table[name]
    try:
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        return np.array(column.cast(pa.float64()).to_numpy(), np.float64)
    except pa.ArrowException as error:
        raise UserError(f"`{name}` must be numbers: {error}", where=str(path)) from error


def _speaker(value: Any, path: Path) -> str | None:
    try:
        said = plain(value)
    except TypeError as error:
        raise UserError(f"`speaker` must be one value a clip, but is {value!r}", where=str(path)) from error
    return None if said is None or is_unknown(said) else said
