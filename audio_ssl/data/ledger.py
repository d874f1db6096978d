"""errors.jsonl: what could not be used, and why. Nothing is dropped in silence."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from audio_ssl.atomic import append


class ErrorLedger:
    """Appends one JSON line per unusable item, on the disk at once, so a killed run loses none.

    The file appears with the first record; a run without errors leaves no file. An item recorded twice with the same
    reason (by a resumed run) is written once.

    Parameters
    ----------
    path
        The ``errors.jsonl`` to append to.
    read
        Look at what is there already.
    """

    def __init__(self, path: Path, read: bool = True) -> None:
        self.path = path
        self._seen: set[tuple[str, str]] = set()
        if read and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._remember(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def count(self) -> int:
        """Number of distinct records, those of earlier runs included."""
        return len(self._seen)

    def record(self, path: str | Path, reason: str, **extra: Any) -> None:
        """Write one record: the file, a plain-sentence reason, and anything else worth knowing."""
        name = os.fspath(path)
        if (name, reason) in self._seen:
            return
        self._seen.add((name, reason))
        # ASCII-only JSON: a file name that is not UTF-8 survives as escaped surrogates.
        line = json.dumps({"path": name, "reason": reason, **extra}, ensure_ascii=True)
        append(self.path, line.encode("ascii") + b"\n")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the records on the disk."""
        lines = self.path.read_text(encoding="ascii").splitlines() if self.path.exists() else []
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                # As below.
                continue

    def _remember(self, line: str) -> None:
        try:
            row = json.loads(line)
            self._seen.add((row["path"], row["reason"]))
        except (json.JSONDecodeError, KeyError, TypeError):
            # The last line of a killed run may be cut; the item will simply be recorded again.
            return
