"""The columns of a pool that a draw needs: ids, lengths, speakers and groups."""

from __future__ import annotations

from dataclasses import dataclass

from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.clip_table import ClipTable, Numbers
from audio_ssl.data.columns import Codes, check_names_groups, code_groups


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


def pool_rows(clips: ClipTable, column: str) -> PoolRows:
    """Return the columns of a pool.

    Parameters
    ----------
    clips
        The pool, with the columns ``speaker`` and `column`.
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
    ids, speakers, written = clips.names(), clips.columns["speaker"], clips.columns[column]
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise UserError(f"the id `{twice}` appears twice in the pool")
    values = code_groups(column, written.values, written.index)
    if not values.names:
        raise unknown_name("column", column, clips.found, where="no clip has it")
    return PoolRows(ids, clips.seconds, Codes(speakers.values, speakers.index), values)
