"""The clips of a probe and their frozen features, extracted once for all layers and all epochs.

Features of a sequence task are held as float16 ``[layer, frame, dim]``, of a pooled task as the mean frame of each
layer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.features.batches import stream
from audio_ssl.features.source import FeatureSource
from audio_ssl.probing.probe import Data
from audio_ssl.probing.tasks._base import Task
from audio_ssl.progress import Progress

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")

FeatureCache = dict[tuple[str, bool, str, float, float], Tensor]
"""Features by source, pooling and span of audio: two probes of the same clips extract them once."""
_LARGE_BYTES = 8 << 30


@dataclass(frozen=True)
class Example:
    """A clip with its features and its target."""

    clip: Clip
    features: Tensor
    """``[layer, frame, dim]``; one frame for pooled tasks."""
    target: Tensor


@dataclass(frozen=True)
class Excluded:
    """A clip that was left out, and why."""

    clip_id: str
    split: str
    reason: str


def choose_clips(clips: Sequence[Clip], data: Data, task: Task) -> tuple[dict[str, list[Clip]], list[Excluded]]:
    """Return the usable clips of each split, and those left out.

    Raises
    ------
    UserError
        If a split has no usable clip, or the same audio is in two splits.
    """
    names = dict(zip(SPLITS, (data.train_split, data.valid_split, data.test_split), strict=True))
    wanted = [c for c in clips if all(str(c.row().get(key)) == value for key, value in data.where.items())]
    chosen: dict[str, list[Clip]] = {}
    excluded: list[Excluded] = []
    for split, name in names.items():
        chosen[split] = []
        for clip in (c for c in wanted if c.split == name):
            reason = task.why_not(clip)
            if reason is None and clip.seconds > data.max_seconds:
                reason = f"longer than `max_seconds` {data.max_seconds:g}"
            if reason is None:
                chosen[split].append(clip)
            else:
                excluded.append(Excluded(clip.id, split, reason))
        if not chosen[split]:
            found = ", ".join(sorted({str(c.split) for c in clips}))
            raise UserError(
                f"no usable clip in the split `{name}` for the task {task.kind}; splits of the manifest: {found}",
                where=f"$.data.{split}_split",
                remedy="check data.where and the columns of the manifest",
            )
    _refuse_overlap(chosen)
    limit = data.max_train_clips
    if limit is not None and len(chosen["train"]) > limit:
        step = len(chosen["train"]) / limit
        chosen["train"] = [chosen["train"][int(i * step)] for i in range(limit)]
    return chosen, excluded


def _refuse_overlap(chosen: dict[str, list[Clip]]) -> None:
    owner: dict[tuple[str, float], str] = {}
    for split, clips in chosen.items():
        for clip in clips:
            place = (clip.path, clip.start)
            if owner.setdefault(place, split) != split:
                raise UserError(f"the audio of `{clip.id}` is both in {owner[place]} and in {split}")


def overlap_warnings(chosen: dict[str, list[Clip]]) -> list[str]:
    """Say when speakers are both in training and in test: the score is then one for known voices."""
    trained = {c.speaker for c in chosen["train"] if c.speaker is not None}
    shared = sorted(trained & {c.speaker for c in chosen["test"] if c.speaker is not None})
    if not shared:
        return []
    more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
    return [f"speakers of the test clips are in the training clips too: {', '.join(shared[:5])}{more}"]


def extract_examples(
    chosen: dict[str, list[Clip]],
    task: Task,
    pooled: bool,
    source: FeatureSource,
    ledger: ErrorLedger,
    cache: FeatureCache,
) -> tuple[dict[str, list[Example]], list[Excluded]]:
    """Extract the features of all clips that `cache` does not have, and add them to it; `pooled`: their mean frames.

    Raises
    ------
    UserError
        If a feature is not finite, or no clip of a split can be read.
    """
    split_of = {clip.id: split for split, clips in chosen.items() for clip in clips}
    everything = [clip for clips in chosen.values() for clip in clips]
    if not pooled:
        _announce(everything, source)

    def key(clip: Clip) -> tuple[str, bool, str, float, float]:
        return source.fingerprint, pooled, clip.path, clip.start, clip.seconds

    excluded: list[Excluded] = []
    missing = [clip for clip in everything if key(clip) not in cache]
    with Progress(f"features of {source.name}", total=len(missing)) as progress:

        def refuse(clip: Clip, reason: str) -> None:
            ledger.record(clip.path, reason)
            excluded.append(Excluded(clip.id, split_of[clip.id], reason))
            progress.advance()

        for clip, layers in stream(missing, source, refuse):
            features = torch.stack([x.mean(0, keepdim=True) if pooled else x.half() for x in layers])
            if not bool(torch.isfinite(features).all()):
                raise UserError(f"the features of `{clip.id}` are not finite", where=source.name)
            cache[key(clip)] = features
            progress.advance()
    examples = {
        split: [Example(clip, cache[key(clip)], task.target(clip)) for clip in clips if key(clip) in cache]
        for split, clips in chosen.items()
    }
    for split, found in examples.items():
        if not found:
            raise UserError(f"no clip of the {split} split could be read; the reasons are in {ledger.path}")
    return examples, excluded


def _announce(clips: Sequence[Clip], source: FeatureSource) -> None:
    frames = sum(clip.seconds for clip in clips) * source.grid.frame_rate_hz
    size = int(frames * source.dim * source.num_layers * 2)
    logger.info("features of %s: %d clips, %.1f GB in memory", source.name, len(clips), size / 1e9)
    if size > _LARGE_BYTES:
        raise UserError(
            f"the features of all layers would take {size / 1e9:.0f} GB of memory",
            remedy="set data.max_train_clips, or probe fewer clips",
        )
