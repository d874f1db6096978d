"""How a corpus file is read: what it leaves out is named in the ledger, and words for gender become F and M."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip
from audio_ssl.data.spellings import read_value, spellings_note

logger = logging.getLogger(__name__)


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


def read_genders(corpus: str, clips: Iterable[Clip]) -> Iterator[Clip]:
    """Yield clips with their genders as `read_value` reads them; in the end the log says which words stood for which.

    Parameters
    ----------
    corpus
        Its name, for the log.
    clips
        As the corpus records them.
    """
    merged: dict[str, str | None] = {}
    for clip in clips:
        said = clip.gender
        group = None if said is None else read_value("gender", said)
        if said is None or group == said:
            yield clip
            continue
        if said.strip():
            merged[said.strip()] = group
        yield dataclasses.replace(clip, gender=group)
    if note := spellings_note("gender", merged):
        logger.info("%s: read as the same, %s", corpus, note)
