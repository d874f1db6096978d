"""Frozen features of a probe's clips, extracted once for all layers, rates, seeds and epochs.

A bank holds them in memory (``[layer, frame, dim]`` as float16, or a clip's mean frame as float32) or, above a size, in
a store on the disk, whose pages the operating system reads as they are needed. How large they will be is said before
the work begins. `audio_ssl.probing.live` computes them for every batch instead.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.disk import mount_of, readable_size
from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.manifest import Clip
from audio_ssl.data.store import ArrayStore, StoreWriter
from audio_ssl.features.pieces import stream
from audio_ssl.features.source import FeatureSource
from audio_ssl.probing.probe import ProbeData

logger = logging.getLogger(__name__)

Refuse = Callable[[Clip, str], None]

MOST_FRAMES = 8192
"""Frames of a batch that is scored, padding included; 330 MB with 13 layers of 768 dimensions in float32."""


class LayerBatch(NamedTuple):
    """All layers of some clips."""

    values: Float[Tensor, "layer batch frame dim"]
    """Padded with zeros."""

    frames: Int[Tensor, " batch"]
    """Number of frames of each clip; on the CPU."""


class Bank(Protocol):
    """Features of clips."""

    pooled: bool
    """Whether a clip is one frame, the mean of its frames."""

    seconds_taken: float
    """Seconds that extraction took."""

    def __contains__(self, clip: Clip) -> bool:
        """Return whether a clip is there."""
        ...

    def frames(self, clip: Clip) -> int:
        """Return how many frames a clip has."""
        ...

    def one(self, clip: Clip) -> Float[Tensor, "layer frame dim"]:
        """Return the features of a clip, float32."""
        ...

    def batch(self, clips: Sequence[Clip]) -> LayerBatch:
        """Return the features of some clips, float32."""
        ...


AudioSpan = tuple[str, float, float]


def key_of(clip: Clip) -> AudioSpan:
    """Return the span of audio that the features of a clip are of."""
    return clip.path, clip.start, clip.seconds


class MemoryBank:
    """Features in memory."""

    def __init__(self, pooled: bool) -> None:
        self.pooled, self.seconds_taken = pooled, 0.0
        self._rows: dict[AudioSpan, int] = {}
        self._values: list[Tensor] = []
        self._packed: Tensor | None = None

    def __contains__(self, clip: Clip) -> bool:
        """Return whether a clip is there."""
        return key_of(clip) in self._rows

    def add(self, clip: Clip, layers: Sequence[Float[Tensor, "frame dim"]]) -> None:
        """Add a clip's layers."""
        self._rows[key_of(clip)] = len(self._values)
        self._values.append(torch.stack(list(layers)).float() if self.pooled else to_half(layers))
        self._packed = None

    @property
    def nbytes(self) -> int:
        """Size of the features, in bytes."""
        return sum(value.nbytes for value in self._values)

    def only(self, clips: Sequence[Clip]) -> MemoryBank:
        """Return a bank of those of these clips that are here."""
        less = MemoryBank(self.pooled)
        for key in dict.fromkeys(key_of(clip) for clip in clips if clip in self):
            less._rows[key] = len(less._values)
            less._values.append(self._values[self._rows[key]])
        return less

    def frames(self, clip: Clip) -> int:
        """Return how many frames a clip has."""
        return self._values[self._rows[key_of(clip)]].shape[1]

    def one(self, clip: Clip) -> Float[Tensor, "layer frame dim"]:
        """Return the features of a clip, float32."""
        return self._values[self._rows[key_of(clip)]].float()

    def batch(self, clips: Sequence[Clip]) -> LayerBatch:
        """Return the features of some clips, float32."""
        if not self.pooled:
            return pad_layers([self.one(clip) for clip in clips])
        if self._packed is None:
            self._packed = torch.stack(self._values, dim=1)
        rows = torch.tensor([self._rows[key_of(clip)] for clip in clips])
        return LayerBatch(self._packed[:, rows], torch.ones(len(rows), dtype=torch.long))


class DiskBank:
    """Features in a store on the disk.

    Parameters
    ----------
    folder
        Folder of the store. An existing store is continued.
    fingerprint
        Of the source.
    """

    pooled = False

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.seconds_taken = folder, 0.0
        self._meta = {"source": fingerprint, "kind": "frozen features of a probe"}
        self._store: ArrayStore | None = None

    def writer(self) -> StoreWriter:
        """Open the store for writing."""
        self._store = None
        return StoreWriter(self.folder, self._meta, resume=True)

    @property
    def store(self) -> ArrayStore:
        """What has been written."""
        if self._store is None:
            self._store = ArrayStore(self.folder)
        return self._store

    def __contains__(self, clip: Clip) -> bool:
        """Return whether a clip is there."""
        return (self.folder / "meta.json").exists() and store_id(clip) in self.store

    def frames(self, clip: Clip) -> int:
        """Return how many frames a clip has."""
        return int(self.store.get(store_id(clip), "frames")[0])

    def one(self, clip: Clip) -> Float[Tensor, "layer frame dim"]:
        """Return the features of a clip, float32."""
        return self.store.get(store_id(clip), "layers").float()

    def batch(self, clips: Sequence[Clip]) -> LayerBatch:
        """Return the features of some clips, float32."""
        return pad_layers([self.one(clip) for clip in clips])


def store_id(clip: Clip) -> str:
    """Return a clip's id in a store."""
    return f"{clip.path}|{clip.start!r}|{clip.seconds!r}"


def to_half(layers: Sequence[Float[Tensor, "frame dim"]]) -> Float[Tensor, "layer frame dim"]:
    """Return layers in 16 bits: float16, or bfloat16 where a value is too large for that."""
    wide = torch.stack(list(layers))
    return wide.half() if bool(wide.abs().amax() < torch.finfo(torch.float16).max) else wide.bfloat16()


def pad_layers(clips: Sequence[Float[Tensor, "layer frame dim"]]) -> LayerBatch:
    """Pad clips to the longest."""
    frames = torch.tensor([clip.shape[1] for clip in clips])
    padded = torch.nn.utils.rnn.pad_sequence([clip.transpose(0, 1) for clip in clips], batch_first=True)
    return LayerBatch(padded.permute(2, 0, 1, 3), frames)


def portions(clips: Sequence[Clip], bank: Bank, most_clips: int) -> Iterator[list[Clip]]:
    """Split clips into batches; long clips make smaller ones, as all their layers are in memory at once."""
    part: list[Clip] = []
    longest = 0
    for clip in clips:
        frames = bank.frames(clip)
        if part and (len(part) == most_clips or max(longest, frames) * (len(part) + 1) > MOST_FRAMES):
            yield part
            part, longest = [], 0
        part.append(clip)
        longest = max(longest, frames)
    if part:
        yield part


class BankCache:
    """Banks by source, so that the probes of a suite extract a clip once."""

    def __init__(self) -> None:
        self._banks: dict[tuple[str, bool], MemoryBank] = {}

    def memory(self, source: FeatureSource, pooled: bool, clips: Sequence[Clip], most_bytes: float) -> MemoryBank:
        """Return the bank of a source; drop other features where all together would exceed `most_bytes`.

        Other sources go first, the oldest before; then clips of this one that are not wanted now.
        """
        bank = self._banks.pop((source.fingerprint, pooled), None) or MemoryBank(pooled)
        coming = 0 if pooled else bytes_of([clip for clip in clips if clip not in bank], source)
        while self._banks and coming + bank.nbytes + sum(one.nbytes for one in self._banks.values()) > most_bytes:
            del self._banks[next(iter(self._banks))]
        if coming + bank.nbytes > most_bytes:
            bank = bank.only(clips)
        self._banks[source.fingerprint, pooled] = bank
        return bank


def extract_features(
    clips: Sequence[Clip],
    source: FeatureSource,
    pooled: bool,
    data: ProbeData,
    folder: Path,
    cache: BankCache,
    refuse: Refuse,
) -> Bank:
    """Extract what is not there yet.

    Parameters
    ----------
    clips
        Of all splits.
    source
        Where features come from.
    pooled
        Keep the mean frame only.
    data
        Settings: where features are kept.
    folder
        For a store on the disk.
    cache
        Banks of earlier probes.
    refuse
        Called with a clip that cannot be used, and the reason.

    Raises
    ------
    UserError
        If a feature is not finite, or there is no room.
    """
    size = 0 if pooled else bytes_of(clips, source)
    on_disk = not pooled and (data.features == "disk" or (data.features == "auto" and size > data.memory_gb * 1e9))
    started = time.monotonic()
    bank: MemoryBank | DiskBank
    bank = (
        DiskBank(folder, source.fingerprint) if on_disk else cache.memory(source, pooled, clips, data.memory_gb * 1e9)
    )
    missing = [clip for clip in clips if clip not in bank]
    if size and missing:
        where = f"on the disk, below {folder}" if on_disk else "in memory"
        logger.info("features of %s: %d clips, %s %s", source.name, len(clips), readable_size(size), where)
    if isinstance(bank, DiskBank):
        _check_room(folder, bytes_of(missing, source))
        with bank.writer() as writer:
            for clip, layers in _extract(missing, source, refuse):
                arrays = {"layers": to_half(layers), "frames": torch.tensor([len(layers[0])])}
                writer.add(store_id(clip), arrays)
    else:
        # Mean frames are kept as well: a later probe of whole clips then needs no extraction.
        means = bank if pooled else cache.memory(source, True, (), data.memory_gb * 1e9)
        for clip, layers in _extract(missing, source, refuse):
            means.add(clip, [layer.mean(0, keepdim=True) for layer in layers])
            if not pooled:
                bank.add(clip, layers)
    bank.seconds_taken = time.monotonic() - started
    return bank


def bytes_of(clips: Sequence[Clip], source: FeatureSource) -> int:
    """Return the size of all layers of some clips as float16, in bytes."""
    frames = sum(clip.seconds for clip in clips) * source.grid.frame_rate_hz
    return int(frames * source.dim * source.num_layers * 2)


def _check_room(folder: Path, size: int) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if size > 0.9 * free:
        raise UserError(
            f"the features of all layers need {readable_size(size)}, but the disk mounted at {mount_of(folder)} has "
            f"{readable_size(free)} free",
            where=str(folder),
            remedy="add data.features=stream (computed for every batch), or set data.max_train_clips",
        )


def _extract(
    clips: Sequence[Clip], source: FeatureSource, refuse: Refuse
) -> Iterator[tuple[Clip, list[Float[Tensor, "frame dim"]]]]:
    # Two clips of a manifest may be the same audio.
    alike: dict[AudioSpan, list[Clip]] = {}
    for clip in clips:
        alike.setdefault(key_of(clip), []).append(clip)
    once = [same[0] for same in alike.values()]
    with Progress(f"features of {source.name}", total=len(once)) as progress:

        def refused(clip: Clip, reason: str) -> None:
            for same in alike[key_of(clip)]:
                refuse(same, reason)
            progress.advance()

        for clip, layers in stream(once, source, refused):
            if not all(bool(torch.isfinite(layer).all()) for layer in layers):
                raise UserError(f"the features of `{clip.id}` are not finite", where=source.name)
            yield clip, layers
            progress.advance()
