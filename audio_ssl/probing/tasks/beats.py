"""Beats and downbeats: activations of every frame, as MARBLE's beat tracking on GTZAN (Yuan et al. 2023).

Two sigmoids a frame. Beats are peaks of the first; downbeats are peaks of the second, each moved to the next beat. Or
beats are the likeliest course of a hidden Markov model and bars the likeliest of one metre throughout a clip, which is
slower and forgives weak beats. Scores pool the counts of all clips, and nothing is trimmed from their starts.

From activations of frames to beats: peaks, or a hidden Markov model of tempo and position; and the bars above them.

Peaks are those of Beat This! (Foscarin et al. 2024, arXiv 2407.21658): above a half and not below any neighbour within
70 ms. The model is the bar pointer of Krebs, Böck and Widmer 2015 over one beat, as madmom's DBNBeatTracker: states are
tempo and position, the tempo changes at beats only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.artifacts.clip_predictions import BeatTime, ClipPrediction
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.families.music import beat_times
from audio_ssl.probing.task import HeadOutput, TimesTask

DECODINGS = ("peaks", "viterbi")
_RADIUS_SECONDS = 0.07


@dataclass(frozen=True)
class Config:
    """Targets, and how activations become beats."""

    downbeats: bool = True
    """Detect downbeats, too; clips whose beats have no number in the bar are then left out."""

    widen: tuple[float, ...] = (0.95, 0.5)
    """Targets of the frames next to a beat, then of those next to them (MARBLE at 75 frames a second: 0.95, 0.5)."""

    decoding: str = "peaks"
    """``peaks``, or ``viterbi`` (MARBLE uses madmom's model of the same kind)."""

    threshold: float = 0.5
    """Lowest activation of a peak."""

    min_bpm: float = 55.0
    """Slowest tempo of ``viterbi``, in beats a minute (madmom: 55)."""

    max_bpm: float = 215.0
    """Fastest tempo of ``viterbi``, in beats a minute (madmom: 215)."""

    metres: tuple[int, ...] = (3, 4)
    """Beats a bar may have, for ``viterbi`` (madmom: 3 and 4)."""


class Beats(TimesTask):
    """Beats of the column ``beats``."""

    kind = "beats"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config
        names = ("beat", "downbeat") if config.downbeats else ("beat",)
        self.metrics: tuple[str, ...] = tuple(f"{name}_f{window}" for name in names for window in (70, 20))
        self.signature = f"decoding:{config.decoding}|counts pooled over clips, none trimmed"

    @property
    def classes(self) -> list[str]:
        """Return what each frame has an activation of."""
        return ["beat", "downbeat"] if self._config.downbeats else ["beat"]

    def why_not_text(self, text: str) -> str | None:
        """Return why beats cannot be used, or None."""
        _, numbers = beat_times(text)
        if self._config.downbeats and np.isnan(numbers).all():
            return "beats without numbers in the bar (`downbeats: false` asks for the beats alone)"
        return None

    def frame_target(self, clip: Clip, frames: int, grid: FrameGrid) -> Float[Tensor, "frame class"]:
        """Return 1 at the frame nearest to each beat, and what `widen` says beside it."""
        seconds, numbers = beat_times(self.reference(clip))
        target = torch.zeros(frames, len(self.classes))
        nearest = np.rint((seconds - grid.frame_center_seconds(0)) * grid.frame_rate_hz).astype(int)
        # A beat before the middle of the first window, or after that of the last, is that frame's.
        slack = int(np.ceil(grid.window_samples / grid.hop_samples))
        shape = [1.0, *self._config.widen]
        for frame, number in zip(nearest, numbers, strict=True):
            if not -slack <= frame < frames + slack:
                continue
            centre = min(max(int(frame), 0), frames - 1)
            columns = [0, 1] if self._config.downbeats and number == 1 else [0]
            for distance, value in enumerate(shape):
                for near in {centre - distance, centre + distance}:
                    if 0 <= near < frames:
                        target[near, columns] = target[near, columns].clamp(min=value)
        return target

    def hypothesis(self, prediction: Float[Tensor, "frame class"]) -> str:
        """Return the beats of a clip's logits, with their numbers in the bar where downbeats are asked for."""
        beats = self._beats(prediction)
        return " ".join(f"{one.time:.3f}" if one.number is None else f"{one.time:.3f}/{one.number}" for one in beats)

    def answered(self, times: bool) -> tuple[str, ...]:
        """Return the field of beats."""
        return ("beats",)

    def describe(self, empty: ClipPrediction, given: HeadOutput) -> ClipPrediction:
        """Return the beats."""
        return replace(empty, beats=tuple(self._beats(given.prediction)))

    def _beats(self, prediction: Float[Tensor, "frame class"]) -> list[BeatTime]:
        activation = prediction.detach().sigmoid().double().cpu().numpy()
        if len(activation) == 0:
            return []
        rate = self.grid.frame_rate_hz
        radius = max(1, round(_RADIUS_SECONDS * rate))
        if self._config.decoding == "viterbi":
            beats = viterbi(activation[:, 0], rate, self._config.min_bpm, self._config.max_bpm)
        else:
            beats = peaks(activation[:, 0], radius, self._config.threshold)
        numbers = self._numbers(activation, beats, radius)
        return [
            BeatTime(round(self.grid.frame_center_seconds(frame), 3), number, round(float(activation[frame, 0]), 4))
            for frame, number in zip(beats.tolist(), numbers, strict=True)
        ]

    def _numbers(self, activation: np.ndarray, beats: Frames, radius: int) -> list[int | None]:
        if not self._config.downbeats or len(beats) == 0:
            return [None] * len(beats)
        if self._config.decoding == "viterbi":
            near = [activation[max(0, frame - 1) : frame + 2, 1].max() for frame in beats]
            return list(bars(np.array(near), self._config.metres))
        return numbered(beats, peaks(activation[:, 1], radius, self._config.threshold))


def build(config: Config) -> Beats:
    """Make the task; UserError for another decoding, or numbers out of range."""
    if config.decoding not in DECODINGS:
        raise unknown_name("decoding of beats", config.decoding, DECODINGS, "$.task.decoding")
    if not 0 < config.min_bpm < config.max_bpm:
        raise UserError(f"must be above 0 and below `max_bpm` {config.max_bpm:g}", where="$.task.min_bpm")
    if not config.metres or min(config.metres) < 1:
        raise UserError("must name at least one number of beats, each 1 or more", where="$.task.metres")
    if not all(0 <= value <= 1 for value in config.widen):
        raise UserError("must be between 0 and 1", where="$.task.widen")
    return Beats(config)


Array = npt.NDArray[np.float64]
Frames = npt.NDArray[np.int64]

_TRANSITION = 100.0
"""How unlikely changes of tempo are (Krebs et al.: lambda of 100)."""

_BEAT_SHARE = 16
"""The beat itself takes one part in this many of an interval (Böck et al. 2014)."""

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
