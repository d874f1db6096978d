"""MPEG audio (MP1, MP2, MP3): frames are counted, as the length in the headers is often wrong.

The header of each frame has its size, so a file is read from header to header, which is much faster than decoding (ISO
11172-3, 13818-3). Tags between frames are skipped (ID3v1, ID3v2, APE, Lyrics3). Decoders stop at the length in the
Xing, Info or LAME header of the first frame, or estimate the length without one. If this is not the number of frames,
the decoder gets a corrected header. Free-format streams are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from audio_ssl.data.audio.headers import Data, Layout, Link, Part

_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates in kbit/s, by version (2 and 2.5 have the same) and layer."""
_RATES = (44_100, 48_000, 32_000)
_PREROLL_FRAMES = 32
"""Maximum number of frames before a frame that it may need: 511 bytes, in frames of at least 24 bytes."""
_CHAIN = 3
"""Number of consecutive frames that a search requires; fewer are also found in noise."""
_FIELDS = {1: 4, 2: 4, 4: 100, 8: 4}
"""Bytes of each optional part of a Xing header, by flag. The part of LAME follows them."""
_DECODER_DELAY = 529
"""Delay of every decoder in samples, which is not included in the LAME header."""
_SYNC = re.compile(rb"\xff(?=[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef])")
"""Possible start of a frame; it matches at one in a thousand positions of noise."""
_TAG = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
"""An empty tag. With it, libsndfile recognises MPEG audio whatever the suffix."""


@dataclass(frozen=True)
class _Kind:
    """Properties that all frames of a stream share."""

    version_and_layer: int
    """Bits 3 to 1 of the second byte."""
    rate_index: int
    mono: bool

    @property
    def layer(self) -> int:
        return 4 - (self.version_and_layer & 3)

    @property
    def version(self) -> int:
        return 1 if self.version_and_layer >> 2 == 3 else 2

    @property
    def sample_rate(self) -> int:
        return _RATES[self.rate_index] >> {3: 0, 2: 1, 0: 2}[self.version_and_layer >> 2]

    @property
    def samples(self) -> int:
        """Of a frame."""
        return 384 if self.layer == 1 else 576 if self.layer == 3 and self.version == 2 else 1152


@dataclass
class _FrameRun:
    """Consecutive frames of one kind, with only tags between them."""

    kind: _Kind
    ranges: list[tuple[int, int]]
    frames: int = 0


@lru_cache(maxsize=64)
def _sizes(kind: _Kind) -> dict[int, int]:
    """Return the size of a frame by its second and third byte."""
    sizes = {}
    for index, kbits in enumerate(_BIT_RATES[kind.version, kind.layer], 1):
        for padding in (0, 1):
            unit = 4 if kind.layer == 1 else 1
            size = (kind.samples // 8 // unit * kbits * 1000 // kind.sample_rate + padding) * unit
            for protection in (0, 1):
                for private in (0, 1):
                    second = 0xE0 | kind.version_and_layer << 1 | protection
                    third = index << 4 | kind.rate_index << 2 | padding << 1 | private
                    sizes[second << 8 | third] = size
    return sizes


def _kind(data: Data, place: int) -> _Kind | None:
    """Return the frame that begins here; None if there is none with a known size."""
    if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] & 0xE0 != 0xE0:
        return None
    version_and_layer, rate_index = data[place + 1] >> 1 & 15, data[place + 2] >> 2 & 3
    known = version_and_layer >> 2 != 1 and version_and_layer & 3 != 0 and rate_index != 3
    if not known or data[place + 2] >> 4 in (0, 15):
        return None
    return _Kind(version_and_layer, rate_index, data[place + 3] >= 0xC0)


def looks_like_mpeg(head: bytes) -> bool:
    """Return whether a file begins with frames: two consecutive ones, as far as the bytes reach."""
    kind = _kind(head, 0)
    if kind is None:
        return False
    size = _sizes(kind)[head[1] << 8 | head[2]]
    return _kind(head, size) == kind if size + 4 <= len(head) else size <= len(head)


def id3_size(head: bytes) -> int:
    """Return the size of an ID3v2 tag without its first ten bytes (ID3v2.4, 3.1: seven bits per byte)."""
    size = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
    return size + (10 if head[5] & 0x10 else 0)


def _after_tag(data: Data, place: int) -> int | None:
    """Return the end of the tag that begins here; None if there is none."""
    head = data[place : place + 32]
    if head.startswith(b"ID3") and len(head) >= 10:
        return place + 10 + id3_size(head)
    if head.startswith(b"TAG"):
        return place + 128
    if head.startswith(b"APETAGEX") and len(head) == 32:
        return place + 32 + (int.from_bytes(head[12:16], "little") if head[23] & 0x20 else 0)
    if head.startswith(b"LYRICSBEGIN"):
        end = max(data.find(b"LYRICS200", place), data.find(b"LYRICSEND", place))
        return end + 9 if end > 0 else None
    return None


def _advance(data: Data, place: int, kind: _Kind, most: int | None = None) -> tuple[int, int]:
    """Return the number of complete consecutive frames of a kind from here on, and their end."""
    size_of, last, mono, frames = _sizes(kind).get, len(data) - 4, kind.mono, 0
    while place <= last and frames != most:
        size = size_of(data[place + 1] << 8 | data[place + 2])
        if size is None or data[place] != 0xFF or (data[place + 3] >= 0xC0) != mono or place + size > last + 4:
            break
        frames += 1
        place += size
    return frames, place


def _next_frame(data: Data, place: int) -> int | None:
    """Return the start of the next frame that others follow, or that ends the file."""
    for found in _SYNC.finditer(data, place):
        kind = _kind(data, found.start())
        if kind is not None:
            frames, end = _advance(data, found.start(), kind, _CHAIN)
            if frames == _CHAIN or (frames and (end == len(data) or _after_tag(data, end) is not None)):
                return found.start()
    return None


def _runs(data: Data) -> Iterator[tuple[_FrameRun, int]]:
    """Yield runs of frames, each with the number of other bytes before it."""
    place, run, junk = 0, None, 0
    while place < len(data):
        kind = _kind(data, place)
        frames, end = _advance(data, place, kind) if kind is not None else (0, place)
        if kind is not None and frames:
            if run is not None and run.kind != kind:
                yield run, junk
                run, junk = None, 0
            run = run or _FrameRun(kind, [])
            run.ranges.append((place, end))
            run.frames += frames
            place = end
            continue
        after = _after_tag(data, place)
        if after is None:
            found = _next_frame(data, place + 1)
            # Bytes after the last frame are not a gap in the audio.
            junk += found - place if found is not None and run is not None else 0
            after = len(data) if found is None else found
        place = after
    if run is not None:
        yield run, junk


def mpeg_layout(data: Data) -> Layout:
    """Return how a file of MPEG audio is decoded to its end.

    Parameters
    ----------
    data
        The whole file.
    """
    runs: list[_FrameRun] = []
    notes: list[str] = []
    seconds = 0.0
    for run, junk in _runs(data):
        if runs and run.kind.sample_rate != runs[0].kind.sample_rate:
            rates = f"{runs[0].kind.sample_rate} to {run.kind.sample_rate} Hz"
            notes.append(f"the rate changes from {rates} after {seconds:.3f} s, and what follows is not used")
            break
        if junk:
            notes.append(f"{junk} bytes between frames are not audio and are passed over")
        runs.append(run)
        seconds += run.frames * run.kind.samples / run.kind.sample_rate
    if not runs:
        return Layout(exact=False)
    preroll = _PREROLL_FRAMES * runs[0].kind.samples if runs[0].kind.layer == 3 else 0
    header = _Header.of(data, runs[0])
    agrees = header is not None and header.frames == sum(run.frames for run in runs) - 1
    if agrees and len(runs) == 1 and len(runs[0].ranges) == 1 and not notes and _begins(data) == runs[0].ranges[0][0]:
        return Layout(preroll=preroll)
    if header is not None:
        frame = runs[0].kind.samples / runs[0].kind.sample_rate
        said, there = header.frames * frame, seconds - frame
        if header.flags & 1 and abs(said - there) > 1.5 * frame:
            delay = header.delay / runs[0].kind.sample_rate
            lengths = f"{max(0.0, said - delay):.3f} s, but {there - delay:.3f} s"
            notes.insert(0, f"the header says {lengths} are there and are used")
    links = tuple(_link(data, run, header if number == 0 else None) for number, run in enumerate(runs))
    return Layout(links, tuple(notes), exact=False, preroll=preroll)


def _begins(data: Data) -> int:
    """Return the position at which a decoder expects the first frame."""
    place = 0
    while data[place : place + 3] == b"ID3" and (after := _after_tag(data, place)) is not None:
        place = after
    return place


@dataclass(frozen=True)
class _Header:
    """A Xing or Info header, in the first frame."""

    place: int
    """Position of its marker in the file."""
    size: int
    """Size of its frame."""
    flags: int
    frames: int
    """Number of frames; 0 if the header has none."""
    delay: int
    """Number of samples that decoders drop at the beginning: the delays of encoder and decoder."""

    @staticmethod
    def of(data: Data, run: _FrameRun) -> _Header | None:
        start, kind = run.ranges[0][0], run.kind
        size = _sizes(kind)[data[start + 1] << 8 | data[start + 2]]
        side = ((9 if kind.mono else 17) if kind.version == 2 else (17 if kind.mono else 32)) if kind.layer == 3 else 0
        for place in (start + 4 + side, start + 6 + side):
            # Decoders treat the frame as audio unless its side information is empty.
            if side and data[place : place + 4] in (b"Xing", b"Info") and not any(data[place - side : place]):
                flags = int.from_bytes(data[place + 4 : place + 8], "big")
                frames = int.from_bytes(data[place + 8 : place + 12], "big") if flags & 1 else 0
                lame = place + 8 + sum(length for bit, length in _FIELDS.items() if flags & bit)
                delay = data[lame + 21] << 4 | data[lame + 22] >> 4 if lame + 24 <= start + size else 0
                return _Header(place, size, flags, frames, delay + _DECODER_DELAY)
        return None


def _link(data: Data, run: _FrameRun, header: _Header | None) -> Link:
    """Return a run with a header that has its number of frames."""
    start = run.ranges[0][0]
    ranges: list[Part] = list(run.ranges)
    if header is None or not header.flags & 1:
        if header is not None:
            ranges[0] = (start + header.size, run.ranges[0][1])
        frames = run.frames - (header is not None)
        return (_TAG, _new_header(data, run.kind, start, frames), *ranges) if run.kind.layer == 3 else (_TAG, *ranges)
    frame = bytearray(data[start : start + header.size])
    place = header.place - start + 8
    frame[place : place + 4] = (run.frames - 1).to_bytes(4, "big")
    place += 4
    if header.flags & 2:
        frame[place : place + 4] = sum(stop - first for first, stop in run.ranges).to_bytes(4, "big")
        place += 4
    place += sum(length for bit, length in _FIELDS.items() if bit > 2 and header.flags & bit) + 21
    if place + 3 <= len(frame):
        # The padding in the header refers to another end than that of the file.
        delay = frame[place] << 4 | frame[place + 1] >> 4
        frame[place : place + 3] = (delay << 12 | _DECODER_DELAY).to_bytes(3, "big")
    ranges[0] = (start + header.size, run.ranges[0][1])
    return (_TAG, bytes(frame), *ranges)


def _new_header(data: Data, kind: _Kind, start: int, frames: int) -> bytes:
    """Return two frames: a header with the number of frames, which is not decoded, and a frame of silence.

    A decoder that knows the number of frames drops its own delay of 529 samples, which would be audio. It drops the
    silence instead, whose samples are the delays of encoder and decoder.
    """
    second, fourth, rate = data[start + 1] | 1, data[start + 3], data[start + 2] & 0x0C
    side = (9 if kind.mono else 17) if kind.version == 2 else (17 if kind.mono else 32)
    frame, silence = (bytearray(_sizes(kind)[second << 8 | index << 4 | rate]) for index in (14, 5))
    frame[:4], silence[:4] = (bytes((0xFF, second, index << 4 | rate, fourth)) for index in (14, 5))
    place = 4 + side
    frame[place : place + 12] = b"Xing" + (1).to_bytes(4, "big") + (frames + 1).to_bytes(4, "big")
    frame[place + 12 : place + 16] = b"LAME"
    delays = (kind.samples - _DECODER_DELAY) << 12 | _DECODER_DELAY
    frame[place + 33 : place + 36] = delays.to_bytes(3, "big")
    return bytes(frame + silence)
