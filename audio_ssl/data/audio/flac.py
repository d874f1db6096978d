"""FLAC: the length is taken from the last frame if the header has none or a wrong one.

Frames have the number of their first sample and two checksums (RFC 9639), so the length of a file is known from its end
without decoding. A recorder that writes to a stream leaves 0 in the header. Joined files have the header of the first
file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from audio_ssl.data.audio.headers import Data, Layout, Link
from audio_ssl.data.audio.mpeg import id3_size

_MARKS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_TAIL_BYTES = 1 << 20
"""Minimum number of bytes before the end in which the last frames are searched."""


@dataclass(frozen=True)
class _Stream:
    """A stream, from its marker to the next stream or the end of the file."""

    begin: int
    end: int
    blocks: tuple[int, int]
    """Minimum and maximum block size, in samples."""
    largest_frame: int
    """Maximum frame size in bytes; 0: unknown."""
    rate: int
    total: int
    """Number of samples in the header; 0: unknown."""
    frames_begin: int

    @property
    def may_hold_more(self) -> bool:
        """Whether the stream has more bytes than the samples of the header can need."""
        most = -(-self.total // max(1, self.blocks[0])) * self.largest_frame
        return bool(self.largest_frame) and self.end - self.frames_begin > most


@dataclass(frozen=True)
class _Frame:
    place: int
    first: int
    """Number of its first sample."""
    last: int
    """Number of the sample after its last one."""


def flac_layout(data: Data) -> Layout:
    """Return how a FLAC file is decoded to its end.

    Parameters
    ----------
    data
        The whole file.
    """
    begin, end = 0, len(data)
    while data[begin : begin + 3] == b"ID3" and begin + 10 < end:
        begin += 10 + id3_size(data[begin : begin + 10])
    if data[-128:-125] == b"TAG":
        end -= 128
    whole = _stream(data, begin, end)
    if whole is None:
        return Layout()
    last = _last_frames(data, whole)
    if last and last[-1].last == whole.total and not whole.may_hold_more:
        return Layout()
    streams = [_stream(data, a, b) for a, b in _pieces(data, begin, end)]
    found = [stream for stream in streams if stream is not None]
    links: list[Link] = []
    notes: list[str] = []
    samples = 0
    for stream in found:
        if stream.rate != found[0].rate:
            rates = f"{found[0].rate} to {stream.rate} Hz"
            notes.append(f"the rate changes from {rates} after {samples / found[0].rate:.3f} s; the rest is not used")
            break
        number, complete = _samples(data, stream)
        if number is None:
            return Layout(exact=False)
        if not complete:
            if len(found) == 1 and (stream.total or not number):
                return Layout(truncated_seconds=number / stream.rate)
            notes.append(f"the file was cut: it ends within a frame after {number / stream.rate:.3f} s")
        links.append(_corrected(data, stream, number))
        samples += number
    if samples == whole.total and len(links) == 1:
        return Layout()
    if whole.total and samples != whole.total:
        said, there = whole.total / whole.rate, samples / whole.rate
        notes.insert(0, f"the header says {said:.3f} s, but {there:.3f} s are there and are used")
    return Layout(tuple(links), tuple(notes), exact=False)


def _stream(data: Data, begin: int, end: int) -> _Stream | None:
    head = data[begin : begin + 42]
    if len(head) < 42 or head[:4] != b"fLaC" or head[4] & 127:
        return None
    place, last = begin + 4, False
    while not last and place + 4 <= end:
        last = bool(data[place] & 0x80)
        place += 4 + int.from_bytes(data[place + 1 : place + 4], "big")
    numbers = int.from_bytes(head[18:26], "big")
    blocks = int.from_bytes(head[8:10], "big"), int.from_bytes(head[10:12], "big")
    largest = int.from_bytes(head[15:18], "big")
    rate = numbers >> 44
    return _Stream(begin, end, blocks, largest, rate, numbers & (1 << 36) - 1, place) if rate else None


def _pieces(data: Data, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each stream of a joined file."""
    starts = [begin]
    for mark in _MARKS:
        place = data.find(mark, begin + 4, end)
        while place >= 0:
            starts.append(place)
            place = data.find(mark, place + 4, end)
    starts.sort()
    yield from zip(starts, [*starts[1:], end], strict=True)


def _samples(data: Data, stream: _Stream) -> tuple[int | None, bool]:
    """Return the number of samples of complete frames, and whether the last frame is complete; None without frames."""
    frames = _last_frames(data, stream)
    if len(frames) == 1 and frames[0].last == stream.total:
        return stream.total, True
    # A header that continues the frame before it is not a coincidence within the audio.
    chained = [b for a, b in itertools.pairwise(frames) if b.first == a.last]
    last = chained[-1] if chained else next((frame for frame in frames if frame.first == 0), None)
    if last is None:
        return None, False
    body = data[last.place : stream.end]
    # The checksum of a whole frame including its own two bytes is 0.
    complete = _crc(body, 16, 0x8005) == 0
    return (last.last, True) if complete else (last.first, False)


def _last_frames(data: Data, stream: _Stream) -> list[_Frame]:
    """Return the frames near the end of a stream, in order."""
    start = max(stream.frames_begin, stream.end - max(_TAIL_BYTES, 3 * stream.largest_frame))
    tail, frames = data[start : stream.end], list[_Frame]()
    place = tail.rfind(b"\xff")
    while place >= 0 and len(frames) < 4:
        frame = _frame(tail[place : place + 16], start + place, stream)
        if frame is not None and frame.last == stream.total:
            return [frame]
        if frame is not None:
            frames.append(frame)
        place = tail.rfind(b"\xff", 0, place)
    return frames[::-1]


def _frame(head: bytes, place: int, stream: _Stream) -> _Frame | None:
    """Return the frame that begins with these bytes; None if there is none."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    size_code, rate_code, first = head[2] >> 4, head[2] & 15, head[4]
    # The number is coded like a UTF-8 character, with up to 36 bits.
    more = next((bits for bits in range(7) if not first << bits & 0x80), 7)
    if size_code == 0 or rate_code == 15 or more == 1:
        return None
    more = max(0, more - 1)
    following = head[5 : 5 + more]
    if any(byte & 0xC0 != 0x80 for byte in following):
        return None
    number = first & (0x7F if not more else 0x3F >> more)
    for byte in following:
        number = number << 6 | byte & 0x3F
    at = 5 + more
    extra = {6: 1, 7: 2}.get(size_code, 0)
    if extra:
        size = int.from_bytes(head[at : at + extra], "big") + 1
    else:
        size = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    at += extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or size > stream.blocks[1] or _crc(head[:at], 8, 0x07) != head[at]:
        return None
    start = number if head[1] & 1 else number * stream.blocks[1]
    return _Frame(place, start, start + size)


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    table, mask, shift = _crc_table(bits, polynomial), (1 << bits) - 1, bits - 8
    value = 0
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> shift ^ byte]
    return value


def _crc_table(bits: int, polynomial: int) -> list[int]:
    if (bits, polynomial) not in _TABLES:
        table, top, mask = [], 1 << bits - 1, (1 << bits) - 1
        for byte in range(256):
            value = byte << bits - 8
            for _ in range(8):
                value = (value << 1 ^ (polynomial if value & top else 0)) & mask
            table.append(value)
        _TABLES[bits, polynomial] = table
    return _TABLES[bits, polynomial]


_TABLES: dict[tuple[int, int], list[int]] = {}


def _corrected(data: Data, stream: _Stream, samples: int) -> Link:
    """Return the bytes of a stream with the correct number of samples in its header."""
    place = stream.begin + 18
    numbers = int.from_bytes(data[place : place + 8], "big") >> 36 << 36 | samples
    return ((stream.begin, place), numbers.to_bytes(8, "big"), (place + 8, stream.end))
