"""Journals: lines that each process appends to a file of its own below ``.index``, and hashes that stand for clips.

A killed process may leave half a line, which is cut off when the journal is opened again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

JOURNALS = ".index"


def journal_path(out: Path, part: str) -> Path:
    """Return the path of a process's journal, whose last line is whole."""
    path = out / JOURNALS / f"{part or 'rows'}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    _cut_torn_line(path)
    return path


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield complete lines, each with its offset; another process may be writing the last one."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def digest(clip_id: str) -> bytes:
    """Return 16 bytes that stand for a clip in sorted arrays."""
    # A last byte that is never zero, which numpy would take for the end of a text.
    return hashlib.blake2b(clip_id.encode("utf-8", "surrogateescape"), digest_size=15).digest() + b"\1"


def sorted_digests(digests: bytes | bytearray) -> npt.NDArray[np.bytes_]:
    """Return digests, each once, for `holds`."""
    return np.unique(np.frombuffer(digests, "S16") if digests else np.zeros(0, "S16"))


def holds(digests: npt.NDArray[np.bytes_], text: str) -> bool:
    """Return whether sorted digests have that of a text."""
    wanted = np.frombuffer(digest(text), dtype="S16")
    place = int(np.searchsorted(digests, wanted)[0])
    return bool(place < len(digests) and digests[place] == wanted[0])


def _cut_torn_line(path: Path) -> None:
    """Cut off the last line of a journal if a killed process left it without a line break."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        back = min(size, 1 << 20)
        file.seek(size - back)
        tail = file.read(back)
        if tail and not tail.endswith(b"\n"):
            file.truncate(size - back + tail.rfind(b"\n") + 1)
