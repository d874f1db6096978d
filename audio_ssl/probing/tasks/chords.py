"""Chords of every frame: 12 major, 12 minor, or none (mir_eval's majmin), scored by the time that is right.

The vocabulary of MusicFM and of Chords1217 as MERT and others are compared on. A frame whose chord is neither major nor
minor, or which the annotation leaves open, trains nothing and is not scored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import mir_eval
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.artifacts.clip_predictions import ClipPrediction, TimedLabel
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.families.music import segments
from audio_ssl.probing.task import IGNORED, HeadOutput, TimesTask

_TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
CHORDS = ("N", *(f"{tonic}:{mode}" for mode in ("maj", "min") for tonic in _TONICS))
"""No chord, then the 24 triads."""

_UP_TO_THE_FIFTH = 8


@dataclass(frozen=True)
class Config:
    """How scores of frames become chords."""

    change_cost: float = 0.0
    """Nats that a change of chord costs on the likeliest path (Viterbi); 0: each frame for itself."""


class Chords(TimesTask):
    """Chords of the column ``chords``."""

    kind = "chords"
    metrics: tuple[str, ...] = ("chord_accuracy",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._change_cost = config.change_cost
        self.signature = f"majmin|change cost {config.change_cost:g}"

    @property
    def classes(self) -> list[str]:
        """Return the chords."""
        return list(CHORDS)

    def why_not_text(self, text: str) -> str | None:
        """Return why chords cannot be used, or None."""
        _, labels = segments(text)
        classes = [chord_class(label) for label in labels]
        return None if any(one >= 0 for one in classes) else "no major or minor chord, and no N"

    def frame_target(self, clip: Clip, frames: int, grid: FrameGrid) -> Int[Tensor, " frame"]:
        """Return the chord at the middle of each frame; `IGNORED` where there is none to learn."""
        intervals, labels = segments(self.reference(clip))
        middles = grid.frame_center_seconds(0) + np.arange(frames) / grid.frame_rate_hz
        target = np.full(frames, IGNORED)
        for (start, end), label in zip(intervals, labels, strict=True):
            target[(middles >= start) & (middles < end)] = chord_class(label)
        return torch.from_numpy(target)

    def hypothesis(self, prediction: Float[Tensor, "frame class"]) -> str:
        """Return the chords of a clip's logits as ``start end label; start end label``, in seconds."""
        chords = self._chords(prediction)
        return "; ".join(f"{one.start:.4f} {one.end:.4f} {one.label}" for one in chords)

    def answered(self, times: bool) -> tuple[str, ...]:
        """Return the field of chords."""
        return ("segments",)

    def describe(self, empty: ClipPrediction, given: HeadOutput) -> ClipPrediction:
        """Return the chords."""
        return replace(empty, segments=tuple(self._chords(given.prediction)))

    def _chords(self, prediction: Float[Tensor, "frame class"]) -> list[TimedLabel]:
        frames = len(prediction)
        if frames == 0:
            return []
        scores = prediction.detach().double().log_softmax(-1).cpu()
        path = _path(scores, self._change_cost)
        on_path = scores[torch.arange(frames), torch.from_numpy(path)].exp()
        starts = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist()]
        hop = self.grid.hop_samples / self.grid.sample_rate
        edges = [0.0, *(self.grid.frame_center_seconds(frame) - hop / 2 for frame in starts[1:])]
        # The last chord goes on to the clip's end, which is at the latest where one more frame would begin to fit.
        edges.append(max(self.grid.num_samples(frames + 1) / self.grid.sample_rate, edges[-1] + hop))
        found = []
        for place, (first, last) in enumerate(pairwise([*starts, frames])):
            start, end = (round(edge, 4) for edge in edges[place : place + 2])
            likely = round(float(on_path[first:last].mean()), 4)
            found.append(TimedLabel(start, end, CHORDS[int(path[first])], likely))
        return found


@lru_cache(maxsize=4096)
def chord_class(label: str) -> int:
    """Return the place of a chord's triad in `CHORDS`, `IGNORED` for what is neither major, minor nor none.

    Raises
    ------
    UserError
        If the label is not in Harte's syntax.

    Examples
    --------
    >>> CHORDS[chord_class("Bb:min7/b3")], chord_class("C:sus4") == IGNORED
    ('A#:min', True)
    """
    try:
        root, semitones, _ = mir_eval.chord.encode(label)
    except mir_eval.chord.InvalidChordException as error:
        raise UserError(f"a chord must be in Harte's syntax, as `C:maj` or `N`: {error}") from error
    if label == mir_eval.chord.NO_CHORD:
        return 0
    for number, mode in enumerate(("maj", "min")):
        triad = mir_eval.chord.QUALITIES[mode][:_UP_TO_THE_FIFTH]
        if root >= 0 and list(semitones[:_UP_TO_THE_FIFTH]) == list(triad):
            return 1 + 12 * number + int(root)
    return IGNORED


def _path(scores: Float[Tensor, "frame class"], cost: float) -> np.ndarray:
    """Return the likeliest class of each frame where each change costs."""
    if cost <= 0:
        return scores.argmax(-1).numpy()
    table = scores.numpy()
    best = table[0].copy()
    came_from = np.empty(table.shape, dtype=np.int64)
    for frame in range(1, len(table)):
        top = int(best.argmax())
        stays = best >= best[top] - cost
        came_from[frame] = np.where(stays, np.arange(len(best)), top)
        best = np.where(stays, best, best[top] - cost) + table[frame]
    path = [int(best.argmax())]
    for frame in range(len(table) - 1, 0, -1):
        path.append(int(came_from[frame, path[-1]]))
    return np.array(path[::-1])


def build(config: Config) -> Chords:
    """Make the task; UserError for a negative cost."""
    if config.change_cost < 0:
        raise UserError(f"must not be below 0, but is {config.change_cost:g}", where="$.task.change_cost")
    return Chords(config)
