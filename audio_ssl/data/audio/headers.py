"""Corrects the headers of audio files: WAV, AIFF, AU, CAF, RF64, W64, SPHERE and chained Ogg.

A `Layout` presents a file to the decoder as a sequence of byte ranges of the file and of corrected bytes. If a header
is missing or wrong, a corrected header precedes the ranges with audio. Nothing is copied: the decoder reads from the
disk.

WAV: the data size of the header may be wrong. It is 0 if a recorder was stopped, the remainder modulo 2^32 for files
above 4 GiB, too large if a copy broke off, and that of the first file if files were joined.

AIFF, AU, CAF, RF64, W64 and SPHERE: libsndfile reads most files that were cut off, but it needs help if the header says
0 or "unknown", and it does not report missing data.

Ogg: consecutive streams of one file (chained, RFC 3533) are decoded one after the other, as libsndfile stops after the
first. Decoders silently skip pages with a wrong checksum, so checksums and page numbers are checked here.
"""

from __future__ import annotations

import io
import re
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from mmap import mmap
from pathlib import Path
from typing import Literal

Data = bytes | mmap
"""The bytes of a file."""

NOT_KNOWN_BYTES = 0x7FFF0000
"""Programs that write to a pipe use sizes from here on as "unknown"."""

Part = bytes | tuple[int, int]
"""Corrected bytes, or the range of the file from its first byte to the one after its last."""

Link = tuple[Part, ...]
"""A stream as the decoder reads it, in parts."""


@dataclass(frozen=True)
class Layout:
    """How a file is decoded."""

    links: tuple[Link, ...] = ()
    """Consecutive streams; empty: the file as it is."""

    notes: tuple[str, ...] = ()
    """Description of how the header differs from the samples."""

    exact: bool = True
    """Whether the header has the correct length. If not, the file is decoded to its end."""

    preroll: int = 0
    """Number of samples before a span that are decoded and dropped, as a frame needs bits of the frames before it."""

    truncated_seconds: float | None = None
    """Number of samples of a stream that was cut off; None: the stream is complete, or this is unknown."""


class LinkView(io.RawIOBase):
    """The bytes of a link, read from the disk.

    Parameters
    ----------
    path
        The file.
    link
        Ranges of the file and corrected bytes.
    """

    def __init__(self, path: Path, link: Link) -> None:
        self._link = link
        lengths = [len(part) if isinstance(part, bytes) else part[1] - part[0] for part in link]
        self._starts = list(accumulate(lengths, initial=0))
        self._file = path.open("rb")
        self._place = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer up to the end of the link; return the number of bytes."""
        done = 0
        with memoryview(buffer) as target:
            while done < len(target) and self._place < self._starts[-1]:
                number = bisect_right(self._starts, self._place) - 1
                inside, part = self._place - self._starts[number], self._link[number]
                size = min(len(target) - done, self._starts[number + 1] - self._place)
                if isinstance(part, bytes):
                    target[done : done + size] = part[inside : inside + size]
                    got = size
                else:
                    self._file.seek(part[0] + inside)
                    got = self._file.readinto(target[done : done + size])
                if not got:
                    break
                done += got
                self._place += got
        return done

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


def open_view(path: Path, link: Link) -> io.BufferedReader:
    """Open a link as a file for the decoder."""
    return io.BufferedReader(LinkView(path, link), 1 << 16)


_IN_DS64 = b"\xff\xff\xff\xff"
_STRAY_BYTES = 4096
"""Number of bytes after the data from which on they may be audio; fewer are remains of some program."""


def riff_layout(data: Data) -> Layout:
    """Return how a WAV file is decoded to its end.

    Parameters
    ----------
    data
        The whole file.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return Layout()
    links: list[Link] = []
    begin = 0
    while data[begin : begin + 4] == b"RIFF":
        end = begin + 8 + int.from_bytes(data[begin + 4 : begin + 8], "little")
        if data[end : end + 4] != b"RIFF":
            break
        links.append(((begin, end),))
        begin = end
    if links:
        links.append(((begin, len(data)),))
        note = f"the file has {len(links)} recordings one after the other; all are used"
        return Layout(tuple(links), (note,), exact=False)
    return _single(data)


def _single(data: Data) -> Layout:
    place, bytes_per_second = 12, 0
    while place + 8 <= len(data) and data[place : place + 4] != b"data":
        if data[place : place + 4] == b"fmt ":
            bytes_per_second = int.from_bytes(data[place + 16 : place + 20], "little")
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    if place + 8 > len(data):
        return Layout()
    size, begin = int.from_bytes(data[place + 4 : place + 8], "little"), place + 8
    there = len(data) - begin
    if size > there:
        notes = (_note(size, there, bytes_per_second),) if size < NOT_KNOWN_BYTES and bytes_per_second else ()
        return Layout(notes=notes)
    left = there - size
    if left <= 1 or _is_chunk(data, begin + size + size % 2):
        return Layout()
    if size == 0 or left >= (1 << 32) - _STRAY_BYTES:
        link: Link = (_rf64(there), (12, place + 4), _IN_DS64, (begin, len(data)))
        notes = (_note(size, there, bytes_per_second),) if size and bytes_per_second else ()
        return Layout((link,), notes, exact=False)
    notes = (f"{left} bytes after the audio data are in no chunk and are not used",) if left > _STRAY_BYTES else ()
    return Layout(notes=notes)


def _rf64(size: int) -> bytes:
    """Return the start of a file with 64-bit sizes (RF64, EBU Tech 3306), up to the chunk `fmt`."""
    sizes = [number.to_bytes(8, "little") for number in (size + 80, size, 0)]
    return b"RF64" + _IN_DS64 + b"WAVEds64" + (28).to_bytes(4, "little") + b"".join(sizes) + bytes(4)


def _is_chunk(data: Data, place: int) -> bool:
    """Return whether a chunk begins here."""
    name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
    named = len(name) == 4 and all(32 <= byte < 127 for byte in name)
    return named and place + 8 + size <= len(data) + 1


def _note(size: int, there: int, bytes_per_second: int) -> str:
    said, found = size / bytes_per_second, there / bytes_per_second
    return f"the header says {said:.3f} s, but {found:.3f} s are there and are used"


Order = Literal["big", "little"]


@dataclass(frozen=True)
class _Size:
    """The data that a header describes."""

    said: int
    """Size in bytes; 0 or less: unknown."""
    begin: int
    """Start of the data in the file."""
    place: int
    """Position of the size in the header."""
    width: int
    order: Order
    mend: bool
    """Whether libsndfile needs a correct size."""


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


def _rf64_size(data: Data) -> _Size | None:
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
    "RF64": _rf64_size,
    "W64": _w64,
    "NIST SPHERE": _sphere,
}
SIZED = frozenset(_SIZES)
"""Names of the formats."""


def _chunk(data: Data, place: int, wanted: bytes, width: int, order: Order) -> int | None:
    """Return the start of a chunk."""
    while place + 4 + width <= len(data):
        if data[place : place + 4] == wanted:
            return place
        size = int.from_bytes(data[place + 4 : place + 4 + width], order)
        # Chunks of CAF are not padded.
        place += 4 + width + size + (size % 2 if width == 4 else 0)
    return None


def sized_layout(data: Data, name: str) -> Layout:
    """Return how a file with the data size in its header is decoded to its end.

    Parameters
    ----------
    data
        The whole file.
    name
        Name of its format, one of `SIZED`.
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


_FIRST, _LAST = 2, 4
"""Flags of the first and the last page of a stream."""
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits reversed."""


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
        # Multiplexed streams all begin before any of them continues.
        first = bool(data[place + 5] & _FIRST)
        if first and not beginning:
            starts.append(place)
        beginning, ended = first, bool(data[place + 5] & _LAST)
        segments = data[place + 26]
        end = place + 27 + segments + sum(data[place + 27 : place + 27 + segments])
        if end > len(data):
            # The file is cut off.
            place = end
        elif _is_whole(data[place:end]):
            serial, number = data[place + 14 : place + 18], int.from_bytes(data[place + 18 : place + 22], "little")
            broken += number != expected.get(serial, number) and not first
            expected[serial] = number + 1
            place = end
        else:
            # The damage may be in the length, so the next page may have an unexpected number.
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
    """Return whether the checksum of a page is correct: the CRC of Ogg, which is that of zip with reversed bits."""
    said = int.from_bytes(page[22:26], "little")
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
    found = zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2) == said


def _places(count: int) -> str:
    return "one place" if count == 1 else f"{count} places"
