"""Which clips make which group: by one attribute, and by several together.

Groups are as the corpus recorded them. Clips without a recorded value make no group but are kept, as ``unknown``. Cells
of several attributes with few speakers are suppressed: their scores would say little, and might tell who speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.fairness.people import CROSSED, REST
from audio_ssl.fairness.predictions import Codes, Predictions

MIN_CELL_SPEAKERS = 5
"""Cells of several attributes with fewer speakers are not scored."""

PAIRS_UP_TO_GROUPS = 6
"""Of more groups than this, each is compared with all the others together, not with each of them."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """Two groups to compare; the gap is the first one's score minus the second's."""

    first: str
    second: str


@dataclass(frozen=True)
class Grouping:
    """The clips of one table, split by one or several attributes."""

    by: str
    """``gender``, or ``gender × age``."""

    names: tuple[str, ...]
    """Groups in the order of the report: F before M, else sorted."""

    index: npt.NDArray[np.int32]
    """``[clip]``, group of each; -1 where unknown, -2 where the cell is suppressed."""

    pairs: tuple[Pair, ...]
    """What is compared."""

    suppressed: tuple[str, ...] = ()
    """Cells with too few speakers."""

    def members(self, name: str) -> Mask:
        """Return which clips are of a group, ``[clip]``; `UNKNOWN`, `ALL` and `REST` of nothing are no groups."""
        return np.asarray(self.index == self.names.index(name))

    def sides(self, pair: Pair) -> tuple[Mask, Mask]:
        """Return the clips of both sides of a pair."""
        first = self.members(pair.first)
        second = (self.index >= 0) & ~first if pair.second == REST else self.members(pair.second)
        return first, second


def group_by(
    predictions: Predictions,
    by: Sequence[str],
    pairs_of: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    min_speakers: int = MIN_CELL_SPEAKERS,
) -> list[Grouping]:
    """Return the groups of each attribute, then of each set of attributes together.

    Parameters
    ----------
    predictions
        Whose `attributes` has every name of `by`.
    by
        Attributes.
    pairs_of
        Pairs to compare of an attribute, where not all pairs make sense.
    min_speakers
        Of a cell of several attributes.
    """
    singles = [_single(predictions.attributes[name], name, (pairs_of or {}).get(name)) for name in by]
    groupings = list(singles)
    # Clip-level attributes, such as the category of a term, are no property of a person to cross with others.
    people = [one for one in singles if one.by not in (pairs_of or {})]
    for size in range(2, len(people) + 1):
        groupings += [_crossed(chosen, predictions.speakers, min_speakers) for chosen in combinations(people, size)]
    return groupings


def speakers_of(predictions: Predictions, members: Mask) -> npt.NDArray[np.int64]:
    """Return the codes of the speakers of some clips, sorted, each once."""
    return np.unique(predictions.speakers.index[members]).astype(np.int64)


def _single(codes: Codes, by: str, wanted: Sequence[tuple[str, str]] | None) -> Grouping:
    present = np.unique(codes.index[codes.index >= 0])
    order = sorted(present.tolist(), key=lambda code: _rank(codes.names[code]))
    place = np.full(len(codes.names) + 1, -1, np.int32)
    place[order] = np.arange(len(order))
    names = tuple(codes.names[code] for code in order)
    if wanted is not None:
        pairs = tuple(Pair(a, b) for a, b in wanted if a in names and b in names)
    elif len(names) <= PAIRS_UP_TO_GROUPS:
        pairs = tuple(Pair(a, b) for a, b in combinations(names, 2))
    else:
        pairs = tuple(Pair(name, REST) for name in names)
    # The last place is what -1 points at.
    return Grouping(by, names, place[codes.index], pairs)


def _rank(name: str) -> tuple[bool, str]:
    return (name != "F", name)


def _crossed(parts: Sequence[Grouping], speakers: Codes, min_speakers: int) -> Grouping:
    """Return the cells of several attributes; compared are cells that differ in one of them."""
    index = np.zeros(len(speakers.index), np.int64)
    unknown = np.zeros(len(speakers.index), bool)
    for part in parts:
        index = index * len(part.names) + np.maximum(part.index, 0)
        unknown |= part.index < 0
    values = list(product(*(part.names for part in parts)))
    cell_of_speaker = np.unique(np.stack([index, speakers.index.astype(np.int64)])[:, ~unknown], axis=1)[0]
    count = np.bincount(cell_of_speaker, minlength=len(values))
    kept = np.flatnonzero(count >= min_speakers)
    place = np.full(len(values), -2, np.int32)
    place[kept] = np.arange(len(kept))
    found = np.where(unknown, -1, place[index]) if len(values) else np.full(len(index), -1)
    names = tuple(CROSSED.join(values[cell]) for cell in kept)
    pairs = tuple(
        Pair(names[i], names[j])
        for i, j in combinations(range(len(kept)), 2)
        if sum(a != b for a, b in zip(values[kept[i]], values[kept[j]], strict=True)) == 1
    )
    few = tuple(CROSSED.join(values[cell]) for cell in np.flatnonzero((count > 0) & (count < min_speakers)))
    return Grouping(CROSSED.join(part.by for part in parts), names, found.astype(np.int32), pairs, few)


def suppressed_row(predictions: Predictions, grouping: Grouping, min_speakers: int) -> dict[str, Any] | None:
    """Return what the report says of the cells without scores; None where there are none."""
    if not grouping.suppressed:
        return None
    members = grouping.index == -2
    return {
        "by": grouping.by,
        "groups": list(grouping.suppressed),
        "speakers": len(speakers_of(predictions, members)),
        "clips": int(members.sum()),
        "reason": f"fewer than {min_speakers} speakers each",
    }
