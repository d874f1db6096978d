"""What was left out and why: counted, and the first few named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
