"""Hypotheses that are not there, by group: a clip that a system was not asked for, or gave no answer to.

They are counted apart from empty ones. An empty hypothesis is an answer, and every word of its reference an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NOT_TEXT = frozenset({"NaN", "<NA>", "\\N", "#N/A", "#NV"})
"""What programs write for nothing, in this spelling; no recogniser says so."""

PERHAPS_NOT_TEXT = frozenset({"nan", "NAN", "None", "null", "NULL"})
"""What programs write for nothing, and what may have been said."""


@dataclass(frozen=True)
class Missing:
    """How many hypotheses are missing for each combination of groups."""

    attributes: tuple[str, ...] = ()
    counts: tuple[tuple[tuple[str | None, ...], int], ...] = ()
    """Values of the attributes, None where unknown, and how many clips without a hypothesis have them."""

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


class MissingCounter:
    """Counts them while rows pass."""

    def __init__(self, attributes: Sequence[str]) -> None:
        self._attributes = tuple(attributes)
        self._counts: Counter[tuple[str | None, ...]] = Counter()

    def add(self, values: Sequence[str | None]) -> None:
        """Count a clip of these groups."""
        self._counts[tuple(values)] += 1

    def found(self) -> Missing:
        """Return the counts."""
        return Missing(self._attributes, tuple(sorted(self._counts.items(), key=repr)))
