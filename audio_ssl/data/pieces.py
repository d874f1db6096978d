"""Long recordings in pieces of equal length, for corpora whose annotations are times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError


def piece_seconds(text: str, corpus: str) -> float:
    """Read the option `seconds` of a corpus: the longest piece, 0 for whole recordings.

    Raises
    ------
    UserError
        If it is neither 0 nor at least 1.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and (seconds == 0 or seconds >= 1)):
        raise UserError(f"`seconds` must be 0 or at least 1, but is `{text}`", where=f"corpus {corpus}")
    return seconds


def pieces(clip: Clip, longest: float) -> Iterator[tuple[Clip, float]]:
    """Yield pieces of equal length up to `longest` seconds, each with where it begins in the clip; 0: the clip itself.

    Ids of pieces are the clip's with ``#000``, ``#001`` behind.
    """
    count = max(1, math.ceil(clip.seconds / longest - 1e-9)) if longest else 1
    length = clip.seconds / count
    for number in range(count):
        begin = number * length
        name = clip.id if count == 1 else f"{clip.id}#{number:03d}"
        yield replace(clip, id=name, start=clip.start + begin, seconds=length), begin
