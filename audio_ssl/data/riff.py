"""WAV: the size of the audio data that the header gives, and what the file holds.

A recorder that was stopped leaves 0, a file of more than 4 GiB the rest of a division by 2^32, a copy that broke off
more than there is, and joined files the size of the first.
"""

from __future__ import annotations

from audio_ssl.data.views import NOT_KNOWN_BYTES, Data, Layout, Link

_IN_DS64 = b"\xff\xff\xff\xff"
_STRAY_BYTES = 4096
"""After the data; fewer are the litter of some program."""


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
    """Return the beginning of a file whose sizes have 64 bits (EBU Tech 3306), up to the chunk `fmt`."""
    sizes = [number.to_bytes(8, "little") for number in (size + 80, size, 0)]
    return b"RF64" + _IN_DS64 + b"WAVEds64" + (28).to_bytes(4, "little") + b"".join(sizes) + bytes(4)


def _is_chunk(data: Data, place: int) -> bool:
    """Tell whether a chunk begins here."""
    name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
    named = len(name) == 4 and all(32 <= byte < 127 for byte in name)
    return named and place + 8 + size <= len(data) + 1


def _note(size: int, there: int, bytes_per_second: int) -> str:
    said, found = size / bytes_per_second, there / bytes_per_second
    return f"the header says {said:.3f} s, but {found:.3f} s are there and are used"
