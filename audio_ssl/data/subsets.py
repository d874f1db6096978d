"""Divides the clips of a manifest into training and validation, and leaves out clips that are too short."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence

import numpy as np

from audio_ssl.base.errors import UserError
from audio_ssl.data.clip_table import ClipTable
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip

logger = logging.getLogger(__name__)


def hold_out(clips: Sequence[Clip], share: float) -> tuple[Sequence[Clip], Sequence[Clip]]:
    """Split clips into training and validation by whole tracks or speakers.

    Parameters
    ----------
    clips
        All clips. A table must have the columns ``track`` and ``speaker``.
    share
        Share of the groups to hold out. If it is above 0 and there are two groups, at least one is held out.
    """
    group_of = _groups(clips)
    groups = sorted(set(group_of), key=_hash)
    if share == 0 or len(groups) < 2:
        return clips, _some(clips, [])
    held = set(groups[: max(1, round(share * len(groups)))])
    inside = [group in held for group in group_of]
    parts = ([row for row, held_out in enumerate(inside) if held_out is which] for which in (False, True))
    train, valid = (_some(clips, part) for part in parts)
    return train, valid


def _groups(clips: Sequence[Clip]) -> list[str]:
    """Return the track of each clip, else its speaker, else the name of its file."""
    if not isinstance(clips, ClipTable):
        return [str(clip.extra.get("track") or clip.speaker or clip.id.partition("#")[0]) for clip in clips]
    track, speaker = clips.columns["track"], clips.columns["speaker"]
    tracks, speakers = [*track.values, None], [*speaker.values, None]
    codes = zip(track.index.tolist(), speaker.index.tolist(), clips.names(), strict=True)
    return [tracks[one] or speakers[other] or name.partition("#")[0] for one, other, name in codes]


def lengths_of(clips: Sequence[Clip]) -> list[float]:
    """Return the lengths of clips in seconds, without creating the clips of a table."""
    found: list[float] = clips.seconds.tolist() if isinstance(clips, ClipTable) else [clip.seconds for clip in clips]
    return found


def _some(clips: Sequence[Clip], rows: Sequence[int]) -> Sequence[Clip]:
    return clips.take(np.array(rows, np.int64)) if isinstance(clips, ClipTable) else tuple(clips[row] for row in rows)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def without_short(clips: Sequence[Clip], min_seconds: float) -> Sequence[Clip]:
    """Return the clips of at least `min_seconds`."""
    return _some(clips, [row for row, seconds in enumerate(lengths_of(clips)) if seconds >= min_seconds])


def long_enough(clips: Sequence[Clip], min_seconds: float, ledger: ErrorLedger) -> Sequence[Clip]:
    """Leave out clips shorter than `min_seconds` and record them in `ledger`.

    Raises
    ------
    UserError
        If no clip is left.
    """
    lengths = lengths_of(clips)
    kept = [row for row, seconds in enumerate(lengths) if seconds >= min_seconds]
    if len(kept) == len(lengths):
        return clips
    for row, seconds in enumerate(lengths):
        if seconds < min_seconds:
            clip = clips[row]
            ledger.record(clip.path, f"shorter than {min_seconds:g} s", id=clip.id, seconds=clip.seconds)
    logger.info("%d clips shorter than %g s are left out", len(clips) - len(kept), min_seconds)
    if not kept:
        longest = max(lengths)
        raise UserError(
            f"all {len(clips)} clips are shorter than `data.min_seconds`, {min_seconds:g} s; the longest has "
            f"{longest:g} s",
            where="$.data.min_seconds",
            remedy=f"give data.min_seconds={math.floor(longest * 50) / 100:g}" if longest >= 0.1 else None,
        )
    return _some(clips, kept)


def limit_seconds(clips: Sequence[Clip], seconds: float, longest: float) -> Sequence[Clip]:
    """Choose clips, ordered by a hash of their ids, until their crops (at most `longest` each) fill `seconds`."""
    ids = clips.names() if isinstance(clips, ClipTable) else [clip.id for clip in clips]
    lengths = lengths_of(clips)
    chosen: list[int] = []
    filled = 0.0
    for row in sorted(range(len(ids)), key=lambda row: _hash(ids[row])):
        if filled >= seconds:
            break
        chosen.append(row)
        filled += min(lengths[row], longest)
    return _some(clips, chosen)
