"""Which clips train, choose and test: by the manifest's splits, or by folds of a column; and what must not be."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.probing.probe import Data
from audio_ssl.probing.tasks._base import Task

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")

Parts = dict[str, list[Clip]]
"""Clips by split: train, valid, test."""


@dataclass(frozen=True)
class Excluded:
    """A clip that was left out, and why."""

    clip_id: str
    split: str
    reason: str


def choose_clips(clips: Sequence[Clip], data: Data, task: Task) -> tuple[list[Parts], list[Excluded]]:
    """Return the usable clips of each split, once, or once for each fold; and those left out.

    Raises
    ------
    UserError
        If a split has no usable clip, the same audio is in two splits, or there are fewer groups than folds.
    """
    wanted = [c for c in clips if all(str(c.row().get(key)) == value for key, value in data.where.items())]
    excluded: list[Excluded] = []
    usable: list[Clip] = []
    names = dict(zip((data.train_split, data.valid_split, data.test_split), SPLITS, strict=True))
    if len(names) < len(SPLITS) and not data.folds:
        raise UserError("train, valid and test must be three splits", where="$.data", remedy="or set data.folds")
    for clip in wanted:
        split = "fold" if data.folds else names.get(str(clip.split))
        if split is None:
            continue
        reason = task.why_not(clip)
        if reason is None and clip.seconds > data.max_seconds:
            reason = f"longer than `max_seconds` {data.max_seconds:g}"
        if reason is None and data.folds and clip.row().get(data.fold_column) is None:
            reason = f"no `{data.fold_column}`, which the folds are made of"
        if reason is None:
            usable.append(clip)
        else:
            excluded.append(Excluded(clip.id, split, reason))
    parts = _folds(usable, data) if data.folds else [_splits(usable, names, clips, data, task)]
    return parts, excluded


def _splits(usable: Sequence[Clip], names: dict[str, str], clips: Sequence[Clip], data: Data, task: Task) -> Parts:
    parts: Parts = {split: [c for c in usable if names[str(c.split)] == split] for split in SPLITS}
    for name, split in names.items():
        needed = split != "train" or task.output != "nothing"
        if needed and not parts[split]:
            found = ", ".join(sorted({str(c.split) for c in clips}))
            raise UserError(
                f"no usable clip in the split `{name}` for the task {task.kind}; splits of the manifest: {found}",
                where=f"$.data.{split}_split",
                remedy="check data.where and the columns of the manifest",
            )
    _refuse_overlap(parts)
    return {**parts, "train": thin(parts["train"], data.max_train_clips)}


def thin(clips: list[Clip], limit: int | None) -> list[Clip]:
    """Return at most so many clips, evenly spread."""
    if limit is None or len(clips) <= limit:
        return clips
    step = len(clips) / limit
    return [clips[int(i * step)] for i in range(limit)]


def _folds(usable: Sequence[Clip], data: Data) -> list[Parts]:
    """Return folds: groups of the column, the largest first, each into the fold that has the fewest clips."""
    sizes = Counter(str(clip.row()[data.fold_column]) for clip in usable)
    if len(sizes) < data.folds:
        raise UserError(
            f"{data.folds} folds need as many values of `{data.fold_column}`, but there are {len(sizes)}",
            where="$.data.folds",
        )
    held: list[list[str]] = [[] for _ in range(data.folds)]
    for value, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        min(held, key=lambda fold: sum(sizes[v] for v in fold)).append(value)
    fold_of = {value: number for number, values in enumerate(held) for value in values}
    numbers = [fold_of[str(clip.row()[data.fold_column])] for clip in usable]
    found: list[Parts] = []
    for test in range(data.folds):
        valid = (test + 1) % data.folds
        parts: Parts = {split: [] for split in SPLITS}
        for clip, number in zip(usable, numbers, strict=True):
            parts["test" if number == test else "valid" if number == valid else "train"].append(clip)
        _refuse_overlap(parts)
        found.append({**parts, "train": thin(parts["train"], data.max_train_clips)})
    return found


def _refuse_overlap(parts: Parts) -> None:
    owner: dict[tuple[str, float], str] = {}
    for split, clips in parts.items():
        for clip in clips:
            place = (clip.path, clip.start)
            if owner.setdefault(place, split) != split:
                raise UserError(f"the audio of `{clip.id}` is both in {owner[place]} and in {split}")


def leave_out(parts: Parts, task: Task) -> tuple[Parts, list[Excluded]]:
    """Drop what a task that has learned its classes cannot answer, such as a label that training lacks.

    Raises
    ------
    UserError
        If a split is then empty.
    """
    check = getattr(task, "why_not_after", None)
    if check is None:
        return parts, []
    reasons = {split: {clip.id: check(clip) for clip in clips} for split, clips in parts.items()}
    excluded = [
        Excluded(clip_id, split, reason)
        for split, found in reasons.items()
        for clip_id, reason in found.items()
        if reason
    ]
    kept = {split: [clip for clip in clips if reasons[split][clip.id] is None] for split, clips in parts.items()}
    for split, clips in kept.items():
        if not clips:
            raise UserError(f"no clip of the {split} split can be used: {excluded[0].reason}")
    return kept, excluded


def overlap_warnings(parts: Parts, task: Task) -> list[str]:
    """Say when speakers are both in training and in test: the score is then one for known voices."""
    if getattr(task, "column", None) == "speaker":
        return []
    trained = {c.speaker for c in parts["train"] if c.speaker is not None}
    shared = sorted(trained & {c.speaker for c in parts["test"] if c.speaker is not None})
    if not shared:
        return []
    more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
    return [f"speakers of the test clips are in the training clips too: {', '.join(shared[:5])}{more}"]
