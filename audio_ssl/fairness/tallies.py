"""Counts made while rows pass: excluded clips, empty and missing hypotheses by group, the worst clips of each group.

Memory is bounded, whatever the size of the table: the first names of each reason and a few clips per group are kept.
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
    """Clips that were excluded for one reason."""

    reason: str
    count: int
    names: tuple[str, ...]
    """Ids of the first ones."""


class Exclusions:
    """Counts excluded clips by reason.

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
        # Some reasons quote the row, so their number is limited.
        if reason not in self._names and len(self._names) >= MOST_REASONS:
            reason = FURTHER
        kept = self._names.setdefault(reason, [])
        for name in names:
            self._counts[reason] = self._counts.get(reason, 0) + 1
            if len(kept) < NAMED:
                kept.append(name)

    def all(self) -> list[Exclusion]:
        """Return one exclusion for each reason, in order of first appearance."""
        return [Exclusion(reason, count, tuple(self._names[reason])) for reason, count in self._counts.items()]

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self._counts.items())


NOT_TEXT = frozenset({"NaN", "<NA>", "\\N", "#N/A", "#NV"})
"""Spellings of a missing value that no recogniser gives as a word."""

PERHAPS_NOT_TEXT = frozenset({"nan", "NAN", "None", "null", "NULL"})
"""Spellings of a missing value that may also be a word."""

EMPTY_WAYS = ("count", "leave-out")
"""Ways to treat clips with an empty hypothesis."""


@dataclass(frozen=True)
class GroupCounts:
    """Numbers of clips of each combination of groups."""

    attributes: tuple[str, ...] = ()
    counts: tuple[tuple[tuple[str | None, ...], int], ...] = ()
    """Values of the attributes (None where unknown), and their number of clips."""

    @property
    def total(self) -> int:
        """Number of all clips."""
        return sum(count for _, count in self.counts)

    def of(self, attributes: Sequence[str], values: Sequence[str]) -> int:
        """Return the number of clips of a group of one attribute, or of a cell of several."""
        return self._count(attributes, lambda found: found == list(values))

    def unknown(self, attributes: Sequence[str]) -> int:
        """Return the number of clips without a recorded value of one of the attributes."""
        return self._count(attributes, lambda found: None in found)

    def _count(self, attributes: Sequence[str], fits: Callable[[list[str | None]], bool]) -> int:
        places = [self.attributes.index(name) for name in attributes]
        return sum(count for values, count in self.counts if fits([values[place] for place in places]))


class GroupCounter:
    """Counts clips by group.

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
        """Count clips with these values."""
        self._counts[tuple(values)] += count

    def found(self) -> GroupCounts:
        """Return the counts."""
        return GroupCounts(self._attributes, tuple(sorted(self._counts.items(), key=repr)))


class ClipTexts(NamedTuple):
    """The texts of a clip as they can be shown."""

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
    """Whether its hypothesis has no word; some audits exclude these."""


SHOWN = 3
_KEPT = 32
"""More than are shown, because clips of speakers who are excluded later are dropped."""

_LONGEST = 300


class WorstClips:
    """Keeps the worst clips of each group.

    Parameters
    ----------
    metric
        The main one. The worst clips have the most errors, or the lowest score where errors are not counted.
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
        """Keep the worst clips of a batch.

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
                    # Of equal clips the first one is kept. The counter also prevents that clips are compared.
                    kept = BadClip(by, UNKNOWN, _cut(texts_of(clip)), float(value[clip]), silent)
                    entry = (bad, -self._count, kept)
                    (heapq.heappush if len(heap) < _KEPT else heapq.heapreplace)(heap, entry)

    def found(self, names: Mapping[str, Sequence[str]], kept: Callable[[str], bool]) -> list[BadClip]:
        """Return the worst clips of each attribute and group, the worst first; more than are shown.

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
    """Return 100 minus the scores; 0 where they are not defined."""
    return np.asarray(100.0 - np.nan_to_num(value, nan=100.0))


def _cut(texts: ClipTexts) -> ClipTexts:
    return ClipTexts(*(f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text for text in texts))
