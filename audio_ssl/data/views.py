"""A file as a decoder should see it: byte ranges of it and bytes of ours, one after the other.

Where a header is missing or says something else than the file holds, a corrected header stands before the ranges that
hold audio. Nothing is copied: what the decoder asks for is read from the disk.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from mmap import mmap
from pathlib import Path

Data = bytes | mmap
"""A whole file."""

NOT_KNOWN_BYTES = 0x7FFF0000
"""Programs that write to a pipe give sizes from here on."""

Part = bytes | tuple[int, int]
"""Bytes of ours, or first byte and the one after the last of a range of the file."""

Link = tuple[Part, ...]
"""One stream that a decoder opens; a file of several streams is a chain of them."""


@dataclass(frozen=True)
class Layout:
    """How a file is decoded."""

    links: tuple[Link, ...] = ()
    """Streams that follow one another; none: the file as it lies."""

    notes: tuple[str, ...] = ()
    """How the header differs from what can be decoded, in words."""

    exact: bool = True
    """Whether the header gives the length that a decoder gives; else the file is decoded to its end and counted."""

    preroll: int = 0
    """Samples before a span that are decoded and dropped: a frame needs bits of frames before it."""

    truncated_seconds: float | None = None
    """How much can be decoded of a stream that was cut; None: it is whole, or nothing tells."""


class LinkView(io.RawIOBase):
    """Bytes of a link, read where they lie.

    Parameters
    ----------
    path
        The file.
    link
        What is read of it, and what stands between.
    """

    def __init__(self, path: Path, link: Link) -> None:
        self._link = link
        lengths = [len(part) if isinstance(part, bytes) else part[1] - part[0] for part in link]
        self._starts = list(accumulate(lengths, initial=0))
        self._file = path.open("rb")
        self._place = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be sought in."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as the link goes; return how many bytes it got."""
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
    """Open a link for a decoder."""
    return io.BufferedReader(LinkView(path, link), 1 << 16)
