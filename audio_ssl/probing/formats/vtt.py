"""Subtitles as WebVTT, which browsers show with `<track>`: the cues of `srt`."""

from __future__ import annotations

import html

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.probing.format import FormatTraits
from audio_ssl.probing.formats._cues import clock, cues

TRAITS = FormatTraits(".vtt", ("words",))


def encode(prediction: ClipPrediction) -> bytes:
    """Return the header and the cues."""
    blocks = (
        f"\n{clock(cue.start_ms, '.')} --> {clock(cue.end_ms, '.')}\n"
        + "\n".join(html.escape(line, quote=False) for line in cue.lines)
        + "\n"
        for cue in cues(prediction)
    )
    return ("WEBVTT\n" + "".join(blocks)).encode()
