"""Targets of crops, two ways with the same values: read from a store, or computed from the whole clip and cut.

A teacher always sees a whole clip (a row of the manifest), never a crop: an EnCodec code depends on all audio before
it, a low CQT bin on seconds around it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from audio_ssl.artifacts.records import from_json
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.threads import LruCache
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.manifest import Clip
from audio_ssl.data.store import META_FILE, ArrayStore
from audio_ssl.targets.spec import Teacher, check_targets

_CACHE_BYTES = 512 << 20


class ComputedTargets:
    """Targets computed from the whole clip; the latest are kept, within a number of bytes.

    To be called from threads of `background_pool`, so that the numbers do not depend on the machine's cores.

    Parameters
    ----------
    teachers
        In the order of the recipe.
    reader
        Reads the whole clip.
    cache_bytes
        Targets kept in memory, so that later epochs of a small corpus compute nothing.
    """

    def __init__(self, teachers: Sequence[Teacher], reader: ClipReader, cache_bytes: int = _CACHE_BYTES) -> None:
        self._teachers, self._reader = tuple(teachers), reader
        self._cache: LruCache[tuple[Tensor, ...]] = LruCache(cache_bytes, lambda all_: sum(x.nbytes for x in all_))

    def whole(self, clip: Clip) -> tuple[Tensor, ...]:
        """Return the targets of a whole clip, one ``[frame, width]`` per teacher.

        Raises
        ------
        AudioError
            If the clip cannot be read, or a teacher gives other frames, codes or values than it promises.
        """
        return self._cache.get(clip.id, lambda: self._compute(clip))

    def __call__(self, clip: Clip, start_frame: int, num_frames: int) -> tuple[Tensor, ...]:
        """Return the targets of `num_frames` frames from `start_frame` on."""
        return tuple(target[start_frame : start_frame + num_frames] for target in self.whole(clip))

    def _compute(self, clip: Clip) -> tuple[Tensor, ...]:
        waveform = self._reader.whole(clip)
        with torch.no_grad():
            targets = tuple(teacher(waveform).cpu() for teacher in self._teachers)
        for teacher, target in zip(self._teachers, targets, strict=True):
            check_targets(target, teacher.spec, len(waveform))
        return targets


class StoredTargets:
    """Targets read from a store made by `audio-ssl targets`.

    Raises
    ------
    UserError
        If the store was made by other teachers or of another manifest; both are named.
    """

    def __init__(self, folder: Path, fingerprints: Sequence[str], manifest_hash: str) -> None:
        self._store = ArrayStore(folder)
        self._names = [str(index) for index in range(len(fingerprints))]
        # The store opens its shards when they are first asked for.
        self._lock = threading.Lock()
        meta = from_json(TargetStoreMeta, self._store.meta, str(folder / META_FILE), _REMEDY)
        _check_meta(meta, fingerprints, manifest_hash, folder)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._store

    def whole(self, clip: Clip) -> tuple[Tensor, ...]:
        """Return the targets of a whole clip; AudioError if the store has none."""
        return self._read(clip, 0, None)

    def __call__(self, clip: Clip, start_frame: int, num_frames: int) -> tuple[Tensor, ...]:
        """Return the targets of `num_frames` frames from `start_frame` on."""
        return self._read(clip, start_frame, start_frame + num_frames)

    def _read(self, clip: Clip, start: int, stop: int | None) -> tuple[Tensor, ...]:
        if clip.id not in self._store:
            raise AudioError("the target store has no targets of this clip")
        with self._lock:
            return tuple(self._store.get(clip.id, name, start, stop) for name in self._names)


@dataclass(frozen=True)
class TargetStoreMeta:
    """What a target store says about itself: its ``meta.json``."""

    content: str
    """``targets``."""
    teachers: tuple[str, ...]
    """Their fingerprints, in the order of the recipe."""
    manifest_hash: str
    sample_rate: int
    """In Hz."""
    hop_samples: int
    """Samples between two frames of the first teacher."""
    more: JsonObject = field(default_factory=dict)


def target_meta(fingerprints: Sequence[str], manifest_hash: str, sample_rate: int, hop_samples: int) -> TargetStoreMeta:
    """Return what a target store says about itself."""
    return TargetStoreMeta("targets", tuple(fingerprints), manifest_hash, sample_rate, hop_samples)


_REMEDY = "make the targets again with `audio-ssl targets`, or drop data.targets"


def _check_meta(meta: TargetStoreMeta, fingerprints: Sequence[str], manifest_hash: str, folder: Path) -> None:
    """Raise UserError unless a store holds the targets of these teachers and of this manifest."""
    theirs, mine = list(meta.teachers), list(fingerprints)
    if theirs != mine:
        raise UserError(
            f"the target store was made by the teachers {theirs}, but the recipe's teachers are {mine}",
            where=str(folder),
            remedy=_REMEDY,
        )
    if meta.manifest_hash != manifest_hash:
        raise UserError(
            f"the target store was made of the manifest {meta.manifest_hash}, but data.manifest is {manifest_hash}",
            where=str(folder),
            remedy=_REMEDY,
        )
