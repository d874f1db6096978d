"""What an audit needs of a manifest, as arrays: a million clips in some tens of megabytes."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audio_ssl.data.attributes import attribute, note_columns
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError

if TYPE_CHECKING:
    from audio_ssl.data.levels import Level

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

LEVEL_COLUMN = "level_dbfs"
"""The level of a clip, see `audio_ssl.data.levels`; a covariate of the mixed model of fairness."""


@dataclass(frozen=True)
class Codes:
    """A column of names."""

    names: list[str]
    index: Indices
    """``[clip]``, into `names`; −1 where unknown."""


@dataclass(frozen=True)
class Columns:
    """A manifest by columns."""

    seconds: Numbers
    """``[clip]``."""

    speakers: Codes
    values: dict[str, Codes]
    level_dbfs: Numbers
    """``[clip]``, NaN where not measured, −inf where every sample is 0."""

    clipped: Numbers
    """``[clip]``, share of samples at full scale; NaN where not measured."""

    found: frozenset[str]
    """Names of the columns that some clip has."""


class _Coder:
    """Gives the names of a column their numbers, from 0 in the order they come."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._index = array("q")

    def add(self, name: str | None) -> None:
        self._index.append(-1 if name is None else self._number.setdefault(name, len(self._number)))

    def codes(self) -> Codes:
        """Return the column with its names sorted, so that the order of the rows does not matter."""
        names = sorted(self._number, key=_by_number)
        place = np.empty(len(names) + 1, np.int64)
        place[[self._number[name] for name in names]] = np.arange(len(names))
        place[-1] = -1
        return Codes(names, place[np.array(self._index, dtype=np.int64)])


def _by_number(name: str) -> tuple[float, str]:
    """Sort ages and years as numbers, before words."""
    return (int(name) if name.isdecimal() and len(name) < 16 else math.inf, name)


@dataclass
class _Gathered:
    seconds: array[float] = field(default_factory=lambda: array("d"))
    level: array[float] = field(default_factory=lambda: array("d"))
    speakers: _Coder = field(default_factory=_Coder)
    values: dict[str, _Coder] = field(default_factory=dict)


def read_columns(clips: Iterable[Clip], by: Sequence[str], levels: Sequence[Level | None] | None = None) -> Columns:
    """Go through clips once and keep what an audit needs.

    Parameters
    ----------
    clips
        Rows of a manifest.
    by
        Names of the columns to keep, beside the speakers.
    levels
        What `measure_levels` found for the same clips; without it, the column ``level_dbfs`` counts where there is one.

    Raises
    ------
    UserError
        If there is no clip, an id appears twice, or `levels` are of other clips.
    """
    gathered = _Gathered(values={name: _Coder() for name in by})
    ids: set[str] = set()
    found: set[str] = set()
    for clip in clips:
        if clip.id in ids:
            raise UserError(f"the id `{clip.id}` appears twice")
        ids.add(clip.id)
        note_columns(clip, found)
        gathered.seconds.append(clip.seconds)
        gathered.speakers.add(attribute(clip, "speaker"))
        for name, coder in gathered.values.items():
            coder.add(attribute(clip, name))
        recorded = clip.extra.get(LEVEL_COLUMN)
        is_level = isinstance(recorded, int | float) and not isinstance(recorded, bool)
        gathered.level.append(float(recorded) if is_level and recorded is not None else math.nan)
    if not ids:
        raise UserError("the manifest has no clips")
    level, clipped = np.array(gathered.level), np.full(len(ids), np.nan)
    if levels is not None:
        if len(levels) != len(ids):
            raise UserError(f"`levels` are of {len(levels)} clips, and there are {len(ids)}")
        level = np.array([math.nan if one is None else one.dbfs for one in levels])
        clipped = np.array([math.nan if one is None else one.clipped for one in levels])
    values = {name: coder.codes() for name, coder in gathered.values.items()}
    return Columns(np.array(gathered.seconds), gathered.speakers.codes(), values, level, clipped, frozenset(found))
