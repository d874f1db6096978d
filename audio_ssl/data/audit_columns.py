"""The columns of a manifest that an audit needs, as arrays: a million clips take some tens of megabytes."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from audio_ssl.base.errors import UserError
from audio_ssl.data.columns import LEVEL_COLUMN, Codes, Numbers, code_groups, note_columns, recorded
from audio_ssl.data.manifest import Clip

if TYPE_CHECKING:
    from audio_ssl.data.clip_table import ClipTable
    from audio_ssl.data.levels import Level


@dataclass(frozen=True)
class AuditColumns:
    """Columns of a manifest."""

    seconds: Numbers
    """``[clip]``."""

    speakers: Codes
    values: dict[str, Codes]
    level_dbfs: Numbers
    """``[clip]``; NaN where not measured, −inf where every sample is 0."""

    clipped: Numbers
    """Share of samples at full scale, ``[clip]``; NaN where not measured."""

    found: frozenset[str]
    """Names of all columns that at least one clip has."""


class _ValueCoder:
    """Numbers the values of a column from 0, in the order of their first appearance."""

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute
        self._number: dict[str, int] = {}
        self._index = array("q")

    def add(self, written: str | None) -> None:
        self._index.append(-1 if written is None else self._number.setdefault(written, len(self._number)))

    def codes(self) -> Codes:
        """Return the column as groups (`read_value`), sorted, so that the order of the rows does not matter."""
        return code_groups(self._attribute, list(self._number), np.array(self._index, dtype=np.int64))


@dataclass
class _Gathered:
    seconds: array[float] = field(default_factory=lambda: array("d"))
    level: array[float] = field(default_factory=lambda: array("d"))
    speakers: _ValueCoder = field(default_factory=lambda: _ValueCoder("speaker"))
    values: dict[str, _ValueCoder] = field(default_factory=dict)


def columns_of(table: ClipTable, by: Sequence[str]) -> AuditColumns:
    """Return the columns of a table that was read with `by`, ``speaker`` and the level among its columns."""
    values = {name: code_groups(name, table.columns[name].values, table.columns[name].index) for name in by}
    speakers = code_groups("speaker", table.columns["speaker"].values, table.columns["speaker"].index)
    unknown = np.full(len(table), np.nan)
    return AuditColumns(table.seconds, speakers, values, table.numbers[LEVEL_COLUMN], unknown, table.found)


def read_columns(
    clips: Iterable[Clip], by: Sequence[str], levels: Sequence[Level | None] | None = None
) -> AuditColumns:
    """Return the columns of clips, read once in order.

    Parameters
    ----------
    clips
        Rows of a manifest.
    by
        Names of the columns to keep in addition to the speakers.
    levels
        Result of `measure_levels` for the same clips. Without it, the column ``level_dbfs`` is used if there is one.

    Raises
    ------
    UserError
        If there is no clip, an id appears twice, or `levels` has another number of clips.
    """
    gathered = _Gathered(values={name: _ValueCoder(name) for name in by})
    ids: set[str] = set()
    found: set[str] = set()
    for clip in clips:
        if clip.id in ids:
            raise UserError(f"the id `{clip.id}` appears twice")
        ids.add(clip.id)
        note_columns(clip, found)
        gathered.seconds.append(clip.seconds)
        gathered.speakers.add(recorded(clip, "speaker"))
        for name, coder in gathered.values.items():
            coder.add(recorded(clip, name))
        level_dbfs = clip.extra.get(LEVEL_COLUMN)
        is_level = isinstance(level_dbfs, int | float) and not isinstance(level_dbfs, bool)
        gathered.level.append(float(level_dbfs) if is_level and level_dbfs is not None else math.nan)
    if not ids:
        raise UserError("the manifest has no clips")
    level, clipped = np.array(gathered.level), np.full(len(ids), np.nan)
    if levels is not None:
        if len(levels) != len(ids):
            raise UserError(f"`levels` must have one entry per clip, {len(ids)}, but has {len(levels)}")
        level = np.array([math.nan if one is None else one.dbfs for one in levels])
        clipped = np.array([math.nan if one is None else one.clipped for one in levels])
    values = {name: coder.codes() for name, coder in gathered.values.items()}
    return AuditColumns(np.array(gathered.seconds), gathered.speakers.codes(), values, level, clipped, frozenset(found))
