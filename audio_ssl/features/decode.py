"""Decoding ahead of the model: headers of the next clips, samples of the next batches, in threads.

Clips are taken in windows, sorted by length within a window and grouped until a padded batch holds `batch_seconds`. A
clip longer than a chunk is decoded block by block into a temporary file, while what the model needs to know about the
whole of it is computed on the way; shorter ones are computed meanwhile.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audio_ssl.data.audio import read_blocks, read_clip
from audio_ssl.data.manifest import Clip
from audio_ssl.disk import writing
from audio_ssl.errors import AudioError
from audio_ssl.features.settings import Settings
from audio_ssl.features.source import FeatureSource
from audio_ssl.features.walk import Item

WINDOW_CLIPS = 256
"""Clips whose lengths are compared."""
_AHEAD_BATCHES = 3
"""Batches that are decoded while one is computed."""
_AHEAD_LONG = 2
"""Long clips that may be on the way, each in a temporary file."""

Refuse = Callable[[Clip, str], None]


class WholeClip(NamedTuple):
    """A clip short enough for one piece."""

    item: Item
    clip: Clip
    waveform: Tensor
    """``[sample]``."""


class Spool(NamedTuple):
    """A long clip, decoded into a temporary file."""

    item: Item
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


def decode(items: Iterable[Item], source: FeatureSource, settings: Settings) -> Iterator[list[Decoded]]:
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
            # Whoever stops listening does not wait for what is still in line.
            for executor in (headers, pool):
                executor.shutdown(wait=False, cancel_futures=True)
            for future in long:
                future.add_done_callback(_close)


def _close(future: Future[Decoded]) -> None:
    """Close the file of a long clip that nobody asks for any more."""
    if not future.cancelled() and future.exception() is None:
        found = future.result()
        if isinstance(found, Spool):
            found.file.close()


Opened = tuple[Item, Clip]


def _batches(
    items: Iterator[Item], headers: ThreadPoolExecutor, settings: Settings
) -> Iterator[tuple[list[Opened], list[RefusedClip]]]:
    def look() -> Future[list[Opened | RefusedClip]] | None:
        window = list(islice(items, WINDOW_CLIPS))
        return headers.submit(lambda: [_open(item) for item in window]) if window else None

    pending = look()
    while pending is not None:
        found = pending.result()
        pending = look()
        refused = [one for one in found if isinstance(one, RefusedClip)]
        for batch in group([one for one in found if not isinstance(one, RefusedClip)], settings):
            yield batch, refused
            refused = []
        if refused:
            yield [], refused


def group(clips: Sequence[Opened], settings: Settings) -> list[list[Opened]]:
    """Group clips of like length: a padded batch holds at most `batch_seconds`, or one clip; a long clip is alone."""
    batches: list[list[Opened]] = []
    # From long to short: the first clip of a batch says how wide it is.
    for item, clip in sorted(clips, key=lambda one: -one[1].seconds):
        widest = batches[-1][0][1].seconds if batches else float("inf")
        if widest <= settings.chunk_seconds and (len(batches[-1]) + 1) * widest <= settings.batch_seconds:
            batches[-1].append((item, clip))
        else:
            batches.append([(item, clip)])
    return batches


def _open(item: Item) -> Opened | RefusedClip:
    try:
        return item, item.open()
    except AudioError as error:
        return RefusedClip(Clip(item.id, item.path, 0.0, 0.0, 0), error.reason)


def _read(item: Item, clip: Clip, source: FeatureSource, settings: Settings) -> Decoded:
    try:
        if clip.seconds > settings.chunk_seconds:
            return _spool(item, clip, source)
        waveform = torch.from_numpy(read_clip(clip, source.sample_rate, item.note))
    except AudioError as error:
        return RefusedClip(clip, error.reason)
    return _checked(WholeClip(item, clip, waveform), len(waveform), source)


def _spool(item: Item, clip: Clip, source: FeatureSource) -> Decoded:
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
        # A source that needs to know nothing of the whole has not asked for it.
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
