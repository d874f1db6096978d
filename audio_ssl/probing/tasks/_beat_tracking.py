"""From activations of frames to beats: peaks, or a hidden Markov model of tempo and position; and the bars above them.

Peaks are those of Beat This! (Foscarin et al. 2024, arXiv 2407.21658): above a half and not below any neighbour within
70 ms. The model is the bar pointer of Krebs, Böck and Widmer 2015 over one beat, as madmom's DBNBeatTracker: states are
tempo and position, the tempo changes at beats only.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Frames = npt.NDArray[np.int64]

_TRANSITION = 100.0
"""How unlikely changes of tempo are (Krebs et al.: lambda of 100)."""

_BEAT_SHARE = 16
"""One part in so many of an interval is the beat itself (Böck et al. 2014)."""

_EPSILON = 1e-6


def peaks(activation: Array, radius_frames: int, threshold: float) -> Frames:
    """Return frames of ``[frame]`` above `threshold` that no neighbour within the radius exceeds.

    Neighbouring frames of one height are one peak, in their middle.

    Examples
    --------
    >>> peaks(np.array([0.0, 0.9, 0.9, 0.9, 0.0, 0.4, 0.0]), 1, 0.5)
    array([2])
    """
    padded = np.pad(activation, radius_frames, constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius_frames + 1).max(1)
    found = np.flatnonzero((activation >= highest) & (activation > threshold))
    groups = np.split(found, np.flatnonzero(np.diff(found) > 1) + 1)
    return np.array([group[len(group) // 2] for group in groups if len(group)], dtype=np.int64)


def viterbi(activation: Array, frame_rate_hz: float, min_bpm: float, max_bpm: float) -> Frames:
    """Return the frames of the beats of the likeliest course of tempo and position.

    Parameters
    ----------
    activation
        ``[frame]`` between 0 and 1.
    frame_rate_hz
        Frames a second.
    min_bpm, max_bpm
        Slowest and fastest tempo, in beats a minute.
    """
    shortest = max(1, round(60 * frame_rate_hz / max_bpm))
    intervals = np.arange(shortest, max(shortest, round(60 * frame_rate_hz / min_bpm)) + 1)
    last = np.cumsum(intervals) - 1
    first = last - intervals + 1
    position = np.arange(last[-1] + 1) - np.repeat(first, intervals)
    at_beat = position < np.repeat(intervals / _BEAT_SHARE, intervals)
    changes = -_TRANSITION * np.abs(intervals[None] / intervals[:, None] - 1)
    changes -= np.log(np.exp(changes).sum(1, keepdims=True))
    clipped = activation.clip(_EPSILON, 1 - _EPSILON)
    beat, rest = np.log(clipped), np.log((1 - clipped) / (_BEAT_SHARE - 1))
    score = np.where(at_beat, beat[0], rest[0])
    came_from = np.zeros((len(activation), len(intervals)), dtype=np.int64)
    for frame in range(1, len(activation)):
        arrivals = score[last][:, None] + changes
        came_from[frame] = arrivals.argmax(0)
        score[1:] = score[:-1]
        score[first] = arrivals.max(0)
        score += np.where(at_beat, beat[frame], rest[frame])
    return _trace(activation, came_from, int(score.argmax()), first, intervals, position)


def _trace(
    activation: Array, came_from: Frames, state: int, first: Frames, intervals: Frames, position: Frames
) -> Frames:
    """Return the highest frame of the beat at each start of an interval on the best path."""
    found: list[int] = []
    end = len(activation)
    interval = int(np.searchsorted(first, state, side="right")) - 1
    start = end - 1 - int(position[state])
    while start >= 0:
        width = int(np.ceil(intervals[interval] / _BEAT_SHARE))
        found.append(start + int(activation[start : min(start + width, end)].argmax()))
        if start == 0:
            break
        interval = int(came_from[start, interval])
        start -= int(intervals[interval])
    return np.array(found[::-1], dtype=np.int64)


def bars(strength: Array, metres: tuple[int, ...]) -> list[int]:
    """Return each beat's number in the bar, for one metre throughout.

    Parameters
    ----------
    strength
        ``[beat]``, activation of a downbeat at each beat, between 0 and 1.
    metres
        Beats a bar may have; that metre and beginning are taken under which the activations are likeliest.

    Examples
    --------
    >>> bars(np.array([0.1, 0.9, 0.1, 0.2, 0.8]), (3, 4))
    [3, 1, 2, 3, 1]
    """
    clipped = strength.clip(_EPSILON, 1 - _EPSILON)
    gain = np.log(clipped) - np.log(1 - clipped)
    options = [(metre, first) for metre in metres for first in range(metre)]
    metre, first = max(options, key=lambda option: gain[option[1] :: option[0]].sum())
    return [(beat - first) % metre + 1 for beat in range(len(strength))]


def numbered(beats: Frames, downbeats: Frames) -> list[int | None]:
    """Return each beat's number in the bar: each downbeat counts for the beat next to it; None before the first.

    Examples
    --------
    >>> numbered(np.array([3, 10, 20, 30]), np.array([11, 29]))
    [None, 1, 2, 1]
    """
    if len(beats) == 0 or len(downbeats) == 0:
        return [None] * len(beats)
    ones = sorted({int(np.abs(beats - frame).argmin()) for frame in downbeats})
    found: list[int | None] = [None] * ones[0]
    for start, end in pairwise([*ones, len(beats)]):
        found += list(range(1, end - start + 1))
    return found
