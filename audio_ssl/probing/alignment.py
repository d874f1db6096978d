"""When a CTC head says each token: the frames of a token sequence on the likeliest path (forced alignment).

Where the tokens are those of the best class of each frame, their frames are the runs of that path. Those of another
sequence, of a beam search, are found by Viterbi over blanks and tokens (Graves et al. 2006), as torchaudio's
`forced_align` does; the tests compare the two. CTC marks a token at one or a few frames, so starts and ends are those
of the marks, not of the sounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.probing.head import greedy

_MOST_CELLS = 1 << 28
"""Bytes of the table of the path's steps. Beyond that, states far from the best one are left out."""

_FEWEST_STATES = 1024


@dataclass(frozen=True)
class TokenFrames:
    """Frames in which a token is said."""

    first: int
    last: int
    """The one after the last."""

    probability: float
    """Mean over the frames."""

    def seconds(self, grid: FrameGrid, clip_seconds: float) -> tuple[float, float]:
        """Return start and end within the clip: half a hop before the middle of a frame, and half a hop after."""
        half = grid.hop_samples / grid.sample_rate / 2
        start, end = (grid.frame_center_seconds(frame) for frame in (self.first, self.last - 1))
        return round(min(max(start - half, 0.0), clip_seconds), 4), round(min(end + half, clip_seconds), 4)


def align(log_probabilities: Float[Tensor, "frame class"], tokens: Sequence[int]) -> list[TokenFrames] | None:
    """Return the frames of each token on the likeliest path through all of them, or None where there is no path.

    Parameters
    ----------
    log_probabilities
        Of the blank (class 0) and the tokens, natural logarithms.
    tokens
        Ids without the blank, from 0: token 0 is class 1.

    Notes
    -----
    The path is exact while frames times states (twice the tokens and one) are below 2^28: ten minutes of speech. Of
    longer clips, only states near the best one are followed.
    """
    table = log_probabilities.detach().float().cpu()
    if len(table) == 0:
        return None if len(tokens) else []
    best = table.argmax(-1)
    if greedy(best).tolist() == list(tokens):
        path = marks = best.numpy()
    else:
        classes = np.asarray(tokens, dtype=np.int64) + 1
        states = _viterbi(table.numpy(), classes)
        if states is None:
            return None
        marks = np.where(states % 2 == 1, states, 0)
        path = np.where(marks > 0, np.append(classes, 0)[marks // 2], 0)
    likely = np.exp(np.take_along_axis(table.numpy(), path[:, None], 1)[:, 0].astype(np.float64))
    # A run of one class, or of one state, is one token; 0 is the blank.
    starts = np.r_[0, np.flatnonzero(np.diff(marks)) + 1]
    ends = np.r_[starts[1:], len(marks)]
    means = np.add.reduceat(likely, starts) / (ends - starts)
    said = marks[starts] != 0
    runs = zip(starts[said].tolist(), ends[said].tolist(), means[said].tolist(), strict=True)
    return [TokenFrames(*run) for run in runs]


def _viterbi(table: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """Return the state of each frame: even ones are blanks, state 2 i + 1 is token i."""
    frames, count = len(table), 2 * len(classes) + 1
    labels = np.zeros(count, dtype=np.int64)
    labels[1::2] = classes
    # A blank between two tokens may be left out, unless they are the same.
    skips = np.zeros(count, dtype=bool)
    skips[3::2] = classes[1:] != classes[:-1]
    width = min(count, max(_FEWEST_STATES, _MOST_CELLS // frames))
    steps = np.zeros((frames, width), dtype=np.uint8)
    lows = np.zeros(frames, dtype=np.int64)
    score = np.full(width, -np.inf)
    score[: min(2, count)] = table[0, labels[: min(2, count)]]
    for frame in range(1, frames):
        low = lows[frame - 1]
        if width < count:
            low = _next_low(low, score, width, count, frames - 1 - frame)
        lows[frame] = low
        moved = int(low - lows[frame - 1])
        # Two states before the window are needed for steps and skips into it.
        before = np.full(width + 2, -np.inf)
        kept = score[max(moved - 2, 0) :]
        place = max(2 - moved, 0)
        before[place : place + len(kept)] = kept[: width + 2 - place]
        best, taken = before[2:].copy(), steps[frame]
        skip = np.where(skips[low : low + width], before[:-2], -np.inf)
        for distance, option in ((1, before[1:-1]), (2, skip)):
            better = option > best
            taken[better] = distance
            np.maximum(best, option, out=best)
        score = best + table[frame, labels[low : low + width]]
    low = lows[-1]
    ends = [state for state in (count - 1, count - 2) if low <= state < low + width]
    if not ends or not np.isfinite(max(score[state - low] for state in ends)):
        return None
    state = max(ends, key=lambda one: float(score[one - low]))
    path = np.empty(frames, dtype=np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state - lows[frame]])
    return path


def _next_low(low: int, score: npt.NDArray[np.float64], width: int, count: int, left: int) -> int:
    """Return the first state to follow: the best one stays in the middle, and the last one can be reached in time."""
    middle = low + int(score.argmax()) - width // 2
    reachable = count - 2 * (left + 1) - width
    return int(np.clip(max(middle, reachable), low, min(low + width // 4 + 2, count - width)))
