"""Complementary disclosure: which suppressed scores follow from published ones, and what has to be withheld.

A group below the threshold is not scored. That alone does not protect it: if women and men add up to everybody and so
do the ages, the score of the one unpublished age follows by subtraction. Error counts and words are sums over clips, so
this is linear algebra. Every published group is a row of zeros and ones over the finest cells of all attributes; a
group is disclosed if its own row is a linear combination of published rows (Hundepool et al. 2012, Statistical
Disclosure Control, chapter 4).

Not covered on purpose: bounds on a score that is not disclosed exactly, and a second report on nearly the same clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import CROSSED
from audio_ssl.fairness.counting import ClipCodes

CellFlags = npt.NDArray[np.bool_]
"""Mask of the finest cells of a group, ``[cell]``."""

MOST_CELLS = 2000
"""With more unpublished cells than this, disclosure is not checked: see `can_be_checked`."""

_ROUNDING = 1e-3
"""Weights and residuals below this are zero. A row that is no combination has a far larger residual."""
_RIDGE = 1e-8


class Disclosure(NamedTuple):
    """A hidden group that published groups disclose."""

    hidden: int
    """Index among the hidden groups."""

    through: tuple[int, ...]
    """Indices of the published groups that are added and subtracted."""


def can_be_checked(published: Sequence[CellFlags]) -> bool:
    """Return whether there are few enough unpublished cells for `disclosures`."""
    return not published or int(_open_cells(np.stack(published)).sum()) <= MOST_CELLS


def disclosures(published: Sequence[CellFlags], hidden: Sequence[CellFlags]) -> list[Disclosure]:
    """Return the hidden groups whose sums follow from sums of published groups.

    Parameters
    ----------
    published, hidden
        Groups, each ``[cell]``.

    Examples
    --------
    Women and men are published, and of the ages all but the last, which is the rest of everybody.

    >>> women, men = np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 1], bool)
    >>> young, old = np.array([1, 0, 1, 0], bool), np.array([0, 1, 0, 1], bool)
    >>> disclosures([women, men, young], [old])
    [Disclosure(hidden=0, through=(0, 1, 2))]
    >>> disclosures([women, young], [old])
    []
    """
    if not published or not hidden:
        return []
    rows, wanted = np.stack(published), np.stack(hidden)
    # A published cell is known. Only the others are solved for.
    unknown = _open_cells(rows)
    weights: npt.NDArray[np.float64] = np.zeros((len(rows), len(wanted)))
    missed = np.zeros(len(wanted))
    if unknown.any():
        known_sums, asked = rows[:, unknown].astype(np.float64), wanted[:, unknown].astype(np.float64)
        # Least squares with a ridge far below the smallest eigenvalue: exact enough, and many times as fast.
        gram = known_sums @ known_sums.T + _RIDGE * np.eye(len(rows))
        weights = np.asarray(np.linalg.solve(gram, known_sums @ asked.T), np.float64)
        missed = np.abs(known_sums.T @ weights - asked.T).max(0)
    found = []
    for place in np.flatnonzero(missed < _ROUNDING).tolist():
        used = np.abs(weights[:, place]) > _ROUNDING
        # Known cells that the sums contain too often or too rarely are subtracted or added.
        rest = np.abs(weights[:, place] @ rows - wanted[place]) > _ROUNDING
        used |= (rows.sum(1) == 1) & rows[:, rest & ~unknown].any(1)
        found.append(Disclosure(place, tuple(np.flatnonzero(used).tolist())))
    return found


def _open_cells(rows: npt.NDArray[np.bool_]) -> CellFlags:
    known = rows[rows.sum(1) == 1].any(0)
    return np.asarray(~known)


Index = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_ROUNDS_OF_ONE = 12
_MOST_TRIED = 60
_Group = tuple[tuple[int, ...], int]
"""The parts of a draft and a label."""


@dataclass(frozen=True)
class Cells:
    """Clips by their values of every attribute."""

    attributes: tuple[ClipCodes, ...]
    of_clip: Index
    """``[clip]``."""
    codes: Index
    """``[cell, attribute]``, -1 where unknown."""
    counts: Index
    """Clips, ``[cell]``."""
    people: tuple[Index, Index]
    """Cell and speaker, each pair that occurs once."""

    @staticmethod
    def of(speakers: ClipCodes, attributes: Sequence[ClipCodes]) -> Cells:
        """Return the cells of some clips."""
        key = np.zeros(len(speakers.index), np.int64)
        for codes in attributes:
            key = key * (len(codes.names) + 1) + codes.index + 1
            # Codes are renumbered each time, so that many attributes do not overflow.
            key = np.unique(key, return_inverse=True)[1].astype(np.int64)
        _, first, counts = np.unique(key, return_index=True, return_counts=True)
        both = np.unique(key * len(speakers.names) + speakers.index)
        return Cells(
            tuple(attributes),
            key,
            np.stack([codes.index[first] for codes in attributes], axis=1).astype(np.int64),
            counts.astype(np.int64),
            (both // len(speakers.names), both % len(speakers.names)),
        )

    def speakers(self, members: Flags) -> int:
        """Return how many speakers some cells have, ``[cell]``."""
        cells, people = self.people
        return len(np.unique(people[members[cells]]))

    def speakers_by(self, label: Index) -> dict[int, int]:
        """Return how many speakers the cells of each label have, ``[cell]``."""
        cells, people = self.people
        if not len(cells):
            return {}
        found, place = np.unique(label[cells], return_inverse=True)
        both = np.unique(place * (int(people.max()) + 1) + people) // (int(people.max()) + 1)
        return dict(zip(found.tolist(), np.bincount(both, minlength=len(found)).tolist(), strict=True))

    def clips(self, members: Flags) -> int:
        """Return how many clips some cells have."""
        return int(self.counts[members].sum())


@dataclass(frozen=True)
class Draft:
    """The groups of one attribute, or of several together, before it is decided which are scored."""

    parts: tuple[int, ...]
    """Indices of the attributes."""
    of_cell: Index
    """Group of each cell, a label or -1 where unknown, ``[cell]``."""
    labels: tuple[int, ...]
    """In the order of the report."""
    attributes: tuple[ClipCodes, ...] = field(repr=False)
    """Those of the parts."""
    left_out: Flags = field(repr=False)
    """Cells that are excluded from every score, ``[cell]``."""
    scored: frozenset[int] = frozenset()
    unknown_scored: bool = False

    def values(self, label: int) -> tuple[str, ...]:
        """Return the value of every part."""
        found: list[str] = []
        for codes in reversed(self.attributes):
            label, code = divmod(label, len(codes.names))
            found.append(codes.names[code])
        return tuple(reversed(found))

    def name(self, label: int) -> str:
        """Return the name of a group."""
        return CROSSED.join(self.values(label))

    def members(self, label: int) -> Flags:
        """Return the cells that the score of a group counts, ``[cell]``."""
        return np.asarray((self.of_cell == label) & ~self.left_out)


def drafts_of(cells: Cells, sets: Sequence[tuple[int, ...]]) -> list[Draft]:
    """Return the groups of each set of attributes."""
    found = []
    for parts in sets:
        attributes = tuple(cells.attributes[part] for part in parts)
        label = np.zeros(len(cells.codes), np.int64)
        for part, codes in zip(parts, attributes, strict=True):
            label = label * len(codes.names) + np.maximum(cells.codes[:, part], 0)
        label[(cells.codes[:, list(parts)] < 0).any(1)] = -1
        draft = Draft(parts, label, (), attributes, np.zeros(len(label), bool))
        present = [int(one) for one in np.unique(label) if one >= 0]
        present.sort(key=lambda one: [(value != "F", value) for value in draft.values(one)])
        found.append(replace(draft, labels=tuple(present)))
    return found


def protect(cells: Cells, drafts: Sequence[Draft], min_speakers: int) -> list[Draft]:
    """Decide which groups are scored: none below `min_speakers`, and none that would disclose such a group."""
    left_out = np.zeros(len(cells.codes), bool)
    singles = [draft for draft in drafts if len(draft.parts) == 1]
    while True:
        decided = [_decide(cells, draft, left_out, set(), min_speakers) for draft in singles]
        _, published = _published(decided)
        hidden = _protected(cells, decided, min_speakers)
        found = disclosures(published, hidden)
        if not found:
            break
        left_out = np.any([left_out, *(hidden[one.hidden] for one in found)], axis=0)
    while True:
        decided, given_away = _withhold(cells, drafts, left_out, min_speakers)
        if not given_away:
            return decided
        left_out = np.any([left_out, *given_away], axis=0)


def _withhold(
    cells: Cells, drafts: Sequence[Draft], left_out: Flags, min_speakers: int
) -> tuple[list[Draft], list[Flags]]:
    """Withhold crossed groups that disclose others, and return what single attributes disclose."""
    withheld: set[_Group] = set()
    hidden: list[Flags] | None = None
    most, rounds = 1, 0
    while True:
        decided = [_decide(cells, draft, left_out, withheld, min_speakers) for draft in drafts]
        groups, published = _published(decided)
        crossed = [group for group in groups if len(group[0]) > 1]
        if crossed and not can_be_checked(published):
            # With so many small cells, few crossed groups of so many attributes would be scored anyway.
            withheld |= {group for group in crossed if len(group[0]) == max(len(parts) for parts, _ in crossed)}
            continue
        # Publishing less discloses no more, so what is safe remains safe.
        hidden = _protected(cells, decided, min_speakers) if hidden is None else hidden
        found = disclosures(published, hidden)
        hidden = [hidden[one.hidden] for one in found]
        known = {members.tobytes() for (parts, _), members in zip(groups, published, strict=True) if len(parts) == 1}
        before = len(withheld)
        for one in found:
            through = [place for place in one.through if len(groups[place][0]) > 1]
            # Withholding a cell that an attribute publishes under another name has no effect.
            some = [place for place in through if published[place].tobytes() not in known] or through
            some.sort(key=lambda place: (cells.speakers(published[place]), groups[place]))
            withheld |= {groups[place] for place in some[:most]}
        if len(withheld) == before:
            if not hidden and len(withheld) <= _MOST_TRIED:
                decided = _publish_again(cells, drafts, left_out, withheld, min_speakers)
            return decided, hidden
        rounds += 1
        # One cell first, then twice as many each round, so that thousands of cells need few rounds.
        most = 2 ** max(0, rounds - _ROUNDS_OF_ONE)


def _publish_again(
    cells: Cells, drafts: Sequence[Draft], left_out: Flags, withheld: set[_Group], min_speakers: int
) -> list[Draft]:
    """Score groups again that need not be withheld: a group withheld early can be unnecessary later."""
    decided = [_decide(cells, draft, left_out, withheld, min_speakers) for draft in drafts]
    size = {
        (draft.parts, label): cells.speakers(draft.members(label)) for draft in drafts for label in (*draft.labels, -1)
    }
    for group in sorted(withheld, key=lambda one: (-size[one], one)):
        tried = [_decide(cells, draft, left_out, withheld - {group}, min_speakers) for draft in drafts]
        _, published = _published(tried)
        if not disclosures(published, _protected(cells, tried, min_speakers)):
            decided, withheld = tried, withheld - {group}
    return decided


def _published(drafts: Sequence[Draft]) -> tuple[list[_Group], list[Flags]]:
    """Return the groups that have a score, and the cells of each."""
    groups = [(draft, label) for draft in drafts for label in _scored(draft)]
    return [(draft.parts, label) for draft, label in groups], [draft.members(label) for draft, label in groups]


def _scored(draft: Draft) -> list[int]:
    return [*sorted(draft.scored), *([-1] if draft.unknown_scored else [])]


def _decide(cells: Cells, draft: Draft, left_out: Flags, withheld: set[_Group], min_speakers: int) -> Draft:
    draft = replace(draft, left_out=left_out.copy())
    speakers = cells.speakers_by(np.where(left_out, -2, draft.of_cell))
    enough = {
        label
        for label in (*draft.labels, -1)
        if (draft.parts, label) not in withheld and speakers.get(label, 0) >= min_speakers
    }
    return replace(draft, scored=frozenset(enough - {-1}), unknown_scored=-1 in enough)


def _protected(cells: Cells, drafts: Sequence[Draft], min_speakers: int) -> list[Flags]:
    """Return the small groups, and what remains of a larger group without its scored cells."""
    found: dict[bytes, Flags] = {}

    def keep(label_of_cell: Index) -> None:
        for label, speakers in cells.speakers_by(label_of_cell).items():
            if label >= -1 and speakers < min_speakers:
                members = label_of_cell == label
                found.setdefault(members.tobytes(), members)

    for draft in drafts:
        scored = _scored(draft)
        hidden = np.where(draft.left_out | np.isin(draft.of_cell, scored), -2, draft.of_cell)
        keep(hidden)
        keep(np.where(hidden == -2, -2, 0))
        for outer in drafts if len(draft.parts) > 1 else ():
            if len(outer.parts) == 1:
                keep(np.where((hidden == -2) | ~np.isin(outer.of_cell, _scored(outer)), -2, outer.of_cell))
    return list(found.values())
