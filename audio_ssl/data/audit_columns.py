"""The columns of a manifest that an audit needs, as arrays: a million clips take some tens of megabytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audio_ssl.base.errors import UserError
from audio_ssl.data.columns import LEVEL_COLUMN, Codes, Numbers, code_groups

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


def columns_of(table: ClipTable, by: Sequence[str], levels: Sequence[Level | None] | None = None) -> AuditColumns:
    """Return the columns of a manifest.

    Parameters
    ----------
    table
        The manifest, read with `by`, ``speaker`` and the level among its columns.
    by
        Names of the columns to keep in addition to the speakers.
    levels
        Result of `measure_levels` for the same clips. Without it, the column ``level_dbfs`` is used if there is one.

    Raises
    ------
    UserError
        If `levels` has another number of clips.
    """
    values = {name: code_groups(name, table.columns[name].values, table.columns[name].index) for name in by}
    speakers = code_groups("speaker", table.columns["speaker"].values, table.columns["speaker"].index)
    level, clipped = table.numbers[LEVEL_COLUMN], np.full(len(table), np.nan)
    if levels is not None:
        if len(levels) != len(table):
            raise UserError(f"`levels` must have one entry per clip, {len(table)}, but has {len(levels)}")
        level = np.array([math.nan if one is None else one.dbfs for one in levels])
        clipped = np.array([math.nan if one is None else one.clipped for one in levels])
    return AuditColumns(table.seconds, speakers, values, level, clipped, table.found)
