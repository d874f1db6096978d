"""Is the gap of one system larger than that of another? Rows for systems that answered the same clips.

Both heard the same speakers, so they are drawn together; clips that only one of them answered are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.fairness.compare import (
    MIN_SPEAKERS,
    WARN_BELOW_SPEAKERS,
    Chance,
    speaker_sums,
)
from audio_ssl.fairness.groups import Grouping, Pair
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.predictions import Predictions
from audio_ssl.fairness.two_systems import gap_difference
from audio_ssl.metrics.additive import AdditiveMetric

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Answered = tuple[Predictions, Sequence[Grouping]]


def common_notes(tables: Sequence[Predictions]) -> Iterator[str]:
    """Say on which clips systems are compared, where that is not on all of both."""
    for place, other in enumerate(tables):
        first, common = _first_of_same(other, tables[:place])
        if first is None and place:
            yield f"{other.name} is compared with no other system: no clips are alike in id and reference."
        elif first is not None and not common == len(other.keys) == len(first.keys):
            yield (
                f"{other.name} and {first.name} are compared on the {common:,} clips, alike in id and reference, that "
                f"both have, of {len(other.keys):,} and {len(first.keys):,}."
            )


def _first_of_same(other: Predictions, before: Sequence[Predictions]) -> tuple[Predictions | None, int]:
    """Return the first system with clips of this one, which all others are compared with, and how many."""
    for first in before:
        if common := len(np.intersect1d(other.keys, first.keys, assume_unique=True)):
            return first, common
    return None, 0


def gap_difference_rows(
    answered: Sequence[Answered], chance: Chance, min_speakers: int = MIN_SPEAKERS
) -> Iterator[dict[str, Any]]:
    """Compare the gaps of every system with those of the first of the same clips.

    Parameters
    ----------
    answered
        Tables with their groupings, in the order of the report.
    chance
        Draws.
    min_speakers
        With fewer speakers of a group on the clips of both systems, gaps are not told either.
    """
    for place, (other, groupings) in enumerate(answered):
        for first, first_groupings in answered[:place]:
            ours, theirs = _common(other, first)
            if len(ours):
                for mine, its in _matching(groupings, first_groupings):
                    for row in _of_grouping(other, first, ours, theirs, mine, its, chance):
                        yield _without_gaps(row) if row.pop("fewest") < min_speakers else row
                # The first system of these clips is what all others are compared with.
                break


def _without_gaps(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row that tells nothing of groups that would not be scored."""
    return row | dict.fromkeys(("gap_a", "gap_b", "difference"), math.nan) | {"direction": "not compared"}


def _common(a: Predictions, b: Predictions) -> tuple[Rows, Rows]:
    """Return the positions of the clips that both answered."""
    _, ours, theirs = np.intersect1d(a.keys, b.keys, assume_unique=True, return_indices=True)
    return ours.astype(np.int64), theirs.astype(np.int64)


def _matching(a: Sequence[Grouping], b: Sequence[Grouping]) -> Iterator[tuple[Grouping, Grouping]]:
    of_b = {grouping.by: grouping for grouping in b}
    for grouping in a:
        if grouping.by in of_b:
            yield grouping, of_b[grouping.by]


def _of_grouping(
    a: Predictions, b: Predictions, ours: Rows, theirs: Rows, mine: Grouping, its: Grouping, chance: Chance
) -> Iterator[dict[str, Any]]:
    for name in a.statistics:
        if name not in b.statistics:
            continue
        metric = get_measure(name)
        for pair in mine.pairs:
            if pair in its.pairs:
                about = {
                    "result_a": a.name,
                    "result_b": b.name,
                    "by": mine.by,
                    "metric": name,
                    "unit": metric.unit,
                    "higher_is_better": metric.higher_is_better,
                    "a": pair.first,
                    "b": pair.second,
                }
                yield about | _compare(a, b, ours, theirs, (mine, its), pair, metric, chance)


def _compare(
    a: Predictions,
    b: Predictions,
    ours: Rows,
    theirs: Rows,
    groupings: tuple[Grouping, Grouping],
    pair: Pair,
    metric: AdditiveMetric,
    chance: Chance,
) -> dict[str, Any]:
    """Compare one gap; a clip counts where both tables put it on the same side."""
    sides_a, sides_b = groupings[0].sides(pair), groupings[1].sides(pair)
    sums: list[Array] = []
    speakers = []
    clips = 0
    for side in (0, 1):
        both = sides_a[side][ours] & sides_b[side][theirs]
        rows_a, rows_b = ours[both], theirs[both]
        clips += len(rows_a)
        # Speakers are those of the first table: the same clip has one speaker.
        codes = a.speakers.index[rows_a]
        sums_a, found = speaker_sums(a.statistics[metric.name][rows_a], codes)
        sums_b, _ = speaker_sums(b.statistics[metric.name][rows_b], codes)
        sums += [sums_a, sums_b]
        speakers.append(found)
    first_a, first_b, second_a, second_b = sums
    gap_a = float(metric.score(first_a.sum(0)) - metric.score(second_a.sum(0))) if clips else math.nan
    gap_b = float(metric.score(first_b.sum(0)) - metric.score(second_b.sum(0))) if clips else math.nan
    row: dict[str, Any] = {
        "gap_a": gap_a,
        "gap_b": gap_b,
        "difference": gap_a - gap_b,
        "low": math.nan,
        "high": math.nan,
        "p_value": math.nan,
        "p_holm": math.nan,
        "compared": 0,
        "clips": clips,
        "speakers": len(np.union1d(*speakers)),
        "fewest": min(map(len, speakers)),
        "refused": _refusal(speakers, gap_a - gap_b),
        "warning": None,
        "direction": _direction(a.name, b.name, gap_a, gap_b),
    }
    if row["refused"] is not None:
        return row
    found_gap = gap_difference(first_a, second_a, first_b, second_b, metric.score, chance.replicates, chance.rng())
    fewest = min(map(len, speakers))
    few = f"only {fewest} speakers in the smaller group" if fewest < WARN_BELOW_SPEAKERS else None
    interval = found_gap.difference
    return row | {"low": interval.low, "high": interval.high, "p_value": found_gap.p_value, "warning": few}


def _refusal(speakers: Sequence[npt.NDArray[np.int64]], difference: float) -> str | None:
    if not math.isfinite(difference):
        return "the score of one group is not defined on the clips of both systems"
    if len(np.intersect1d(speakers[0], speakers[1])):
        return "speakers are in both groups"
    if min(map(len, speakers)) < MIN_SPEAKERS:
        return f"a group has fewer than {MIN_SPEAKERS} speakers on the clips of both systems"
    return None


def _direction(a: str, b: str, gap_a: float, gap_b: float) -> str:
    """Say whose gap is larger.

    Examples
    --------
    >>> _direction("new", "old", 3.0, -1.0)
    'the gap of new is larger than that of old, and the other way round'
    """
    if not (math.isfinite(gap_a) and math.isfinite(gap_b)):
        return "the gap of one system is not defined"
    if abs(gap_a) == abs(gap_b):
        return f"the gaps of {a} and {b} are equally large"
    word = "larger" if abs(gap_a) > abs(gap_b) else "smaller"
    return f"the gap of {a} is {word} than that of {b}" + (", and the other way round" if gap_a * gap_b < 0 else "")
