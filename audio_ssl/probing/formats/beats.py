"""Beats as MIREX and mir_eval read them: the time, and with downbeats a tab and the number in the bar.

A beat whose place in the bar is not known, before the first downbeat, has the number 0. Without downbeats there is one
column. Times are seconds from the clip's start.
"""

from __future__ import annotations

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.probing.format import FormatTraits

TRAITS = FormatTraits(".beats", ("beats",))


def encode(prediction: ClipPrediction) -> bytes:
    """Return one line for each beat; an empty file where there is none."""
    beats = prediction.beats or ()
    numbered = any(one.number is not None for one in beats)
    return "".join(
        f"{one.time:.3f}\t{one.number or 0}\n" if numbered else f"{one.time:.3f}\n" for one in beats
    ).encode()
