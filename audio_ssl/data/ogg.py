"""Ogg: streams that follow one another in one file (chained, RFC 3533) are decoded one after the other.

The length of a stream is that of its last page. libsndfile ends with the first stream; joined files have several. A
page whose checksum is wrong is left out by decoders without a word, so checksums and numbers of pages are looked at
here.
"""

from __future__ import annotations

import zlib

from audio_ssl.data.views import Data, Layout

_FIRST, _LAST = 2, 4
"""Of a page: it is the first, the last of its stream."""
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the opposite order."""


def ogg_layout(data: Data) -> Layout:
    """Return how an Ogg file is decoded to its end.

    Parameters
    ----------
    data
        The whole file.
    """
    starts, place, beginning, ended = list[int](), 0, False, True
    expected: dict[bytes, int] = {}
    broken = 0
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
        end = place + 27 + segments + sum(data[place + 27 : place + 27 + segments])
        if end > len(data):
            # Cut: nothing follows.
            place = end
        elif _is_whole(data[place:end]):
            serial, number = data[place + 14 : place + 18], int.from_bytes(data[place + 18 : place + 22], "little")
            broken += number != expected.get(serial, number) and not first
            expected[serial] = number + 1
            place = end
        else:
            # Its length may be what is damaged. What follows it has another number than is expected.
            broken += 1
            expected.clear()
            place += 4
    notes = [] if ended and place <= len(data) else ["the stream has no end: the file may have been cut"]
    if broken:
        notes.append(f"damaged or missing pages in {_places(broken)}: what can be decoded is used")
    if len(starts) < 2:
        return Layout(notes=tuple(notes), exact=not broken)
    ends = [*starts[1:], len(data)]
    note = f"the file has {len(starts)} streams one after the other; all are used"
    return Layout(tuple(((a, b),) for a, b in zip(starts, ends, strict=True)), (note, *notes), exact=False)


def _is_whole(page: bytes) -> bool:
    """Return whether a page has the checksum that it says: the CRC of Ogg, which is zip's on mirrored bits."""
    said = int.from_bytes(page[22:26], "little")
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
    found = zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2) == said


def _places(count: int) -> str:
    return "one place" if count == 1 else f"{count} places"
