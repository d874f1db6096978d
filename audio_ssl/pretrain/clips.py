"""Which clips of the manifest are trained on, which validate, and which are too short."""

from __future__ import annotations

import hashlib
import logging
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, hash_manifest, read_manifest
from audio_ssl.errors import UserError
from audio_ssl.pretrain.recipe import DataConfig

logger = logging.getLogger(__name__)

_HELD_OUT = ("test", "valid", "dev", "eval", "val")


@dataclass(frozen=True)
class Selection:
    """The clips of a run."""

    train: tuple[Clip, ...]
    valid: tuple[Clip, ...]
    manifest_hash: str
    held_out: str
    """How the validation clips were chosen, in words."""

    @property
    def all(self) -> tuple[Clip, ...]:
        """Training clips, then validation clips."""
        return self.train + self.valid


def select_clips(data: DataConfig) -> Selection:
    """Read the manifest and choose its clips by split.

    Raises
    ------
    UserError
        If there is no manifest, it is damaged, or it has no clip of the split asked for.
    """
    if data.manifest is None:
        raise UserError(
            "`data.manifest` is missing",
            where="$.data.manifest",
            remedy="give data.manifest=M.jsonl; `audio-ssl manifest FOLDER --out M.jsonl` makes one",
        )
    path = Path(data.manifest)
    clips = read_manifest(path)
    given = tuple(clip for clip in clips if clip.split == data.valid_split)
    train = _training_clips(clips, data)
    if given and data.split != data.valid_split:
        return Selection(train, given, hash_manifest(path), f"split `{data.valid_split}`")
    train, valid = hold_out(train, data.valid_share)
    how = f"{data.valid_share:.1%} of the tracks, speakers or clips, by hash" if valid else "none"
    return Selection(train, valid, hash_manifest(path), how)


def _training_clips(clips: Sequence[Clip], data: DataConfig) -> tuple[Clip, ...]:
    splits = sorted({clip.split for clip in clips if clip.split is not None})
    if data.split is not None:
        chosen = tuple(clip for clip in clips if clip.split == data.split)
        if not chosen:
            known = ", ".join(splits) or "none"
            raise UserError(
                f"no clip is of split `{data.split}`; splits of the manifest: {known}",
                where="$.data.split",
                remedy=f"give data.split={shlex.quote(splits[0])}" if splits else "give data.split=null",
            )
        return chosen
    chosen = tuple(clip for clip in clips if not _is_held_out(clip, data))
    if not chosen:
        logger.warning("every clip is of a test or validation split (%s); training on all", ", ".join(splits))
        return tuple(clips)
    return chosen


def _is_held_out(clip: Clip, data: DataConfig) -> bool:
    return clip.split is not None and (clip.split == data.valid_split or clip.split.startswith(_HELD_OUT))


def hold_out(clips: Sequence[Clip], share: float) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Split clips into training and validation, whole tracks or speakers at a time.

    Parameters
    ----------
    clips
        All clips.
    share
        Share of the groups to hold out; at least one group is, if there are two and `share` is above 0.
    """
    groups = sorted({_group(clip) for clip in clips}, key=_hash)
    if share == 0 or len(groups) < 2:
        return tuple(clips), ()
    held = set(groups[: max(1, round(share * len(groups)))])
    return tuple(c for c in clips if _group(c) not in held), tuple(c for c in clips if _group(c) in held)


def _group(clip: Clip) -> str:
    track = clip.extra.get("track")
    return str(track or clip.speaker or clip.id.partition("#")[0])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def long_enough(clips: Sequence[Clip], min_seconds: float, ledger: ErrorLedger) -> tuple[Clip, ...]:
    """Leave out clips shorter than `min_seconds`, each written to `ledger`.

    Raises
    ------
    UserError
        If none is left.
    """
    kept = []
    for clip in clips:
        if clip.seconds >= min_seconds:
            kept.append(clip)
        else:
            ledger.record(clip.path, f"shorter than {min_seconds:g} s", id=clip.id, seconds=clip.seconds)
    if len(kept) < len(clips):
        logger.info("%d clips shorter than %g s are left out", len(clips) - len(kept), min_seconds)
    if not kept:
        longest = max(clip.seconds for clip in clips)
        raise UserError(
            f"none of the {len(clips)} clips lasts `data.min_seconds` = {min_seconds:g} s; the longest has "
            f"{longest:g} s",
            where="$.data.min_seconds",
            remedy=f"give data.min_seconds={math.floor(longest * 50) / 100:g}" if longest >= 0.1 else None,
        )
    return tuple(kept)


def limit_seconds(clips: Sequence[Clip], seconds: float, longest: float) -> tuple[Clip, ...]:
    """Choose clips by the hash of their ids until their crops, each at most `longest`, fill `seconds`."""
    chosen: list[Clip] = []
    filled = 0.0
    for clip in sorted(clips, key=lambda clip: _hash(clip.id)):
        if filled >= seconds:
            break
        chosen.append(clip)
        filled += min(clip.seconds, longest)
    return tuple(chosen)
