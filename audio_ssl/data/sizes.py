"""AIFF, AU, CAF, RF64, W64 and SPHERE: the size of the audio data that the header gives, and what the file holds.

libsndfile takes what is there of most files that were cut. It needs help where a header says 0 or "not known", and says
nothing of what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from audio_ssl.data.views import NOT_KNOWN_BYTES, Data, Layout

Order = Literal["big", "little"]


@dataclass(frozen=True)
class _Size:
    """What a header says of its data."""

    said: int
    """Bytes; 0 or less: not known."""
    begin: int
    """Of the data."""
    place: int
    """Where the size stands."""
    width: int
    order: Order
    mend: bool
    """Whether libsndfile needs the size to be right."""


def _au(data: Data) -> _Size | None:
    if data[:4] != b".snd":
        return None
    begin, said = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    return _Size(0 if said == 0xFFFFFFFF else said, begin, 8, 4, "big", said == 0)


def _aiff(data: Data) -> _Size | None:
    place = _chunk(data, 12, b"SSND", 4, "big")
    if place is None:
        return None
    said = int.from_bytes(data[place + 4 : place + 8], "big")
    return _Size(0 if said >= NOT_KNOWN_BYTES else said, place + 8, place + 4, 4, "big", False)


def _caf(data: Data) -> _Size | None:
    place = _chunk(data, 8, b"data", 8, "big")
    if place is None:
        return None
    said = int.from_bytes(data[place + 4 : place + 12], "big", signed=True)
    return _Size(said, place + 12, place + 4, 8, "big", said <= 0 or said > len(data) - place - 12)


def _rf64(data: Data) -> _Size | None:
    place = _chunk(data, 12, b"data", 4, "little")
    if place is None or data[12:16] != b"ds64":
        return None
    said = int.from_bytes(data[28:36], "little")
    return _Size(0 if said >> 62 else said, place + 8, 28, 8, "little", said == 0 or bool(said >> 62))


def _w64(data: Data) -> _Size | None:
    place = data.find(b"data\xf3\xac\xd3\x11", 0, 4096)
    if place < 0:
        return None
    said = int.from_bytes(data[place + 16 : place + 24], "little") - 24
    return _Size(0 if said >> 62 else said, place + 24, place + 16, 8, "little", False)


def _sphere(data: Data) -> _Size | None:
    head = bytes(data[:1024])
    begin = re.match(rb"NIST_1A\s+(\d{1,6})", head)
    found = [re.search(rb"\n%s -i (\d{1,15})" % name, head) for name in _SPHERE_NUMBERS]
    if begin is None or b"-s3 pcm\n" not in head or any(match is None for match in found):
        return None
    said = 1
    for match in found:
        said *= int(match[1]) if match is not None else 0
    return _Size(said, int(begin[1]), 0, 0, "big", False)


_SPHERE_NUMBERS = (b"sample_count", b"channel_count", b"sample_n_bytes")
_SIZES: dict[str, Callable[[Data], _Size | None]] = {
    "AU": _au,
    "AIFF": _aiff,
    "CAF": _caf,
    "RF64": _rf64,
    "W64": _w64,
    "NIST SPHERE": _sphere,
}
SIZED = frozenset(_SIZES)
"""Names of the formats."""


def _chunk(data: Data, place: int, wanted: bytes, width: int, order: Order) -> int | None:
    """Return where a chunk begins."""
    while place + 4 + width <= len(data):
        if data[place : place + 4] == wanted:
            return place
        size = int.from_bytes(data[place + 4 : place + 4 + width], order)
        # Chunks of CAF are not padded.
        place += 4 + width + size + (size % 2 if width == 4 else 0)
    return None


def sized_layout(data: Data, name: str) -> Layout:
    """Return how a file whose header has the size of its data is decoded to its end.

    Parameters
    ----------
    data
        The whole file.
    name
        Of its format, one of `SIZED`.
    """
    size = _SIZES[name](data)
    if size is None or size.begin >= len(data):
        return Layout()
    there = len(data) - size.begin
    note = f"the header says {size.said} bytes of audio, but {there} are there and are used"
    notes = (note,) if size.said > there else ()
    if not size.mend:
        return Layout(notes=notes)
    right = there.to_bytes(size.width, size.order)
    link = ((0, size.place), right, (size.place + size.width, len(data)))
    return Layout((link,), notes, exact=False)
