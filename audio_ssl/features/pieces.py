"""Computes the features of clips: decoding ahead in threads, batches, and chunks of long clips.

Extraction, probes and Python programs all take this way.

Threads decode ahead of the model: headers of the next clips, samples of the next batches. Clips are taken in windows,
sorted by length within a window and grouped until a padded batch holds `batch_seconds`. A clip longer than a chunk is
decoded block by block into a temporary file, and the statistics of the whole clip that the model needs are computed on
the way. Shorter clips are computed meanwhile.

A clip's features do not depend on its batch. Clips longer than a chunk are cut into equal chunks on the frame grid,
with context on both sides. What the model computes over the whole clip (the mean and variance of the waveform, the
statistics of the frontend's group norm) is that of the whole clip, so the frontend's frames are those of the whole
file; attention sees its chunk and the context only.
"""

from __future__ import annotations

import math
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audio_ssl.base.disk import writing
from audio_ssl.base.errors import AudioError
from audio_ssl.data.audio import read_blocks, read_clip
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.features.clips import ClipToExtract, items_of
from audio_ssl.features.settings import Settings
from audio_ssl.features.source import FeatureSource

WINDOW_CLIPS = 256
"""Clips that are sorted by length together."""
_AHEAD_BATCHES = 3
"""Batches that are decoded while one is computed."""
_AHEAD_LONG = 2
"""Long clips that are decoded at once, each into a temporary file."""

OnRefused = Callable[[Clip, str], None]


class WholeClip(NamedTuple):
    """A clip short enough for one piece."""

    item: ClipToExtract
    clip: Clip
    waveform: Tensor
    """``[sample]``."""


class Spool(NamedTuple):
    """A long clip, decoded into a temporary file."""

    item: ClipToExtract
    clip: Clip
    file: IO[bytes]
    samples: int
    statistics: object | None
    """Of the whole clip, for the source."""

    def read(self, start: int, stop: int) -> Tensor:
        """Return samples `start` to `stop`."""
        self.file.seek(4 * start)
        return torch.from_numpy(np.frombuffer(self.file.read(4 * (stop - start)), np.float32).copy())


class RefusedClip(NamedTuple):
    """A clip that cannot be used."""

    clip: Clip
    reason: str


Decoded = WholeClip | Spool | RefusedClip


def decode(items: Iterable[ClipToExtract], source: FeatureSource, settings: Settings) -> Iterator[list[Decoded]]:
    """Yield decoded batches: clips of like length together, long clips alone."""
    with ThreadPoolExecutor(1) as headers, ThreadPoolExecutor(settings.workers) as pool:
        ahead: deque[list[Future[Decoded]]] = deque()
        long: deque[Future[Decoded]] = deque()
        try:
            for batch, refused in _batches(iter(items), headers, settings):
                if refused:
                    yield list(refused)
                begun = [pool.submit(_read, item, clip, source, settings) for item, clip in batch]
                if any(clip.seconds > settings.chunk_seconds for _, clip in batch):
                    long.extend(begun)
                elif begun:
                    ahead.append(begun)
                while long and (long[0].done() or len(long) > _AHEAD_LONG):
                    yield [long.popleft().result()]
                if len(ahead) > _AHEAD_BATCHES:
                    yield [future.result() for future in ahead.popleft()]
            while ahead:
                yield [future.result() for future in ahead.popleft()]
            while long:
                yield [long.popleft().result()]
        finally:
            # If the caller stops early, it does not wait for queued work.
            for executor in (headers, pool):
                executor.shutdown(wait=False, cancel_futures=True)
            for future in long:
                future.add_done_callback(_close)


def _close(future: Future[Decoded]) -> None:
    """Close the file of a long clip that is not needed any more."""
    if not future.cancelled() and future.exception() is None:
        found = future.result()
        if isinstance(found, Spool):
            found.file.close()


Opened = tuple[ClipToExtract, Clip]


def _batches(
    items: Iterator[ClipToExtract], headers: ThreadPoolExecutor, settings: Settings
) -> Iterator[tuple[list[Opened], list[RefusedClip]]]:
    def look() -> Future[list[Opened | RefusedClip]] | None:
        window = list(islice(items, WINDOW_CLIPS))
        return headers.submit(lambda: [_open(item) for item in window]) if window else None

    pending = look()
    while pending is not None:
        found = pending.result()
        pending = look()
        refused = [one for one in found if isinstance(one, RefusedClip)]
        for batch in batches_of([one for one in found if not isinstance(one, RefusedClip)], settings):
            yield batch, refused
            refused = []
        if refused:
            yield [], refused


def batches_of(clips: Sequence[Opened], settings: Settings) -> list[list[Opened]]:
    """Group clips of like length: a padded batch holds at most `batch_seconds`, or one clip; a long clip is alone."""
    batches: list[list[Opened]] = []
    # From long to short: the first clip of a batch is its width.
    for item, clip in sorted(clips, key=lambda one: -one[1].seconds):
        widest = batches[-1][0][1].seconds if batches else float("inf")
        if widest <= settings.chunk_seconds and (len(batches[-1]) + 1) * widest <= settings.batch_seconds:
            batches[-1].append((item, clip))
        else:
            batches.append([(item, clip)])
    return batches


def _open(item: ClipToExtract) -> Opened | RefusedClip:
    try:
        return item, item.open()
    except AudioError as error:
        return RefusedClip(Clip(item.id, item.path, 0.0, 0.0, 0), error.reason)


def _read(item: ClipToExtract, clip: Clip, source: FeatureSource, settings: Settings) -> Decoded:
    try:
        if clip.seconds > settings.chunk_seconds:
            return _spool(item, clip, source)
        waveform = torch.from_numpy(read_clip(clip, source.sample_rate, item.note))
    except AudioError as error:
        return RefusedClip(clip, error.reason)
    return _checked(WholeClip(item, clip, waveform), len(waveform), source)


def _spool(item: ClipToExtract, clip: Clip, source: FeatureSource) -> Decoded:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the spool goes
    samples = 0

    def blocks() -> Iterator[Tensor]:
        nonlocal samples
        for block in read_blocks(clip, source.sample_rate, note=item.note):
            with writing(Path(tempfile.gettempdir()) / f"decoded {Path(clip.path).name}"):
                file.write(block.tobytes())
            samples += len(block)
            yield torch.from_numpy(block)

    try:
        decoded = blocks()
        statistics = source.statistics(decoded)
        # A source without statistics has not read the blocks: they are decoded here.
        deque(decoded, maxlen=0)
    except BaseException:
        file.close()
        raise
    return _checked(Spool(item, clip, file, samples, statistics), samples, source)


def _checked(found: WholeClip | Spool, samples: int, source: FeatureSource) -> Decoded:
    if source.grid.num_frames(samples) == 0:
        needed = source.grid.num_samples(1)
        return RefusedClip(found.clip, f"too short: {samples} samples give no frame (it needs {needed})")
    return found


class Piece(NamedTuple):
    """Consecutive frames of a clip; the pieces of a clip follow one another."""

    item: ClipToExtract
    clip: Clip
    first: int
    """Number of the first frame."""
    total: int
    """Frames of the clip."""
    layers: list[Tensor]
    """``[frame, dim]`` each."""

    @property
    def last(self) -> bool:
        """Whether the clip ends with it."""
        return self.first + len(self.layers[0]) == self.total


class ClipFeatures(NamedTuple):
    """All layers of one clip."""

    clip: Clip
    layers: list[Tensor]
    """``[frame, dim]`` each."""


def stream(
    clips: Iterable[Clip],
    source: FeatureSource,
    refuse: OnRefused,
    layers: Sequence[int] | None = None,
    settings: Settings | None = None,
) -> Iterator[ClipFeatures]:
    """Yield the features of every usable clip, whole.

    Parameters
    ----------
    clips
        May be longer than memory; a window of them is held.
    source
        Where features come from.
    refuse
        Called with a clip and the reason it cannot be used.
    layers
        Which layers to keep; None keeps all.
    settings
        Sizes of batches and chunks.
    """
    held: list[list[Tensor]] = []
    for piece in pieces(items_of(clips), source, refuse, layers, settings or Settings()):
        held.append([layer.cpu() for layer in piece.layers])
        if piece.last:
            whole = held[0] if len(held) == 1 else [torch.cat(parts) for parts in zip(*held, strict=True)]
            yield ClipFeatures(piece.clip, whole)
            held = []


def pieces(
    items: Iterable[ClipToExtract],
    source: FeatureSource,
    refuse: OnRefused,
    layers: Sequence[int] | None,
    settings: Settings,
) -> Iterator[Piece]:
    """Yield the features of every usable clip in pieces, which are the clip unless it is long; on the source's device.

    Parameters
    ----------
    items
        What to extract.
    source, refuse, layers, settings
        As of `stream`.
    """
    keep = list(range(source.num_layers)) if layers is None else list(layers)
    settings = settings.on(source.device)
    for batch in decode(items, source, settings):
        wholes = [found for found in batch if isinstance(found, WholeClip)]
        for found in batch:
            if isinstance(found, RefusedClip):
                refuse(found.clip, found.reason)
            elif isinstance(found, Spool):
                yield from _chunks(found, source, keep, settings)
        if wholes:
            yield from _of_batch(wholes, source, keep, refuse)


def pieces_of_waveform(
    waveform: Tensor, source: FeatureSource, layers: Sequence[int], settings: Settings, name: str = "waveform"
) -> Iterator[Piece]:
    """Yield the features of samples ``[sample]`` at the source's rate in pieces, as of a file that holds them.

    Parameters
    ----------
    waveform
        Enough samples for a frame, on the CPU.
    source, layers, settings
        As of `pieces`.
    name
        Id and path of the clip.
    """
    settings, seconds = settings.on(source.device), len(waveform) / source.sample_rate
    clip = Clip(name, name, 0.0, seconds, source.sample_rate)
    (item,) = items_of([clip])
    if seconds <= settings.chunk_seconds:
        yield from _batch([WholeClip(item, clip, waveform)], source, layers)
        return
    file = tempfile.TemporaryFile()  # noqa: SIM115 - `_chunks` closes it
    file.write(waveform.numpy().tobytes())
    spool = Spool(item, clip, file, len(waveform), source.statistics([waveform]))
    yield from _chunks(spool, source, layers, settings)


def _of_batch(
    wholes: Sequence[WholeClip], source: FeatureSource, keep: Sequence[int], refuse: OnRefused
) -> Iterator[Piece]:
    """Do as `_batch`; clips that the source fails with are refused, and the others are computed alone."""
    try:
        yield from _batch(wholes, source, keep)
    except AudioError as error:
        if len(wholes) == 1:
            refuse(wholes[0].clip, error.reason)
            return
        for one in wholes:
            yield from _of_batch([one], source, keep, refuse)


def _batch(wholes: Sequence[WholeClip], source: FeatureSource, keep: Sequence[int]) -> Iterator[Piece]:
    padded = torch.nn.utils.rnn.pad_sequence([found.waveform for found in wholes], batch_first=True)
    hidden, frames = source(padded, torch.tensor([len(found.waveform) for found in wholes]), top=max(keep))
    for row, (found, total) in enumerate(zip(wholes, frames.tolist(), strict=True)):
        yield Piece(found.item, found.clip, 0, total, [hidden[layer][row, :total] for layer in keep])


class Chunk(NamedTuple):
    """A span of frames to keep, in the span of frames to compute."""

    first: int
    last: int
    start: int
    stop: int


def chunks_of(total: int, grid: FrameGrid, chunk_seconds: float, context_seconds: float) -> list[Chunk]:
    """Return equal chunks of `total` frames.

    Examples
    --------
    >>> chunks_of(100, FrameGrid(16000, 320, 400), 1.0, 0.1)
    [Chunk(first=0, last=50, start=0, stop=55), Chunk(first=50, last=100, start=45, stop=100)]
    """
    count = math.ceil(total / max(1, int(chunk_seconds * grid.frame_rate_hz)))
    context = math.ceil(context_seconds * grid.frame_rate_hz)
    edges = [total * number // count for number in range(count + 1)]
    return [Chunk(first, last, max(0, first - context), min(total, last + context)) for first, last in pairwise(edges)]


def _chunks(spool: Spool, source: FeatureSource, keep: Sequence[int], settings: Settings) -> Iterator[Piece]:
    grid = source.grid
    total = grid.num_frames(spool.samples)
    chunks = chunks_of(total, grid, settings.chunk_seconds, settings.context_seconds)
    rows = max(1, int(settings.batch_seconds / (settings.chunk_seconds + 2 * settings.context_seconds)))
    with spool.file:
        for begin in range(0, len(chunks), rows):
            some = chunks[begin : begin + rows]
            waves = [spool.read(*_samples(chunk, grid, spool.samples)) for chunk in some]
            padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
            lengths = torch.tensor([len(wave) for wave in waves])
            hidden, _ = source(padded, lengths, statistics=spool.statistics, top=max(keep))
            for row, chunk in enumerate(some):
                inner = slice(chunk.first - chunk.start, chunk.last - chunk.start)
                yield Piece(spool.item, spool.clip, chunk.first, total, [hidden[layer][row, inner] for layer in keep])


def _samples(chunk: Chunk, grid: FrameGrid, samples: int) -> tuple[int, int]:
    """Return the samples that the frames of a chunk look at."""
    # Up to one window after the start of the last frame: exact for uncentred windows, enough for centred ones.
    stop = chunk.stop - 1 if grid.edge == "valid" else chunk.stop
    whole = chunk.stop >= grid.num_frames(samples)
    end = samples if whole else min(samples, grid.frame_start_samples(stop) + grid.window_samples)
    return grid.frame_start_samples(chunk.start), end
