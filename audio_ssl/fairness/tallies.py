"""Counts with examples: clips left out, empty hypotheses by group, the worst clips of each group.

What was left out and why: counted, and the first few named.

A few of the worst clips of each group, to read; bounded whatever the size of the table.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import UNKNOWN
from audio_ssl.metrics.metric import AdditiveMetric, Array

NAMED = 10
MOST_REASONS = 100
FURTHER = "for further reasons"


@dataclass(frozen=True)
class Exclusion:
    """Clips that were left out for one reason."""

    reason: str
    count: int
    names: tuple[str, ...]
    """Ids of the first ones."""


class Exclusions:
    """Counts them.

    Examples
    --------
    >>> left_out = Exclusions()
    >>> left_out.add("no speaker", ["a", "b"])
    >>> left_out.all()
    [Exclusion(reason='no speaker', count=2, names=('a', 'b'))]
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, names: Iterable[str]) -> None:
        """Count the clips of these names."""
        # Some reasons quote the row: a million of them would be no report.
        if reason not in self._names and len(self._names) >= MOST_REASONS:
            reason = FURTHER
        kept = self._names.setdefault(reason, [])
        for name in names:
            self._counts[reason] = self._counts.get(reason, 0) + 1
            if len(kept) < NAMED:
                kept.append(name)

    def all(self) -> list[Exclusion]:
        """Return one for each reason, in the order they came up."""
        return [Exclusion(reason, count, tuple(self._names[reason])) for reason, count in self._counts.items()]

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self._counts.items())


NOT_TEXT = frozenset({"NaN", "<NA>", "\\N", "#N/A", "#NV"})
"""What programs write for nothing, in this spelling; no recogniser says so."""

PERHAPS_NOT_TEXT = frozenset({"nan", "NAN", "None", "null", "NULL"})
"""What programs write for nothing, and what may have been said."""

EMPTY_WAYS = ("count", "leave-out")
"""What may be done with clips whose hypothesis is empty."""


@dataclass(frozen=True)
class GroupCounts:
    """How many clips each combination of groups has."""

    attributes: tuple[str, ...] = ()
    counts: tuple[tuple[tuple[str | None, ...], int], ...] = ()
    """Values of the attributes, None where unknown, and how many clips have them."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(count for _, count in self.counts)

    def of(self, attributes: Sequence[str], values: Sequence[str]) -> int:
        """Return how many are of one group of one attribute, or of one cell of several."""
        return self._count(attributes, lambda found: found == list(values))

    def unknown(self, attributes: Sequence[str]) -> int:
        """Return how many have no value recorded for one of the attributes."""
        return self._count(attributes, lambda found: None in found)

    def _count(self, attributes: Sequence[str], fits: Callable[[list[str | None]], bool]) -> int:
        places = [self.attributes.index(name) for name in attributes]
        return sum(count for values, count in self.counts if fits([values[place] for place in places]))


class GroupCounter:
    """Counts them while rows pass.

    Examples
    --------
    >>> counter = GroupCounter(["gender"])
    >>> for gender in ("F", "F", None):
    ...     counter.add([gender])
    >>> counter.found().of(["gender"], ["F"]), counter.found().unknown(["gender"])
    (2, 1)
    """

    def __init__(self, attributes: Sequence[str]) -> None:
        self._attributes = tuple(attributes)
        self._counts: Counter[tuple[str | None, ...]] = Counter()

    def add(self, values: Sequence[str | None], count: int = 1) -> None:
        """Count clips of these groups."""
        self._counts[tuple(values)] += count

    def found(self) -> GroupCounts:
        """Return the counts."""
        return GroupCounts(self._attributes, tuple(sorted(self._counts.items(), key=repr)))


class ClipTexts(NamedTuple):
    """What can be shown of a clip."""

    id: str
    speaker: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class BadClip:
    """One of the worst clips of a group."""

    by: str
    group: str
    texts: ClipTexts
    value: float
    """Score of the clip alone; NaN where it is not defined."""
    empty: bool
    """Whether its hypothesis has no word; some runs leave these out."""


SHOWN = 3
_KEPT = 32
"""More than are shown: speakers and empty hypotheses that are left out in the end take theirs with them."""

_LONGEST = 300


class WorstClips:
    """Keeps them while batches pass.

    Parameters
    ----------
    metric
        The main one. Of error rates the most errors are worst, of other metrics the lowest score.
    """

    def __init__(self, metric: AdditiveMetric) -> None:
        self._metric = metric
        self._heaps: dict[tuple[str, int, bool], list[tuple[float, int, BadClip]]] = {}
        self._count = 0

    def look(
        self,
        statistics: Array,
        codes: Mapping[str, npt.NDArray[np.int32]],
        empty: npt.NDArray[np.bool_],
        texts_of: Callable[[int], ClipTexts],
    ) -> None:
        """Look at a batch.

        Parameters
        ----------
        statistics
            Of the metric, ``[clip, column]``.
        codes
            Attribute -> group of each clip, -1 where unknown.
        empty
            Whether the hypothesis of each clip has no word.
        texts_of
            Returns the texts of a clip of the batch.
        """
        with np.errstate(all="ignore"):
            value = self._metric.score(statistics)
        badness = statistics[:, :3].sum(1) if self._metric.columns[0] == "substitutions" else _loss(value)
        for by, index in codes.items():
            for code, silent in product(np.unique(index), (False, True)):
                members = np.flatnonzero((index == code) & (empty == silent) & (badness > 0))
                worst = members[np.argsort(-badness[members], kind="stable")[:_KEPT]]
                heap = self._heaps.setdefault((by, int(code), silent), [])
                for clip in worst.tolist():
                    bad = float(badness[clip])
                    if len(heap) == _KEPT and bad <= heap[0][0]:
                        break
                    self._count += 1
                    # Of equals the first stay: the counter also keeps clips from being compared.
                    kept = BadClip(by, UNKNOWN, _cut(texts_of(clip)), float(value[clip]), silent)
                    entry = (bad, -self._count, kept)
                    (heapq.heappush if len(heap) < _KEPT else heapq.heapreplace)(heap, entry)

    def found(self, names: Mapping[str, Sequence[str]], kept: Callable[[str], bool]) -> list[BadClip]:
        """Return more of the worst clips of each attribute and group than are shown, the worst first.

        Parameters
        ----------
        names
            Attribute -> names of its groups.
        kept
            Whether a speaker still counts.
        """
        found: list[BadClip] = []
        for by, code in sorted({(by, code) for by, code, _ in self._heaps}):
            group = names[by][code] if code >= 0 else UNKNOWN
            entries = [entry for silent in (False, True) for entry in self._heaps.get((by, code, silent), [])]
            clips = [clip for _, _, clip in sorted(entries, reverse=True) if kept(clip.texts.speaker)]
            found += [replace(clip, group=group) for clip in clips]
        return found


def _loss(value: Array) -> Array:
    """Return how far scores are below 100; 0 where they are not defined."""
    return np.asarray(100.0 - np.nan_to_num(value, nan=100.0))


def _cut(texts: ClipTexts) -> ClipTexts:
    return ClipTexts(*(f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text for text in texts))
