"""F-measure of beats and downbeats within a window (mir_eval), pooled over tracks, or averaged over them.

Answers are the ``beats`` of a manifest: ``0.512/1 1.024/2`` (seconds from the clip's start, number in the bar; the
number may be missing). Nothing is trimmed from a clip's start; evaluations of whole songs commonly leave out the first
five seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import mir_eval
import numpy as np

from audio_ssl.errors import UserError
from audio_ssl.metrics.additive import AdditiveMetric, Answer, Array, as_text
from audio_ssl.metrics.matches import f_metrics


def beat_times(text: str) -> tuple[Array, Array]:
    """Return the seconds of the beats, sorted, and their numbers in the bar (NaN where none is given).

    Raises
    ------
    UserError
        If it is not written so.

    Examples
    --------
    >>> beat_times("0.512/1 1.024/2 1.5")
    (array([0.512, 1.024, 1.5  ]), array([ 1.,  2., nan]))
    """
    rows = []
    for item in text.split():
        seconds, slash, number = item.partition("/")
        try:
            row = float(seconds), float(int(number)) if slash else np.nan
        except ValueError:
            row = np.nan, np.nan
        if not 0 <= row[0] < np.inf:
            raise UserError(f"`beats` must be like `0.512/1 1.024/2` (seconds/number in bar), but has `{item}`")
        rows.append(row)
    table = np.array(sorted(rows, key=lambda row: row[0]), np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _matches(window_seconds: float, downbeats: bool) -> Callable[[Answer, Answer], Array]:
    """Return the function that counts matches, reference beats and hypothesis beats."""

    def count(reference: Answer, hypothesis: Answer) -> Array:
        (right, number), (said, said_number) = beat_times(as_text(reference)), beat_times(as_text(hypothesis))
        if downbeats:
            if len(right) and np.isnan(number).all():
                # The reference does not know bars: nothing can be right or wrong.
                return np.zeros(3)
            right, said = right[number == 1], said[said_number == 1]
        matched = len(mir_eval.util.match_events(right, said, window_seconds)) if len(right) and len(said) else 0
        return np.array([matched, len(right), len(said)], np.float64)

    return count


def _metrics(name: str, window_seconds: float, downbeats: bool) -> tuple[AdditiveMetric, AdditiveMetric]:
    signature = f"window:{window_seconds}s|trim:0s|mir_eval:{mir_eval.__version__}"
    return f_metrics(name, "beats", _matches(window_seconds, downbeats), signature)


BEATS = tuple(
    metric
    for name, downbeats in (("beat", False), ("downbeat", True))
    for milliseconds in (70, 20)
    for metric in _metrics(f"{name}_f{milliseconds}", milliseconds / 1000, downbeats)
)
"""beat_f70, downbeat_f70, beat_f20, downbeat_f20 (windows of ±70 and ±20 ms), and their means over tracks."""
