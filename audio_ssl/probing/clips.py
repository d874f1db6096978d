"""Training, validation and test clips of a probe: by the manifest's splits, or by cross-validation folds."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from audio_ssl.artifacts.result import ExcludedClip
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.probe import ProbeData
from audio_ssl.probing.task import LayerTask, Task

SPLITS = ("train", "valid", "test")

_FEWEST_FOLDS = 3

FOLDS = 4
"""Folds that an error suggests where a manifest has no splits."""

OVERLAP_SECONDS = 0.05
"""Overlap of clips in two splits that is tolerated: times in manifests are rounded."""

ClipsBySplit = dict[str, list[Clip]]
"""Clips by split: train, valid, test."""


def choose_clips(clips: Sequence[Clip], data: ProbeData, task: Task) -> tuple[list[ClipsBySplit], list[ExcludedClip]]:
    """Return the usable clips of each split, once, or once for each fold; and those left out.

    Raises
    ------
    UserError
        If a split has no usable clip, the same audio is in two splits, there are fewer groups than folds, or folds are
        asked of a task without training, or splits of a `LayerTask`, which takes all clips.
    """
    own_folds = isinstance(task, LayerTask)
    if own_folds:
        _refuse_splits(data, task)
    elif data.folds and task.output == "nothing":
        raise UserError(f"the task {task.kind} trains nothing", where="$.data.folds", remedy="give data.folds=0")
    wanted = [c for c in clips if all(str(c.row().get(key)) == value for key, value in data.where.items())]
    excluded: list[ExcludedClip] = []
    usable: list[Clip] = []
    names = dict(zip((data.train_split, data.valid_split, data.test_split), SPLITS, strict=True))
    if len(names) < len(SPLITS) and not data.folds:
        raise UserError("train, valid and test must be three splits", where="$.data", remedy="or give data.folds=4")
    for clip in wanted:
        split = "fold" if data.folds or own_folds else names.get(str(clip.split))
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
            excluded.append(ExcludedClip(clip.id, split, reason))
    if own_folds:
        if not usable:
            reasons = Counter(one.reason for one in excluded).most_common(1)
            why = f": {reasons[0][1]} left out: {reasons[0][0]}" if reasons else ""
            raise UserError(f"no usable clip for the task {task.kind}{why}", where="$.data")
        return [{"train": [], "valid": [], "test": usable}], excluded
    parts = _folds(usable, wanted, data, task) if data.folds else [_splits(usable, names, clips, data, task, excluded)]
    for part in parts:
        balance_weights(part["train"], data.balance)
    return parts, excluded


def balance_weights(clips: Sequence[Clip], column: str | None) -> Tensor | None:
    """Return how often each clip is drawn, so that every value of a column comes equally often.

    As s3prl's keyword spotting does with its classes. None where no column is given.

    Raises
    ------
    UserError
        If clips have no value in the column.
    """
    if column is None:
        return None
    values = [clip.row().get(column) for clip in clips]
    lacking = sum(value in (None, "") for value in values)
    if lacking:
        raise UserError(
            f"{lacking:,} of {len(clips):,} training clips have no value in the column `{column}`",
            where="$.data.balance",
            remedy="give a column that all of them have; or leave it out",
        )
    counts = Counter(map(str, values))
    return torch.tensor([len(clips) / counts[str(value)] for value in values], dtype=torch.float64)


def _refuse_splits(data: ProbeData, task: Task) -> None:
    """Refuse settings that have no effect on a task with folds of its own."""
    for key in ("train_split", "valid_split", "test_split", "folds", "max_train_clips"):
        if getattr(data, key) != getattr(ProbeData(), key):
            raise UserError(
                f"the task {task.kind} takes the clips of all splits, in folds of its own",
                where=f"$.data.{key}",
                remedy="remove it; task.folds=5 says how many, and data.where.split=test takes one split",
            )


def _splits(
    usable: Sequence[Clip],
    names: dict[str, str],
    clips: Sequence[Clip],
    data: ProbeData,
    task: Task,
    excluded: Sequence[ExcludedClip],
) -> ClipsBySplit:
    parts: ClipsBySplit = {split: [c for c in usable if names[str(c.split)] == split] for split in SPLITS}
    for name, split in names.items():
        needed = split != "train" or task.output != "nothing"
        if needed and not parts[split]:
            found = ", ".join(sorted({str(c.split) for c in clips}))
            reasons = Counter(one.reason for one in excluded if one.split == split).most_common(1)
            why = f" ({reasons[0][1]} left out: {reasons[0][0]})" if reasons else _why_no_clip(clips, task)
            raise UserError(
                f"no usable clip in the split `{name}` for the task {task.kind}{why}; splits of the manifest: {found}",
                where=f"$.data.{split}_split",
                remedy=_other_clips(split, names, clips, data, task),
            )
    _refuse_overlap(parts)
    return {**parts, "train": evenly(parts["train"], data.max_train_clips)}


def _other_clips(split: str, names: dict[str, str], clips: Sequence[Clip], data: ProbeData, task: Task) -> str:
    """Suggest settings that make the empty split non-empty: another split name, or cross-validation."""
    usable = [clip for clip in clips if _could_be_used(clip, data, task)]
    others = sorted({str(clip.split) for clip in usable if clip.split is not None} - names.keys())
    lacking = [role for name, role in names.items() if all(str(clip.split) != name for clip in usable)]
    if lacking == [split] and len(others) == 1:
        return f"give data.{split}_split={shlex.quote(others[0])}"
    for column in dict.fromkeys((data.fold_column, "id")):
        values = {str(value) for clip in usable if (value := clip.row().get(column)) is not None}
        if len(values) >= FOLDS and task.output != "nothing":
            which = f" data.fold_column={column}" if column != data.fold_column else ""
            return f"data.folds={FOLDS}{which} tests every clip once, by heads trained on the others"
    if _why_no_clip(clips, task):
        return "give the manifest of a corpus that has what the task needs"
    return "check data.where and the columns of the manifest"


def _why_no_clip(clips: Sequence[Clip], task: Task) -> str:
    """Say why no clip of a manifest can be used, whatever its split; nothing where some can."""
    reasons = [reason for clip in clips if (reason := task.why_not(clip)) is not None]
    if not clips or len(reasons) < len(clips):
        return ""
    reason, number = Counter(reasons).most_common(1)[0]
    return f" (none of the manifest's {len(clips):,} clips can be used: {number:,} {reason})"


def _could_be_used(clip: Clip, data: ProbeData, task: Task) -> bool:
    """Return whether a clip can be used, whatever its split."""
    row = clip.row()
    wanted = all(str(row.get(key)) == value for key, value in data.where.items())
    return wanted and task.why_not(clip) is None and clip.seconds <= data.max_seconds


def evenly(clips: list[Clip], limit: int | None) -> list[Clip]:
    """Return at most `limit` clips, evenly spread."""
    if limit is None or len(clips) <= limit:
        return clips
    step = len(clips) / limit
    return [clips[int(i * step)] for i in range(limit)]


def _other_folds(groups: int, clips: int, data: ProbeData) -> str:
    """Suggest folds that can be made where there are fewer groups than folds."""
    fewer = f"data.folds={groups}" if groups >= _FEWEST_FOLDS else ""
    apart = "data.fold_column=id" if clips >= data.folds and data.fold_column != "id" else ""
    return " or ".join(filter(None, (fewer, apart))) or "give more clips"


def _folds(usable: Sequence[Clip], clips: Sequence[Clip], data: ProbeData, task: Task) -> list[ClipsBySplit]:
    """Return folds: groups of the column, the largest first, each into the fold that has the fewest clips."""
    sizes = Counter(str(clip.row()[data.fold_column]) for clip in usable)
    able = sum(_could_be_used(clip, data, task) for clip in clips) if len(sizes) < data.folds else 0
    if len(sizes) < data.folds:
        raise UserError(
            f"{data.folds} folds need as many values of `{data.fold_column}`, but there are {len(sizes)}",
            where="$.data.folds",
            remedy=_other_folds(len(sizes), able, data),
        )
    held: list[list[str]] = [[] for _ in range(data.folds)]
    for value, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        min(held, key=lambda fold: sum(sizes[v] for v in fold)).append(value)
    fold_of = {value: number for number, values in enumerate(held) for value in values}
    numbers = [fold_of[str(clip.row()[data.fold_column])] for clip in usable]
    found: list[ClipsBySplit] = []
    for test in range(data.folds):
        valid = (test + 1) % data.folds
        parts: ClipsBySplit = {split: [] for split in SPLITS}
        for clip, number in zip(usable, numbers, strict=True):
            parts["test" if number == test else "valid" if number == valid else "train"].append(clip)
        _refuse_overlap(parts)
        found.append({**parts, "train": evenly(parts["train"], data.max_train_clips)})
    return found


def check_cluster(parts: Sequence[ClipsBySplit], data: ProbeData, task: Task) -> None:
    """Raise UserError if `data.cluster` is given where nothing reads it, or if a test clip lacks that column."""
    if data.cluster is None:
        return
    if task.output in ("nothing", "embedding"):
        raise UserError(
            f"the intervals of the task {task.kind} are over speakers", where="$.data.cluster", remedy="remove it"
        )
    clips = [clip for part in parts for clip in part["test"]]
    lacking = [clip.id for clip in clips if clip.row().get(data.cluster) is None]
    if lacking:
        raise UserError(
            f"must be a column of every test clip, but {len(lacking):,} of {len(clips):,} have no `{data.cluster}`, "
            f"such as `{lacking[0]}`",
            where="$.data.cluster",
            remedy="give data.cluster=null for speakers, else tracks, else clips",
        )


def _refuse_overlap(parts: ClipsBySplit) -> None:
    spans = sorted(
        (os.path.normpath(clip.path), clip.start, clip.start + clip.seconds, split, clip.id)
        for split, clips in parts.items()
        for clip in clips
    )
    # Of each split, the clip that ends last of those that began before.
    reach: dict[str, tuple[str, float, float, str]] = {}
    for path, start, stop, split, clip_id in spans:
        for other, (other_path, other_start, other_stop, other_id) in reach.items():
            shared = min(stop, other_stop) - start
            allowed = min(OVERLAP_SECONDS, (stop - start) / 2, (other_stop - other_start) / 2)
            if other != split and other_path == path and shared > allowed:
                raise UserError(
                    f"the audio of `{clip_id}` is both in {other} (there in `{other_id}`) and in {split}",
                    remedy="put clips that overlap into one split",
                )
        if split not in reach or reach[split][0] != path or reach[split][2] < stop:
            reach[split] = (path, start, stop, clip_id)


def drop_unanswerable(parts: ClipsBySplit, task: Task) -> tuple[ClipsBySplit, list[ExcludedClip]]:
    """Leave out clips that a task cannot score once its classes are known, such as a label that training lacks.

    Raises
    ------
    UserError
        If a split is then empty.
    """
    # With folds the classes are those of all clips, so labels that this fold's training lacks are found here.
    trained = {str(task.reference(clip)) for clip in parts["train"]} if task.learns_classes else None

    def why_not(clip: Clip) -> str | None:
        reason = task.why_not_after(clip)
        if reason is None and trained is not None and str(task.reference(clip)) not in trained:
            reason = f"`{task.reference(clip)}` is not in training"
        return reason

    reasons = {split: {clip.id: why_not(clip) for clip in clips} for split, clips in parts.items()}
    excluded = [
        ExcludedClip(clip_id, split, reason)
        for split, found in reasons.items()
        for clip_id, reason in found.items()
        if reason
    ]
    kept = {split: [clip for clip in clips if reasons[split][clip.id] is None] for split, clips in parts.items()}
    for split, clips in kept.items():
        if not clips:
            raise UserError(f"no clip of the {split} split can be used: {excluded[0].reason}")
    return kept, excluded


def overlap_warnings(parts: ClipsBySplit, task: Task) -> list[str]:
    """Warn of speakers, tracks or files that are in both training and test: the score is then not of held-out ones."""
    columns: dict[str, Callable[[Clip], object]] = {
        "speakers": lambda clip: clip.speaker,
        "tracks": lambda clip: clip.extra.get("track"),
        "files": lambda clip: clip.path,
    }
    if task.known_speakers:
        del columns["speakers"]
    found = []
    for name, value in columns.items():
        trained, tested = ({str(value(c)) for c in parts[s] if value(c) is not None} for s in ("train", "test"))
        shared = sorted(trained & tested)
        if shared:
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            found.append(f"{name} of the test clips are in the training clips too: {', '.join(shared[:5])}{more}")
    return found
