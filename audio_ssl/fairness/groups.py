"""Which clips make which group: by one attribute, and by several together.

Groups are as the corpus recorded them. Clips without a recorded value are kept as ``unknown``. A group of few speakers
is counted and not scored, because its score would say little about a group and much about a person.

Nor may its score follow from published ones by subtraction (`disclosure`). Three steps prevent that, in this order. The
row of all clips counts the scored groups alone. A cell of several attributes that would reveal a smaller one is
withheld, the one with the fewest speakers first. If single attributes alone reveal a group, its speakers are excluded
from every score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import CROSSED, REST, UNKNOWN
from audio_ssl.artifacts.fairness_report import SuppressedGroup
from audio_ssl.fairness.disclosure import Cells, Draft, drafts_of, protect
from audio_ssl.fairness.predictions import Predictions
from audio_ssl.fairness.wording import few_speakers

MIN_GROUP_SPEAKERS = 5
"""Groups with fewer speakers are not scored."""

PAIRS_UP_TO_GROUPS = 6
"""If there are more groups than this, each is compared with all others together, not with each of them."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """Two groups to compare. The gap is the first group's score minus the second's."""

    first: str
    second: str


@dataclass(frozen=True)
class Grouping:
    """The clips of one table, split by one or several attributes."""

    by: str
    """``gender``, or ``gender × age``."""

    names: tuple[str, ...]
    """Scored groups in the order of the report: F before M, else sorted."""

    index: npt.NDArray[np.int32]
    """``[clip]``, group of each; -1 where unknown, -2 where the clip is not scored."""

    pairs: tuple[Pair, ...]
    """Pairs that are compared."""

    hidden: tuple[SuppressedGroup, ...] = ()
    """Groups that are counted and not scored."""

    refused: tuple[tuple[Pair, str], ...] = ()
    """Pairs that are not compared because one group has no score, with the reason."""

    def members(self, name: str) -> Mask:
        """Return the mask of one group's clips, ``[clip]``. `UNKNOWN`, `ALL` and `REST` are not accepted."""
        return np.asarray(self.index == self.names.index(name))

    def sides(self, pair: Pair) -> tuple[Mask, Mask]:
        """Return the masks of both sides of a pair."""
        first = self.members(pair.first)
        second = (self.index >= 0) & ~first if pair.second == REST else self.members(pair.second)
        return first, second


def group_by(
    predictions: Predictions,
    by: Sequence[str],
    pairs_of: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    min_speakers: int = MIN_GROUP_SPEAKERS,
) -> list[Grouping]:
    """Return the groups of each attribute, then of each set of attributes together.

    Parameters
    ----------
    predictions
        Their `attributes` must have every name of `by`.
    by
        Attributes.
    pairs_of
        Attribute to the pairs to compare, where not all pairs make sense.
    min_speakers
        Fewest speakers of a group that is scored.
    """
    pairs_of = pairs_of or {}
    cells = Cells.of(predictions.speakers, [predictions.attributes[name] for name in by])
    # An attribute of clips, such as the category of a term, is not crossed with attributes of people.
    people = [place for place, name in enumerate(by) if name not in pairs_of]
    sets: list[tuple[int, ...]] = [(place,) for place in range(len(by))]
    sets += [chosen for size in range(2, len(people) + 1) for chosen in combinations(people, size)]
    drafts = protect(cells, drafts_of(cells, sets), min_speakers)
    return [
        _grouping(
            cells, draft, CROSSED.join(by[place] for place in draft.parts), pairs_of, min_speakers, predictions.name
        )
        for draft in drafts
    ]


def speakers_of(predictions: Predictions, members: Mask) -> npt.NDArray[np.int64]:
    """Return the codes of the speakers of some clips, sorted, each once."""
    return np.unique(predictions.speakers.index[members]).astype(np.int64)


def _grouping(
    cells: Cells,
    draft: Draft,
    by: str,
    pairs_of: Mapping[str, Sequence[tuple[str, str]]],
    min_speakers: int,
    result: str,
) -> Grouping:
    scored = [label for label in draft.labels if label in draft.scored]
    place = np.full(max(draft.labels, default=0) + 3, -2, np.int32)
    place[scored] = np.arange(len(scored))
    # Labels -1 and -2 index the last two places.
    place[-2:] = (-2, -1 if draft.unknown_scored else -2)
    of_cell = np.where(draft.left_out, -2, place[draft.of_cell])
    names = tuple(draft.name(label) for label in scored)
    return Grouping(
        by,
        names,
        of_cell[cells.of_clip].astype(np.int32),
        _pairs(draft, scored, names, pairs_of.get(by)),
        tuple(_hidden(cells, draft, min_speakers, result, by)),
        tuple(_refused(cells, draft, pairs_of.get(by), min_speakers)),
    )


def _pairs(
    draft: Draft, scored: Sequence[int], names: Sequence[str], wanted: Sequence[tuple[str, str]] | None
) -> tuple[Pair, ...]:
    if len(draft.parts) > 1:
        values = [draft.values(label) for label in scored]
        return tuple(
            Pair(names[i], names[j])
            for i, j in combinations(range(len(scored)), 2)
            if sum(a != b for a, b in zip(values[i], values[j], strict=True)) == 1
        )
    if wanted is not None:
        return tuple(Pair(a, b) for a, b in wanted if a in names and b in names)
    if len(names) <= PAIRS_UP_TO_GROUPS:
        return tuple(Pair(a, b) for a, b in combinations(names, 2))
    return tuple(Pair(name, REST) for name in names)


def _refused(
    cells: Cells, draft: Draft, wanted: Sequence[tuple[str, str]] | None, min_speakers: int
) -> Iterator[tuple[Pair, str]]:
    """Yield the pairs of an attribute with an unscored group, if the groups are few."""
    if len(draft.parts) > 1 or len(draft.labels) > PAIRS_UP_TO_GROUPS:
        return
    label_of = {draft.name(label): label for label in draft.labels}
    for first, second in combinations(label_of, 2) if wanted is None else wanted:
        few = [name for name in (first, second) if name in label_of and label_of[name] not in draft.scored]
        if few and first in label_of and second in label_of:
            speakers = cells.speakers(draft.of_cell == label_of[few[0]])
            yield Pair(first, second), few_speakers(few[0], speakers, min_speakers)


def _hidden(cells: Cells, draft: Draft, min_speakers: int, result: str, by: str) -> Iterator[SuppressedGroup]:
    """Yield the groups that are counted and not scored."""
    rest = draft.left_out.copy()
    unknown = [] if draft.unknown_scored else [-1]
    for label in [*(label for label in draft.labels if label not in draft.scored), *unknown]:
        members = draft.of_cell == label
        speakers = cells.speakers(members)
        if not speakers:
            continue
        few = speakers < min_speakers
        reason = (
            f"fewer than {min_speakers} speakers"
            if few
            else f"withheld, because it would reveal the score of a group of fewer than {min_speakers} speakers"
        )
        rest &= ~members
        name = UNKNOWN if label == -1 else draft.name(label)
        yield SuppressedGroup(result, by, (name,), speakers, cells.clips(members), reason)
    if rest.any():
        reason = (
            f"excluded here too, because another attribute puts these speakers into a group of fewer than "
            f"{min_speakers}, whose score would be revealed"
        )
        yield SuppressedGroup(result, by, (), cells.speakers(rest), cells.clips(rest), reason)
