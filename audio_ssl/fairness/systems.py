"""Gaps of two systems on the same clips, and gaps with and without empty hypotheses.

Two systems answered the same speakers, so a resample draws a speaker for both systems. Clips that only one system
answered are not used.

A missing hypothesis (null, NaN, no row) is no answer: the clip is excluded by name. An empty hypothesis is an answer,
and every word of its reference is an error, as in sclite and jiwer. But an empty hypothesis that comes from a failed
request or an unreadable file says nothing about the speakers. So both kinds are counted for each group, and every gap
is given with empty hypotheses counted and with their clips excluded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import EmptyEffect, GroupComparison, GroupScore, SystemComparison
from audio_ssl.fairness.comparisons import MIN_SPEAKERS, WARN_BELOW_SPEAKERS, Chance, speaker_sums
from audio_ssl.fairness.gap_tests import gap_difference
from audio_ssl.fairness.groups import Grouping, Pair
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.predictions import Predictions
from audio_ssl.fairness.wording import small_group
from audio_ssl.metrics.metric import AdditiveMetric

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Answered = tuple[Predictions, Sequence[Grouping]]


def common_notes(tables: Sequence[Predictions]) -> Iterator[str]:
    """Yield a note on each pair of systems that is not compared on all clips of both."""
    for place, other in enumerate(tables):
        first, common = _first_of_same(other, tables[:place])
        if first is None and place:
            yield f"{other.name} is not compared with another system: no clip has the same id and reference."
        elif first is not None and not common == len(other.keys) == len(first.keys):
            yield (
                f"{other.name} and {first.name} are compared on the {common:,} clips with the same id and reference, "
                f"of {len(other.keys):,} and {len(first.keys):,} clips."
            )


def _first_of_same(other: Predictions, before: Sequence[Predictions]) -> tuple[Predictions | None, int]:
    """Return the first system that has clips of `other`, and how many."""
    for first in before:
        if common := len(np.intersect1d(other.keys, first.keys, assume_unique=True)):
            return first, common
    return None, 0


def gap_difference_rows(
    answered: Sequence[Answered], chance: Chance, min_speakers: int = MIN_SPEAKERS
) -> Iterator[SystemComparison]:
    """Compare the gaps of every system with those of the first of the same clips.

    Parameters
    ----------
    answered
        Tables with their groupings, in the order of the report.
    chance
        Resamples and permutations.
    min_speakers
        A gap is not given if one of its groups has fewer speakers on the clips of both systems.
    """
    for place, (other, groupings) in enumerate(answered):
        for first, first_groupings in answered[:place]:
            ours, theirs = _common(other, first)
            if len(ours):
                for mine, its in _matching(groupings, first_groupings):
                    for row, fewest in _of_grouping(other, first, ours, theirs, mine, its, chance):
                        yield _without_gaps(row) if fewest < min_speakers else row
                # All others are compared with the first system of these clips.
                break


def _without_gaps(row: SystemComparison) -> SystemComparison:
    """Return a row without the gaps, for groups that are too small to be scored."""
    return replace(row, gap_a=math.nan, gap_b=math.nan, difference=math.nan, direction="not compared")


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
) -> Iterator[tuple[SystemComparison, int]]:
    """Yield a row for each metric and pair, with the number of speakers of its smaller group."""
    for name in a.statistics:
        if name not in b.statistics:
            continue
        for pair in mine.pairs:
            if pair in its.pairs:
                yield _compare(a, b, ours, theirs, (mine, its), pair, get_measure(name), chance)


def _compare(
    a: Predictions,
    b: Predictions,
    ours: Rows,
    theirs: Rows,
    groupings: tuple[Grouping, Grouping],
    pair: Pair,
    metric: AdditiveMetric,
    chance: Chance,
) -> tuple[SystemComparison, int]:
    """Compare one gap. A clip is used if both tables put it on the same side."""
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
    fewest = min(map(len, speakers))
    row = SystemComparison(
        result_a=a.name,
        result_b=b.name,
        by=groupings[0].by,
        metric=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        a=pair.first,
        b=pair.second,
        gap_a=gap_a,
        gap_b=gap_b,
        difference=gap_a - gap_b,
        low=math.nan,
        high=math.nan,
        p_value=math.nan,
        p_holm=math.nan,
        compared=0,
        clips=clips,
        speakers=len(np.union1d(*speakers)),
        refused=_refusal(speakers, gap_a - gap_b),
        warning=None,
        direction=_direction(a.name, b.name, gap_a, gap_b),
    )
    if row.refused is not None:
        return row, fewest
    change = gap_difference(first_a, second_a, first_b, second_b, metric.score, chance.replicates, chance.rng())
    few = small_group(fewest) if fewest < WARN_BELOW_SPEAKERS else None
    interval = change.difference
    return replace(row, low=interval.low, high=interval.high, p_value=change.p_value, warning=few), fewest


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
    'the gap of new is larger than that of old, in the other direction'
    """
    if not (math.isfinite(gap_a) and math.isfinite(gap_b)):
        return "the gap of one system is not defined"
    if abs(gap_a) == abs(gap_b):
        return f"the gaps of {a} and {b} are equally large"
    word = "larger" if abs(gap_a) > abs(gap_b) else "smaller"
    return f"the gap of {a} is {word} than that of {b}" + (", in the other direction" if gap_a * gap_b < 0 else "")


def empty_rows(
    counted: Sequence[GroupComparison],
    left_out: Sequence[GroupComparison],
    groups: Sequence[GroupScore],
    tolerance: float | None = None,
) -> list[EmptyEffect]:
    """Return every gap with empty hypotheses counted and with their clips excluded, and what differs.

    Parameters
    ----------
    counted, left_out
        Comparisons of both ways, adjusted within each.
    groups
        Scores of groups, with the numbers of empty hypotheses.
    tolerance
        Smallest difference that matters, in points of the metric.
    """
    other = {row.key: row for row in left_out}
    many = {(row.result, row.by, row.group, row.metric): row.empty_hypotheses for row in groups}
    found = []
    for row in counted:
        again = other.get(row.key)
        empty = [many.get((row.result, row.by, side, row.metric)) for side in (row.a, row.b)]
        if not any(empty) or (row.refused and (again is None or again.refused)):
            continue
        changes = ["refused"] if again is None else _changes(row, again, tolerance)
        found.append(_effect(row, again, empty, changes))
    return found


def _effect(
    row: GroupComparison, again: GroupComparison | None, empty: Sequence[int | None], changes: Sequence[str]
) -> EmptyEffect:
    without = again or GroupComparison.untested(row, row.a, row.b, "")
    return EmptyEffect(
        result=row.result,
        by=row.by,
        metric=row.metric,
        unit=row.unit,
        higher_is_better=row.higher_is_better,
        a=row.a,
        b=row.b,
        empty_a=empty[0],
        empty_b=empty[1],
        difference_counted=row.difference,
        low_counted=row.low,
        high_counted=row.high,
        p_holm_counted=row.p_holm,
        difference_left_out=without.difference,
        low_left_out=without.low,
        high_left_out=without.high,
        p_holm_left_out=without.p_holm,
        changes=tuple(changes),
        warning=_warning(changes, row, empty),
    )


def _changes(row: GroupComparison, again: GroupComparison, tolerance: float | None) -> list[str]:
    """Return what empty hypotheses change of a finding. An inconclusive difference that stays so is no change."""
    if (row.refused is None) != (again.refused is None):
        return ["refused"]
    stated = None if row.unit == "cost" else tolerance
    significant = [bool(way.significant) for way in (row, again)]
    smaller = [replace(way, tolerance=stated).within_tolerance for way in (row, again)]
    found = []
    if significant[0] != significant[1]:
        found.append("significance")
    if smaller[0] != smaller[1]:
        found.append("tolerance")
    if any(significant) and row.difference * again.difference < 0:
        found.append("direction")
    if any(significant) and stated is not None and abs(row.difference - again.difference) > stated:
        found.append("size")
    return found


_WORDS = {
    "refused": "without them a group is too small to be compared",
    "significance": "they decide whether it is statistically significant",
    "tolerance": "they decide whether it is smaller than the stated tolerance",
    "direction": "they decide which group it is worse for",
    "size": "they change it by more than the tolerance",
}


def _warning(changes: Sequence[str], row: GroupComparison, empty: Sequence[int | None]) -> str | None:
    if not changes:
        return None
    counts = ", ".join(
        f"{many} of {name}" for many, name in zip(empty, (row.a, row.b), strict=True) if many is not None
    )
    what = " and ".join(_WORDS[one] for one in changes)
    return f"the difference depends on empty hypotheses ({counts}): {what}; find out first why they are empty"
