"""A background thread that turns planned crops into micro-batches, in the planned order.

Decoding and on-the-fly targets run beside the training step; a few micro-batches wait in a queue. Order and content
depend on the plan alone, never on timing. A clip that cannot be used is recorded once and skipped.

Where several processes share the updates, each loads every n-th micro-batch. All get the same number of batches: a
process that has none left, or cannot read its own, gets a padding batch, a duplicate of another (`Batch.counts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.threads import MadeAhead, background_pool
from audio_ssl.data.batching import Batching, Crop, MicroBatch, Update
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip

_PREFETCH = 4


class Position(NamedTuple):
    """Position of a run: its next update is update `update` of epoch `epoch`."""

    epoch: int
    update: int


class Batch(NamedTuple):
    """One micro-batch of crops."""

    waveform: Float[Tensor, "batch sample"]
    """Waveforms padded with zeros, ``[batch, sample]``."""

    lengths: Int[Tensor, " batch"]
    """Number of samples of each crop."""

    targets: tuple[Tensor, ...]
    """One ``[batch, frame, width]`` per teacher, padded with zeros."""

    frames: Int[Tensor, " batch"]
    """Number of frames of each crop, common to the model and all teachers."""

    keys: tuple[int, ...]
    """One random number per crop, from the plan."""

    seconds: float
    """Seconds of audio in the batch, without padding."""

    number: int = 0
    """Number of the micro-batch within its update, over all processes."""

    counts: bool = True
    """False for a padding batch, a duplicate that keeps the number of batches equal in all processes."""

    last: bool = True
    """Whether it is the last batch of this process in the update."""

    noise: Float[Tensor, "batch sample"] | None = None
    """Noise that is added to the waveforms in training; zero for crops without noise. None: no crop has noise."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        if device.type == "cpu":
            return self
        tensors = (self.waveform, self.lengths, self.frames, *self.targets)
        waveform, lengths, frames, *targets = (tensor.to(device, non_blocking=True) for tensor in tensors)
        noise = None if self.noise is None else self.noise.to(device, non_blocking=True)
        return self._replace(waveform=waveform, lengths=lengths, frames=frames, targets=tuple(targets), noise=noise)


class EndOfUpdate(NamedTuple):
    """The end of an update, and where the run continues."""

    then: Position

    micro_batches: int = 0
    """Number of planned micro-batches of the update, over all processes."""


class TargetSource(Protocol):
    """Returns the targets of a crop, which are slices of the targets of the whole clip."""

    def __call__(self, clip: Clip, start_frame: int, num_frames: int) -> tuple[Tensor, ...]:
        """Return one ``[frame, width]`` per teacher, each at most `num_frames` long."""
        ...


class NoiseSource(Protocol):
    """Returns the noise that is added to a crop in training."""

    def __call__(self, waveform: Tensor, key: int) -> Tensor | None:
        """Return noise of the crop's length, drawn from the crop's key; None: no noise."""
        ...


@dataclass(frozen=True)
class LoaderSetup:
    """Clips, plan and readers of a loader."""

    clips: Sequence[Clip]
    batching: Batching
    grid: FrameGrid
    """Frame grid of the model."""
    reader: ClipReader
    targets: TargetSource | None
    ledger: ErrorLedger
    workers: int = 1
    """Number of threads that decode the crops of a micro-batch."""
    noise: NoiseSource | None = None


class Loader:
    """Yields the `Batch` of each micro-batch and an `EndOfUpdate`, from a position on; a context manager.

    An update without a usable clip is left out. With several processes, its end is still yielded, as they must agree on
    it.

    Parameters
    ----------
    setup, start
        Setup, and position of the first update.
    epochs
        Epoch before which to stop; None: never.
    rank, world_size
        Number of this process, and number of processes.

    Raises
    ------
    UserError
        If a whole epoch has no usable clip, while iterating without end in a single process.
    """

    def __init__(
        self, setup: LoaderSetup, start: Position, epochs: int | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        self._setup, self._start, self._epochs = setup, start, epochs
        self._rank, self._world_size = rank, world_size
        self._pool = background_pool(setup.workers)
        self._ahead = MadeAhead(self._items(), _PREFETCH)

    def __enter__(self) -> Self:
        self._ahead.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ahead.__exit__(kind, error, trace)
        self._pool.shutdown()

    def __iter__(self) -> Iterator[Batch | EndOfUpdate]:
        return iter(self._ahead)

    def _items(self) -> Iterator[Batch | EndOfUpdate]:
        """Yield the batches and the end of every planned update, epoch after epoch."""
        epoch, first = self._start
        while self._epochs is None or epoch < self._epochs:
            updates = self._setup.batching.epoch(epoch)
            usable = False
            for number in range(first, len(updates)):
                loaded = False
                for batch in self._batches(updates[number]):
                    loaded = usable = True
                    yield batch
                if loaded or self._world_size > 1:
                    last = number + 1 == len(updates)
                    then = Position(epoch + 1, 0) if last else Position(epoch, number + 1)
                    yield EndOfUpdate(then, len(updates[number]))
            if not usable and first == 0 and self._epochs is None and self._world_size == 1:
                raise nothing_usable(self._setup)
            epoch, first = epoch + 1, 0

    def _batches(self, update: Update) -> Iterator[Batch]:
        """Yield the micro-batches of this process in an update."""
        if self._world_size == 1:
            for index, micro in enumerate(update):
                batch = self._load(micro)
                if batch is not None:
                    yield batch._replace(number=index)
            return
        rounds = -(-len(update) // self._world_size)
        for round_ in range(rounds):
            planned = round_ * self._world_size + self._rank
            # Its own micro-batch, or the next one that can be read, as a padding batch.
            for index in (number % len(update) for number in range(planned, planned + len(update))):
                batch = self._load(update[index])
                if batch is not None:
                    yield batch._replace(number=index, counts=index == planned, last=round_ + 1 == rounds)
                    break

    def _load(self, micro: MicroBatch) -> Batch | None:
        """Read the crops of a micro-batch in parallel; None if none can be read."""
        loaded = [one for one in self._pool.map(self._load_crop, micro) if one is not None]
        return collate(loaded, self._setup.grid.sample_rate) if loaded else None

    def _load_crop(self, crop: Crop) -> LoadedCrop | None:
        clip = self._setup.clips[crop.clip]
        try:
            return load_crop(self._setup, crop)
        except AudioError as error:
            self._setup.ledger.record(clip.path, error.reason, id=clip.id)
            return None


def nothing_usable(setup: LoaderSetup) -> UserError:
    """Return the error of an epoch without a usable clip."""
    return UserError(
        f"none of the {len(setup.clips)} clips can be used",
        where=str(setup.ledger.path),
        remedy="the file lists each with its reason",
    )


class LoadedCrop(NamedTuple):
    """One crop with its targets."""

    waveform: Tensor
    targets: tuple[Tensor, ...]
    frames: int
    key: int
    noise: Tensor | None = None


def load_crop(setup: LoaderSetup, crop: Crop) -> LoadedCrop:
    """Read one crop, and cut its targets to the frames common to the model and all teachers."""
    clip = setup.clips[crop.clip]
    waveform = setup.reader.crop(clip, crop.start_samples, crop.num_samples)
    frames = setup.grid.num_frames(waveform.shape[0])
    if frames == 0:
        raise AudioError(f"too short: {waveform.shape[0]} samples give no frame of {setup.grid.window_samples}")
    targets: tuple[Tensor, ...] = ()
    if setup.targets is not None:
        targets = setup.targets(clip, crop.start_samples // setup.grid.hop_samples, frames)
        frames = min(frames, *(target.shape[0] for target in targets))
        if frames == 0:
            raise AudioError("too short: a teacher gives no frame")
    noise = None if setup.noise is None else setup.noise(waveform, crop.key)
    return LoadedCrop(waveform, tuple(target[:frames] for target in targets), frames, crop.key, noise)


def collate(crops: Sequence[LoadedCrop], sample_rate: int) -> Batch:
    """Return crops as one batch, padded with zeros."""
    lengths = torch.tensor([crop.waveform.shape[0] for crop in crops])
    frames = torch.tensor([crop.frames for crop in crops])
    waveform = torch.nn.utils.rnn.pad_sequence([crop.waveform for crop in crops], batch_first=True)
    targets = tuple(
        torch.nn.utils.rnn.pad_sequence(list(same), batch_first=True)
        for same in zip(*(crop.targets for crop in crops), strict=True)
    )
    seconds = float(lengths.sum()) / sample_rate
    noise = None
    if any(crop.noise is not None for crop in crops):
        rows = [torch.zeros_like(crop.waveform) if crop.noise is None else crop.noise for crop in crops]
        noise = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return Batch(waveform, lengths, targets, frames, tuple(crop.key for crop in crops), seconds, noise=noise)
