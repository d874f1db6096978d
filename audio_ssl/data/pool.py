"""The columns of a pool that a draw needs: ids, lengths, speakers and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.clip_table import ClipTable, Numbers, TextColumn
from audio_ssl.data.columns import Codes, check_names_groups, code_groups, note_columns, recorded
from audio_ssl.data.manifest import Clip


@dataclass(frozen=True)
class PoolRows:
    """Columns of a pool."""

    ids: list[str]
    seconds: Numbers
    """``[clip]``."""

    speakers: Codes
    """Speakers as recorded: any name counts as a speaker."""

    values: Codes
    """Groups of the balanced column."""


def pool_rows(clips: Sequence[Clip] | ClipTable, column: str) -> PoolRows:
    """Return the columns of a pool.

    Parameters
    ----------
    clips
        The pool. A table must have the columns ``speaker`` and `column`.
    column
        The balanced column.

    Raises
    ------
    UserError
        If there is no clip, an id appears twice, or `column` cannot name groups.
    """
    if not len(clips):
        raise UserError("the pool has no clips")
    check_names_groups(column)
    if isinstance(clips, ClipTable):
        ids, seconds, found = clips.names(), clips.seconds, set(clips.found)
        speakers, written = clips.columns["speaker"], clips.columns[column]
    else:
        ids, seconds = [clip.id for clip in clips], np.array([clip.seconds for clip in clips])
        speakers = _coded([clip.speaker or None for clip in clips])
        written = _coded([recorded(clip, column) for clip in clips])
        found = set()
        for clip in clips:
            note_columns(clip, found)
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise UserError(f"the id `{twice}` appears twice in the pool")
    values = code_groups(column, written.values, written.index)
    if not values.names:
        raise unknown_name("column", column, found, where="no clip has it")
    return PoolRows(ids, seconds, Codes(speakers.values, speakers.index), values)


def _coded(values: Sequence[str | None]) -> TextColumn:
    number: dict[str, int] = {}
    index = [-1 if value is None else number.setdefault(value, len(number)) for value in values]
    return TextColumn(list(number), np.array(index, np.int64))
