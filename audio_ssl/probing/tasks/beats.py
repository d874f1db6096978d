"""Beats and downbeats: activations of every frame, as MARBLE's beat tracking on GTZAN (Yuan et al. 2023).

Two sigmoids a frame. Beats are peaks of the first; downbeats are peaks of the second, each moved to the next beat. Or
beats are the likeliest course of a hidden Markov model and bars the likeliest of one metre throughout a clip, which is
slower and forgives weak beats. Scores pool the counts of all clips, and nothing is trimmed from their starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError, unknown_name
from audio_ssl.metrics.beats import beat_times
from audio_ssl.probing.tasks._beat_tracking import Frames, bars, numbered, peaks, viterbi
from audio_ssl.probing.tasks._frames import TimesTask

DECODINGS = ("peaks", "viterbi")
_RADIUS_SECONDS = 0.07


@dataclass(frozen=True)
class Config:
    """Targets, and how activations become beats."""

    downbeats: bool = True
    """Ask for downbeats, too; clips whose beats have no number in the bar are then left out."""

    widen: tuple[float, ...] = (0.95, 0.5)
    """Targets of the frames next to a beat, then of those next to them (MARBLE at 75 frames a second: 0.95, 0.5)."""

    decoding: str = "peaks"
    """``peaks``, or ``viterbi`` (MARBLE uses madmom's model of the same kind)."""

    threshold: float = 0.5
    """Of peaks."""

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
        activation = prediction.sigmoid().double().cpu().numpy()
        if len(activation) == 0:
            return ""
        rate = self.grid.frame_rate_hz
        radius = max(1, round(_RADIUS_SECONDS * rate))
        if self._config.decoding == "viterbi":
            beats = viterbi(activation[:, 0], rate, self._config.min_bpm, self._config.max_bpm)
        else:
            beats = peaks(activation[:, 0], radius, self._config.threshold)
        seconds = [self.grid.frame_center_seconds(int(frame)) for frame in beats]
        numbers = self._numbers(activation, beats, radius)
        pairs = zip(seconds, numbers, strict=True)
        return " ".join(f"{time:.3f}" if number is None else f"{time:.3f}/{number}" for time, number in pairs)

    def _numbers(self, activation: np.ndarray, beats: Frames, radius: int) -> list[int | None]:
        if not self._config.downbeats or len(beats) == 0:
            return [None] * len(beats)
        if self._config.decoding == "viterbi":
            near = [activation[max(0, frame - 1) : frame + 2, 1].max() for frame in beats]
            return list(bars(np.array(near), self._config.metres))
        return numbered(beats, peaks(activation[:, 1], radius, self._config.threshold))


def build(config: Config) -> Beats:
    """Make the task; UserError for another decoding, or settings that cannot be."""
    if config.decoding not in DECODINGS:
        raise unknown_name("decoding of beats", config.decoding, DECODINGS, "$.task.decoding")
    if not 0 < config.min_bpm < config.max_bpm:
        raise UserError(f"must be above 0 and below `max_bpm` {config.max_bpm:g}", where="$.task.min_bpm")
    if not config.metres or min(config.metres) < 1:
        raise UserError("must name at least one number of beats, each 1 or more", where="$.task.metres")
    if not all(0 <= value <= 1 for value in config.widen):
        raise UserError("must be between 0 and 1", where="$.task.widen")
    return Beats(config)
