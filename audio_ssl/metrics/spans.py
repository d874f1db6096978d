"""Phones and words in clips, with their frames: what is compared without training, and what units are held to."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.data.time_columns import timed_labels
from audio_ssl.metrics.families.zero_resource import AbxItem
from audio_ssl.metrics.resampling import MIN_CLUSTERS

Frames = Callable[[Clip], Float[Tensor, "frame dim"]]


@dataclass(frozen=True)
class Span:
    """A labelled stretch of a clip."""

    start: float
    """Seconds from the clip's start."""

    end: float
    """Seconds from the clip's start."""

    label: str
    """The phone or word."""


@dataclass(frozen=True)
class Stretch:
    """A stretch of a clip with its frames."""

    clip: Clip
    span: Span
    before: str
    """The label before it; ``#`` at a clip's start or after a gap."""

    after: str
    """The label after it; ``#`` at a clip's end or before a gap."""

    frames: Float[Tensor, "frame dim"]

    @property
    def speaker(self) -> str:
        """Return who speaks: the clip's own id where nobody is named."""
        return self.clip.speaker or self.clip.id


EDGE = "#"
SILENCES = ("SIL", "sil", "sp", "spn", "SPN", "")
"""Labels that are no phones."""
_GAP_SECONDS = 0.02


def spans_of(text: str, column: str) -> list[Span]:
    """Read ``start end label; start end label``, by start.

    Raises
    ------
    UserError
        If it is not written so.

    Examples
    --------
    >>> spans_of("0.1 0.25 AH0; 0.25 0.4 S", "phone_times")[1]
    Span(start=0.25, end=0.4, label='S')
    """

    def wrong(item: str) -> str:
        return f"`{column}` must be like `0.1 0.25 AH0; 0.25 0.4 S` (seconds), but has `{item}`"

    found = [Span(*row) for row in timed_labels(text, str, wrong)]
    return sorted(found, key=lambda span: (span.start, span.end))


def why_no_spans(clip: Clip, column: str | None) -> str | None:
    """Return why a clip has no stretches, or None. Without a column the clip's label is all of it."""
    if column is None:
        return None if clip.label else "no label"
    text = clip.extra.get(column)
    if text is None or not str(text).strip(" ;"):
        return f"no `{column}`"
    try:
        spans_of(str(text), column)
    except UserError as error:
        return error.what
    return None


def pieces_of(
    clips: Sequence[Clip],
    column: str | None,
    frames: Frames,
    grid: FrameGrid,
    wanted: Callable[[Span], bool] = lambda _: True,
    wide: bool = False,
) -> Iterator[Stretch]:
    """Yield the stretches of some clips that are wanted and have a frame.

    A frame is in a stretch when the middle of its window is. A stretch that is shorter than a hop has the frame nearest
    to its middle; one beyond the last frame has none and is left out. `wide` ones have the frames of their neighbours,
    too; those at an edge are then left out.
    """
    for clip in clips:
        if column is None:
            spans = [Span(0.0, clip.seconds, clip.label or "")]
        else:
            spans = spans_of(str(clip.extra[column]), column)
        if not any(wanted(span) for span in spans):
            continue
        all_frames = frames(clip)
        for number, span in enumerate(spans):
            before, after = _neighbour(spans, number, -1), _neighbour(spans, number, 1)
            if not wanted(span) or (wide and (before is None or after is None)):
                continue
            stretch = Span(before.start, after.end, span.label) if wide and before and after else span
            inside = all_frames if column is None else _cut(all_frames, stretch, grid)
            if len(inside):
                left, right = (one.label if one is not None else EDGE for one in (before, after))
                # A copy: a slice would keep the frames of the whole clip.
                yield Stretch(clip, span, left, right, inside.clone())


def abx_items(pieces: Iterable[Stretch], context: bool = True, ignore: Collection[str] = SILENCES) -> list[AbxItem]:
    """Return the tokens that ABX compares.

    Parameters
    ----------
    pieces
        Labelled stretches, for triphones with the frames of their neighbours.
    context
        Whether tokens are compared between the same neighbours alone; those at an edge are then left out.
    ignore
        Labels that are no neighbours.
    """
    items = []
    for piece in pieces:
        around = f"{piece.before}+{piece.after}" if context else ""
        if around and {piece.before, piece.after} & {EDGE, *ignore}:
            continue
        items.append(AbxItem(piece.span.label, around, piece.speaker, piece.frames))
    return items


def labels_of_frames(spans: Sequence[Span], grid: FrameGrid, frames: int) -> list[str | None]:
    """Return the label at the middle of each frame's window; None between stretches.

    Examples
    --------
    >>> labels_of_frames([Span(0.0, 0.0326, "a"), Span(0.0326, 0.05, "b")], FrameGrid(16000, 320, 400), 4)
    ['a', 'a', None, None]
    """
    middles = grid.frame_center_seconds(0) + np.arange(frames) / grid.frame_rate_hz
    place = np.searchsorted([span.start for span in spans], middles + 1e-9, side="right") - 1
    return [
        spans[index].label if index >= 0 and middle < spans[index].end else None
        for index, middle in zip(place.tolist(), middles.tolist(), strict=True)
    ]


def _neighbour(spans: Sequence[Span], number: int, step: int) -> Span | None:
    """Return the stretch that touches this one on one side."""
    other = number + step
    if not 0 <= other < len(spans):
        return None
    gap = spans[max(number, other)].start - spans[min(number, other)].end
    return spans[other] if gap < _GAP_SECONDS else None


def _cut(frames: Float[Tensor, "frame dim"], span: Span, grid: FrameGrid) -> Float[Tensor, "some dim"]:
    def place(seconds: float) -> float:
        return (seconds - grid.frame_center_seconds(0)) * grid.frame_rate_hz

    first, last = max(0, math.ceil(place(span.start) - 1e-6)), math.ceil(place(span.end) - 1e-6)
    if first >= last:
        first = max(0, round(place((span.start + span.end) / 2)))
        last = first + 1
    return frames[first:last]


def resampled(frames: Float[Tensor, "frame dim"], count: int) -> Float[Tensor, " flat"]:
    """Return `count` frames at even distances, flattened: an acoustic word embedding by down-sampling.

    Holzenberger et al. 2018; between two frames the value is interpolated.
    """
    steps = torch.linspace(0, len(frames) - 1, count, device=frames.device)
    low = steps.floor().long()
    share = (steps - low)[:, None]
    high = (low + 1).clamp(max=len(frames) - 1)
    return ((1 - share) * frames[low] + share * frames[high]).flatten()


def standardised(clips: Sequence[Clip], frames: Frames) -> Frames:
    """Return frames less the mean and over the deviation of each dimension, over all frames of some clips."""
    total, sums, squares = 0, torch.zeros(()), torch.zeros(())
    for clip in clips:
        one = frames(clip).double()
        total, sums, squares = total + len(one), sums + one.sum(0), squares + one.square().sum(0)
    mean = sums / total
    scale = (squares / total - mean.square()).clamp(min=1e-12).rsqrt()
    return lambda clip: ((frames(clip) - mean) * scale).float()


def enough_speakers(pieces: Sequence[Stretch]) -> bool:
    """Return whether speakers can be resampled: there are at least five."""
    return len({piece.speaker for piece in pieces}) >= MIN_CLUSTERS
