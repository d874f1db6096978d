"""errors.jsonl: what could not be used, and why. notes.jsonl: what is worth knowing about what is used nevertheless.

Nothing is dropped in silence, and nothing that is kept counts as dropped.

How a corpus file is read: what it leaves out is named in the ledger, and words for gender become F and M.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_ssl.base.documents import readable_rows
from audio_ssl.base.files import append

logger = logging.getLogger(__name__)

_SAID_MOST = 10
"""Notes that the log says, too; the file has all."""


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
        self.notes_path = path.with_name(_notes_name(path.name))
        """Lies beside it: ``notes.jsonl``, ``M.notes.jsonl``."""
        self._seen: set[tuple[str, str]] = set()
        self._noted: set[tuple[str, str]] = set()
        self._said = 0
        self._lock = threading.Lock()
        if read:
            self._remember(path, "reason", self._seen)
            self._remember(self.notes_path, "note", self._noted)

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

    @property
    def note_count(self) -> int:
        """Number of distinct notes, those of earlier runs included."""
        return len(self._noted)

    def note(self, path: str | Path, text: str, *, say: bool = True) -> None:
        """Write what is worth knowing about a file that is used, and log it; from any thread."""
        name = os.fspath(path)
        with self._lock:
            if (name, text) in self._noted:
                return
            self._noted.add((name, text))
            line = json.dumps({"path": name, "note": text}, ensure_ascii=True)
            append(self.notes_path, line.encode("ascii") + b"\n")
            self._said += say
            said = self._said if say else _SAID_MOST + 2
        if said <= _SAID_MOST:
            logger.warning("%s: %s", name, text)
        elif said == _SAID_MOST + 1:
            logger.warning("further notes on files go to %s only", self.notes_path)

    def passed_over(self, root: Path, suffixes: Mapping[str, int]) -> None:
        """Log how many files of a folder are not audio, by suffix."""
        if suffixes:
            most = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
            kinds = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in most[:_SAID_MOST])
            others = f" and {len(most) - _SAID_MOST} other suffixes" if len(most) > _SAID_MOST else ""
            number = sum(suffixes.values())
            logger.info("%s: passed over %d files that are not audio: %s%s", root, number, kinds, others)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the records on the disk."""
        return _rows(self.path, "reason")

    def notes(self) -> Iterator[dict[str, Any]]:
        """Yield the notes on the disk."""
        return _rows(self.notes_path, "note")

    @staticmethod
    def _remember(path: Path, kind: str, seen: set[tuple[str, str]]) -> None:
        seen.update((row["path"], row[kind]) for row in _rows(path, kind))


def _notes_name(name: str) -> str:
    return name.replace("errors", "notes") if "errors" in name else f"{name}.notes"


def _rows(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    # What a killed run left of its last line will be recorded again.
    for row in readable_rows(path):
        if isinstance(row.get("path"), str) and isinstance(row.get(kind), str):
            yield row


class LeftOut:
    """Names and counts what a reader leaves out, and why, so that nothing vanishes silently.

    Parameters
    ----------
    corpus
        Its name, for the log.
    ledger
        Gets each name with its reason, ``errors.jsonl``; None: they go to the debug log alone.

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
        """Record one thing: the path of a file, a file with the number of a line, or an id."""
        self.counts[reason] += 1
        logger.debug("%s: left out %s: %s", self.corpus, name, reason)
        if self._ledger is not None:
            self._ledger.record(name, reason)

    def note(self, path: str | Path, text: str) -> None:
        """Write what is worth knowing of a file that is used, ``notes.jsonl``."""
        if self._ledger is not None:
            self._ledger.note(path, text)

    def say(self, sentence: str) -> None:
        """Warn of something that is true of many clips, such as transcripts that are not there."""
        logger.warning("%s: %s", self.corpus, sentence)

    def log(self) -> None:
        """Say how many were left out for each reason, if any."""
        if self.counts:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common())
            logger.info("%s: left out %d: %s", self.corpus, sum(self.counts.values()), reasons)
