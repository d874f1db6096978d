"""``errors.jsonl`` names every file that was left out and why; ``notes.jsonl`` has notes on files that are used.

`ErrorLedger` writes and reads both. `LeftOut` is what a corpus file reports to.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from audio_ssl.base.documents import Json, JsonObject, readable_rows
from audio_ssl.base.files import append

logger = logging.getLogger(__name__)

_SAID_MOST = 10
"""Number of notes that are logged as well; the file has all of them."""


@dataclass(frozen=True)
class LeftOutRow:
    """A line of ``errors.jsonl``."""

    path: str
    """The file; its line where one is meant."""

    reason: str
    more: JsonObject = field(default_factory=dict)
    """Other keys of the line, such as the clip's ``id``."""


@dataclass(frozen=True)
class FileNote:
    """A line of ``notes.jsonl``."""

    path: str
    note: str


class FileLog(Protocol):
    """Where a scan of files reports what it finds: an `ErrorLedger`, or the `LeftOut` of a corpus."""

    def record(self, path: str | Path, reason: str, /) -> None:
        """Record a file that is left out."""

    def note(self, path: str | Path, text: str, /) -> None:
        """Write a note on a file that is used."""

    def passed_over(self, root: Path, suffixes: Mapping[str, int], /) -> None:
        """Log how many files of a folder are not audio, by suffix."""


class ErrorLedger:
    """Appends one JSON line for each file that is left out. Lines are written at once, so a killed run loses none.

    The file is created with the first record: without errors there is no file. The same file with the same reason is
    written once, also when a run is resumed.

    Parameters
    ----------
    path
        The ``errors.jsonl`` to append to.
    read
        Read what the file has already.
    keep
        ``all``; ``notes``: notes alone, for a process whose errors another one records; ``log``: nothing is written,
        and both are logged.
    """

    def __init__(self, path: Path, read: bool = True, keep: Literal["all", "notes", "log"] = "all") -> None:
        self.path, self._keep = path, keep
        self.notes_path = path.with_name(_notes_name(path.name))
        """The file of notes beside it: ``notes.jsonl``, ``M.notes.jsonl``."""
        self._seen: set[tuple[str, str]] = set()
        self._noted: set[tuple[str, str]] = set()
        self._said = 0
        self._lock = threading.Lock()
        if read:
            self._seen.update((row.path, row.reason) for row in self.rows())
            self._noted.update((row.path, row.note) for row in self.notes())

    @property
    def count(self) -> int:
        """Number of different records, including those of earlier runs."""
        return len(self._seen)

    def record(self, path: str | Path, reason: str, **extra: Json) -> None:
        """Record a file that is left out: its path, the reason in words, and other values of the line."""
        name = os.fspath(path)
        if self._keep == "log":
            logger.warning("%s: %s", name, reason)
        if self._keep != "all" or (name, reason) in self._seen:
            return
        self._seen.add((name, reason))
        append(self.path, _line({"path": name, "reason": reason, **extra}))

    @property
    def note_count(self) -> int:
        """Number of different notes, including those of earlier runs."""
        return len(self._noted)

    def note(self, path: str | Path, text: str, *, say: bool = True) -> None:
        """Write a note on a file that is used, and log it. Threads may call this at the same time."""
        name = os.fspath(path)
        if self._keep == "log":
            logger.warning("%s: %s", name, text)
            return
        with self._lock:
            if (name, text) in self._noted:
                return
            self._noted.add((name, text))
            append(self.notes_path, _line({"path": name, "note": text}))
            self._said += say
            said = self._said if say else _SAID_MOST + 2
        if said <= _SAID_MOST:
            logger.warning("%s: %s", name, text)
        elif said == _SAID_MOST + 1:
            logger.warning("further notes on files go to %s only", self.notes_path)

    def passed_over(self, root: Path, suffixes: Mapping[str, int]) -> None:
        """Log how many files of a folder are not audio, by suffix."""
        if self._keep != "notes":
            _log_others(root, suffixes)

    def rows(self) -> Iterator[LeftOutRow]:
        """Yield the records on the disk."""
        for row in _rows(self.path, "reason"):
            yield LeftOutRow(row.pop("path"), row.pop("reason"), row)

    def notes(self) -> Iterator[FileNote]:
        """Yield the notes on the disk."""
        for row in _rows(self.notes_path, "note"):
            yield FileNote(row["path"], row["note"])


def _log_others(root: Path, suffixes: Mapping[str, int]) -> None:
    if suffixes:
        most = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
        kinds = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in most[:_SAID_MOST])
        others = f" and {len(most) - _SAID_MOST} other suffixes" if len(most) > _SAID_MOST else ""
        number = sum(suffixes.values())
        logger.info("%s: passed over %d files that are not audio: %s%s", root, number, kinds, others)


def _notes_name(name: str) -> str:
    return name.replace("errors", "notes") if "errors" in name else f"{name}.notes"


def _line(row: JsonObject) -> bytes:
    # ASCII-only JSON: a file name that is not UTF-8 survives as escaped surrogates.
    return json.dumps(row, ensure_ascii=True).encode("ascii") + b"\n"


def _rows(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    # A killed run can leave its last line unfinished; the resumed run records it again.
    for row in readable_rows(path):
        if isinstance(row.get("path"), str) and isinstance(row.get(kind), str):
            yield row


class LeftOut:
    """Records what the reader of a corpus leaves out, with the reason, and counts it.

    Parameters
    ----------
    corpus
        Name of the corpus, for the log.
    ledger
        Where each name is recorded with its reason. None: they go to the debug log only.

    Examples
    --------
    >>> left_out = LeftOut("fillets")
    >>> left_out.add("a.ogg", "no text")
    >>> left_out.counts["no text"]
    1
    """

    def __init__(self, corpus: str, ledger: ErrorLedger | None = None) -> None:
        self.corpus = corpus
        self.counts: Counter[str] = Counter()
        self._ledger = ledger

    def add(self, name: str | Path, reason: str) -> None:
        """Record one name: the path of a file, a file with the number of a line, or an id."""
        self.counts[reason] += 1
        logger.debug("%s: left out %s: %s", self.corpus, name, reason)
        if self._ledger is not None:
            self._ledger.record(name, reason)

    def note(self, path: str | Path, text: str) -> None:
        """Write a note on a file that is used to ``notes.jsonl``."""
        if self._ledger is not None:
            self._ledger.note(path, text)

    record = add
    """The same, for scans of files (`FileLog`)."""

    def passed_over(self, root: Path, suffixes: Mapping[str, int]) -> None:
        """Log how many files of a folder are not audio, by suffix."""
        _log_others(root, suffixes)

    def say(self, sentence: str) -> None:
        """Warn about something that concerns many clips, such as missing transcripts."""
        logger.warning("%s: %s", self.corpus, sentence)

    def log(self) -> None:
        """Log how many names were left out for each reason."""
        if self.counts:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common())
            logger.info("%s: left out %d: %s", self.corpus, sum(self.counts.values()), reasons)
