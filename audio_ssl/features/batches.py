"""Clips to features in length-sorted batches, decoding ahead in a thread; used by extraction and by probes.

Clips are taken in windows, sorted by length within a window and grouped until a batch holds `seconds_per_batch`; a
clip's features do not depend on its batch. Long clips are cut into chunks with context on both sides, on the frame
grid: for a convolution that is exact, for attention over the whole clip it is an approximation whose reach is the
chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import AudioError
from audio_ssl.features.source import FeatureSource

WINDOW_CLIPS = 256
SECONDS_PER_BATCH = 60.0
CHUNK_SECONDS = 60.0
CONTEXT_SECONDS = 2.0

Refuse = Callable[[Clip, str], None]


class ClipFeatures(NamedTuple):
    """All layers of one clip."""

    clip: Clip
    layers: list[Tensor]
    """``[frame, dim]`` each."""


def stream(
    clips: Iterable[Clip],
    source: FeatureSource,
    refuse: Refuse,
    layers: Sequence[int] | None = None,
    seconds_per_batch: float = SECONDS_PER_BATCH,
) -> Iterator[ClipFeatures]:
    """Yield the features of every usable clip.

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
    seconds_per_batch
        Audio in one batch, padding included.
    """
    iterator = iter(clips)
    keep = list(range(source.num_layers)) if layers is None else list(layers)
    with ThreadPoolExecutor(1) as pool:
        window = list(islice(iterator, WINDOW_CLIPS))
        while window:
            batches = group(window, seconds_per_batch)
            pending = pool.submit(_read, batches[0], source.sample_rate)
            for following in [*batches[1:], None]:
                usable, refused = pending.result()
                if following is not None:
                    pending = pool.submit(_read, following, source.sample_rate)
                for clip, reason in refused:
                    refuse(clip, reason)
                yield from _features(usable, source, keep, refuse)
            window = list(islice(iterator, WINDOW_CLIPS))


def group(clips: Sequence[Clip], seconds_per_batch: float) -> list[list[Clip]]:
    """Group clips of like length so that each batch, padded, holds at most `seconds_per_batch` (or one clip)."""
    batches: list[list[Clip]] = []
    for clip in sorted(clips, key=lambda c: -c.seconds):
        # Sorted from long to short: the first clip of a batch says how wide it is.
        if batches and (len(batches[-1]) + 1) * batches[-1][0].seconds <= seconds_per_batch:
            batches[-1].append(clip)
        else:
            batches.append([clip])
    return batches


Read = tuple[list[tuple[Clip, Tensor]], list[tuple[Clip, str]]]


def _read(clips: Sequence[Clip], sample_rate: int) -> Read:
    usable: list[tuple[Clip, Tensor]] = []
    refused: list[tuple[Clip, str]] = []
    for clip in clips:
        try:
            usable.append((clip, torch.from_numpy(read_clip(clip, sample_rate))))
        except AudioError as error:
            refused.append((clip, error.reason))
    return usable, refused


def _features(
    batch: list[tuple[Clip, Tensor]], source: FeatureSource, keep: list[int], refuse: Refuse
) -> Iterator[ClipFeatures]:
    long_samples = int(CHUNK_SECONDS * source.sample_rate)
    short: list[tuple[Clip, Tensor]] = []
    for clip, waveform in batch:
        if source.grid.num_frames(len(waveform)) == 0:
            refuse(clip, f"too short: {len(waveform)} samples give no frame (it needs {source.grid.num_samples(1)})")
        elif len(waveform) > long_samples:
            yield ClipFeatures(clip, _chunked(waveform, source, keep))
        else:
            short.append((clip, waveform))
    if not short:
        return
    padded = torch.nn.utils.rnn.pad_sequence([w for _, w in short], batch_first=True)
    hidden, frames = source(padded, torch.tensor([len(w) for _, w in short]))
    for row, (clip, _) in enumerate(short):
        yield ClipFeatures(clip, [hidden[layer][row, : int(frames[row])].clone() for layer in keep])


def _chunked(waveform: Tensor, source: FeatureSource, keep: list[int]) -> list[Tensor]:
    """Return the features of a long clip: as many frames as the whole clip has, each from a chunk with context."""
    grid = source.grid
    total = grid.num_frames(len(waveform))
    chunk = int(CHUNK_SECONDS * grid.frame_rate_hz)
    context = int(CONTEXT_SECONDS * grid.frame_rate_hz)
    parts: list[list[Tensor]] = []
    for first in range(0, total, chunk):
        last = min(first + chunk, total)
        start, stop = max(0, first - context), min(total, last + context)
        end = len(waveform) if stop == total else grid.frame_start_samples(stop) + grid.window_samples
        piece = waveform[grid.frame_start_samples(start) : end]
        hidden, _ = source(piece[None], torch.tensor([len(piece)]))
        parts.append([hidden[layer][0, first - start : last - start].clone() for layer in keep])
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]
