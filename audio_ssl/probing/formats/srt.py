"""Subtitles as SubRip: cues of at most two lines and seven seconds, cut at pauses; seconds from the clip's start."""

from __future__ import annotations

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.probing.format import FormatTraits
from audio_ssl.probing.formats._cues import clock, cues

TRAITS = FormatTraits(".srt", ("words",))


def encode(prediction: ClipPrediction) -> bytes:
    """Return the cues, numbered from 1; an empty file where nothing was said."""
    blocks = (
        f"{number}\n{clock(cue.start_ms, ',')} --> {clock(cue.end_ms, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues(prediction), 1)
    )
    return "\n".join(blocks).encode()
