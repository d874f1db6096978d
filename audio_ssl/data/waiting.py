"""When clips that wait in memory are written: after so many bytes, or when the first has waited so long.

So a killed process loses two minutes of work at most, and a fast one does not write thousands of small files.
"""

from __future__ import annotations

import time

SEAL_BYTES = 256 << 20
SEAL_SECONDS = 120.0
"""A file of many clips is written when it is this large, or its first clip has waited this long."""


class Waiting:
    """Counts what waits for being written."""

    def __init__(self) -> None:
        self._bytes, self._since = 0, time.monotonic()

    def add(self, size: int) -> bool:
        """Count some bytes; tell whether it is time to write."""
        if not self._bytes:
            self._since = time.monotonic()
        self._bytes += size
        return self._bytes >= SEAL_BYTES or time.monotonic() - self._since > SEAL_SECONDS

    def clear(self) -> None:
        """Count from nothing again."""
        self._bytes = 0
