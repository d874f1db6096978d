"""The beginnings of a few clips as small files inside the page, to be listened to.

MP3 at 16 kHz: every browser plays it, four seconds are about 16 kB, and the same samples give the same bytes (an Ogg
stream would carry a random number).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import soundfile

from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import AudioError, UserError

SAMPLE_RATE = 16_000
MOST_SECONDS = 4.0

Sounds = Mapping[str, str]
"""By id of the clip: a ``data:`` address, or in words why there is none."""


def excerpts(rows: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> dict[str, str]:
    """Read the first seconds of some clips.

    Parameters
    ----------
    rows
        Predictions with the manifest's columns.
    ids
        Of the clips that are wanted.

    Returns
    -------
    dict
        By id: a ``data:audio/mpeg`` address, or why the clip cannot be heard. Clips without a path are left out.
    """
    wanted = set(ids)
    found = {}
    for row in rows:
        clip_id = str(row.get("id"))
        if clip_id in wanted and row.get("path"):
            found[clip_id] = _excerpt(row)
    return found


def _excerpt(row: Mapping[str, Any]) -> str:
    try:
        clip = Clip.from_row({key: row.get(key) for key in ("id", "path", "start", "seconds", "sample_rate")})
        short = Clip(clip.id, clip.path, clip.start, min(clip.seconds, MOST_SECONDS), clip.sample_rate)
        samples = read_clip(short, SAMPLE_RATE)
    except (AudioError, UserError, OSError, TypeError):
        return "audio not found"
    kind, name = ("MP3", "mpeg") if "MP3" in soundfile.available_formats() else ("FLAC", "flac")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format=kind)
    return f"data:audio/{name};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
