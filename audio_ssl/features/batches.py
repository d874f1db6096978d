"""Clips to features: the one road that extraction, probes and Python programs take.

A clip's features do not depend on its batch. Clips longer than a chunk are cut into equal chunks on the frame grid,
with context on both sides. What the model computes over the whole clip (the mean and variance of the waveform, the
statistics of the frontend's group norm) is that of the whole clip, so the frontend's frames are those of the whole
file; attention sees its chunk and the context only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.features.decode import Refuse, RefusedClip, Spool, WholeClip, decode
from audio_ssl.features.settings import Settings
from audio_ssl.features.source import FeatureSource
from audio_ssl.features.walk import Item, items_of


class Piece(NamedTuple):
    """Consecutive frames of a clip; the pieces of a clip follow one another."""

    item: Item
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
    refuse: Refuse,
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
    items: Iterable[Item],
    source: FeatureSource,
    refuse: Refuse,
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
            yield from _batch(wholes, source, keep)


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


def plan(total: int, grid: FrameGrid, chunk_seconds: float, context_seconds: float) -> list[Chunk]:
    """Return equal chunks of `total` frames.

    Examples
    --------
    >>> plan(100, FrameGrid(16000, 320, 400), 1.0, 0.1)
    [Chunk(first=0, last=50, start=0, stop=55), Chunk(first=50, last=100, start=45, stop=100)]
    """
    count = math.ceil(total / max(1, int(chunk_seconds * grid.frame_rate_hz)))
    context = math.ceil(context_seconds * grid.frame_rate_hz)
    edges = [total * number // count for number in range(count + 1)]
    return [Chunk(first, last, max(0, first - context), min(total, last + context)) for first, last in pairwise(edges)]


def _chunks(spool: Spool, source: FeatureSource, keep: Sequence[int], settings: Settings) -> Iterator[Piece]:
    grid = source.grid
    total = grid.num_frames(spool.samples)
    chunks = plan(total, grid, settings.chunk_seconds, settings.context_seconds)
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
    # A window more than the last frame's start, which is exact for whole windows and enough for centred ones.
    stop = chunk.stop - 1 if grid.edge == "valid" else chunk.stop
    whole = chunk.stop >= grid.num_frames(samples)
    end = samples if whole else min(samples, grid.frame_start_samples(stop) + grid.window_samples)
    return grid.frame_start_samples(chunk.start), end
