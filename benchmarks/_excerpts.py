"""Stretches of clips, with the notes, chords and beats that are in them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from audio_ssl.data.manifest import Clip

OF = "of"
"""Column of an excerpt: the name of its clip."""

_SHARE = 0.8
"""Of a clip; what is behind is often a last chord that dies away, or silence."""


def excerpts(clip: Clip, seconds: float, number: int = 1) -> list[Clip]:
    """Return stretches in the first four fifths of a clip, at even distances from a place that its name's hash chooses.

    Parameters
    ----------
    clip
        May be shorter: then the only excerpt is the whole of it.
    seconds
        Length of each.
    number
        How many; the first has the name of the clip, the others have a number behind it.
    """
    room = max(0.0, _SHARE * clip.seconds - seconds)
    first = int(hashlib.sha256(clip.id.encode()).hexdigest()[:8], 16) / 2**32
    found = []
    for count in range(number if room > 0 else 1):
        at = room * ((first + count / number) % 1)
        name = f"{clip.id} {count + 1}" if count else clip.id
        found.append(_cut(replace(clip, id=name, extra={**clip.extra, OF: clip.id}), at, min(seconds, clip.seconds)))
    return found


def _cut(clip: Clip, at: float, seconds: float) -> Clip:
    extra: dict[str, Any] = dict(clip.extra)
    for column in ("notes", "chords"):
        if column in extra:
            extra[column] = spans_inside(str(extra[column]), at, seconds)
    if "beats" in extra:
        extra["beats"] = beats_inside(str(extra["beats"]), at, seconds)
    return replace(clip, start=clip.start + at, seconds=seconds, extra=extra)


def spans_inside(text: str, at: float, seconds: float) -> str:
    """Return what is in a stretch of ``start end name; start end name``, by the stretch's own time.

    Examples
    --------
    >>> spans_inside("0.0 1.0 60; 0.5 2.5 64; 3.0 4.0 67", 1.0, 1.0)
    '0.0000 1.0000 64'
    """
    found = []
    for item in filter(None, (part.strip() for part in text.split(";"))):
        start, end, name = item.split(maxsplit=2)
        begin, last = max(0.0, float(start) - at), min(seconds, float(end) - at)
        if last - begin > _SHORTEST_SECONDS:
            found.append(f"{begin:.4f} {last:.4f} {name}")
    return "; ".join(found)


def beats_inside(text: str, at: float, seconds: float) -> str:
    """Return what is in a stretch of ``time/number time/number``, by the stretch's own time.

    Examples
    --------
    >>> beats_inside("0.5/1 1.25/2 2.0/3", 1.0, 1.0)
    '0.250/2'
    """
    found = []
    for item in text.split():
        time, mark, number = item.partition("/")
        inside = float(time) - at
        if 0 <= inside < seconds:
            found.append(f"{inside:.3f}{mark}{number}")
    return " ".join(found)


_SHORTEST_SECONDS = 0.005
"""Less of a note or a chord than this is not told from its neighbour."""
