"""Ogg: streams that follow one another in one file (chained, RFC 3533) are decoded one after the other.

The length of a stream is that of its last page. libsndfile ends with the first stream; joined files have several.
"""

from __future__ import annotations

from audio_ssl.data.mpeg import Data
from audio_ssl.data.views import Layout

_FIRST, _LAST = 2, 4
"""Of a page: it is the first, the last of its stream."""


def ogg_layout(data: Data) -> Layout:
    """Return how an Ogg file is decoded to its end.

    Parameters
    ----------
    data
        The whole file.
    """
    starts, place, beginning, ended = list[int](), 0, False, True
    while place + 27 <= len(data):
        if data[place : place + 4] != b"OggS":
            place = data.find(b"OggS", place + 1)
            if place < 0:
                break
            continue
        # Streams that lie side by side all begin before any goes on.
        first = bool(data[place + 5] & _FIRST)
        if first and not beginning:
            starts.append(place)
        beginning, ended = first, bool(data[place + 5] & _LAST)
        segments = data[place + 26]
        place += 27 + segments + sum(data[place + 27 : place + 27 + segments])
    cut = () if ended and place <= len(data) else ("the stream has no end: the file may have been cut",)
    if len(starts) < 2:
        return Layout(notes=cut)
    ends = [*starts[1:], len(data)]
    note = f"the file has {len(starts)} streams one after the other; all are used"
    return Layout(tuple(((a, b),) for a, b in zip(starts, ends, strict=True)), (note, *cut), exact=False)
