"""Scores of groups, gaps between two groups, and what is decided over all comparisons of a metric.

Everything is a function of statistics summed per speaker. Speakers are resampled and permuted, not clips. The rows of
verification trials (`audio_ssl.fairness.verification`) are made with the same functions.

p-values of one metric on one result are adjusted together (Holm 1979): the smallest is multiplied by the number of
comparisons, the next one by one less, and so on; adjusted values never decrease.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import (
    ALL,
    ALPHA,
    CROSSED,
    UNKNOWN,
    GroupComparison,
    GroupScore,
    GroupSpread,
    MetricRow,
    SystemComparison,
)
from audio_ssl.fairness.gap_tests import Contrast, Permutation, contrast, contrast_crossed, permutation_test
from audio_ssl.fairness.groups import Grouping, Mask, Pair
from audio_ssl.fairness.power import Sensitivity, detectable, sensitivity
from audio_ssl.fairness.predictions import Predictions
from audio_ssl.fairness.wording import few_speakers, gap_direction, relative_symmetric, relative_to, small_group
from audio_ssl.metrics.metric import AdditiveMetric
from audio_ssl.metrics.resampling import bootstrap_sums

Array = npt.NDArray[np.float64]

MIN_SPEAKERS = 5
"""A group with fewer speakers is not tested, whatever number of speakers a score needs."""

WARN_BELOW_SPEAKERS = 20
"""A group with fewer speakers is tested with a warning."""

Tried = TypeVar("Tried", GroupComparison, SystemComparison)

_ALIKE = "the speakers have the same score, so the variance between speakers cannot be estimated"


@dataclass(frozen=True)
class Chance:
    """Numbers of resamples and permutations, and the seed, at which every question starts."""

    seed: int = 0
    replicates: int = 10_000
    permutations: int = 10_000

    def rng(self) -> np.random.Generator:
        """Return a new generator with the seed."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Question:
    """One metric of one result."""

    predictions: Predictions
    metric: AdditiveMetric
    chance: Chance

    @property
    def statistics(self) -> Array:
        """``[clip, column]``."""
        return self.predictions.statistics[self.metric.name]

    def about(self, by: str) -> MetricRow:
        """Return what every row of the metric begins with."""
        metric = self.metric
        return MetricRow(
            result=self.predictions.name,
            by=by,
            metric=metric.name,
            unit=metric.unit,
            higher_is_better=metric.higher_is_better,
        )

    def sums(self, members: Mask) -> tuple[Array, npt.NDArray[np.int64]]:
        """Return the statistics of some clips summed per speaker, ``[speaker, column]``, and the speakers' codes."""
        return speaker_sums(self.statistics[members], self.predictions.speakers.index[members])


def speaker_sums(statistics: Array, speakers: npt.NDArray[np.int32]) -> tuple[Array, npt.NDArray[np.int64]]:
    """Sum ``[clip, column]`` by speaker; the codes of the speakers are sorted."""
    codes, index = np.unique(speakers, return_inverse=True)
    sums = np.stack([np.bincount(index, column, len(codes)) for column in statistics.T], axis=1)
    return sums.astype(np.float64), codes.astype(np.int64)


def group_rows(question: Question, grouping: Grouping) -> list[GroupScore]:
    """Return the scores of each scored group, of speakers without a recorded value, and of all of these together."""
    unknown = grouping.index == -1
    shown: list[tuple[str, Mask]] = [(name, grouping.members(name)) for name in grouping.names]
    if unknown.any():
        shown.append((UNKNOWN, unknown))
    # If the groups without a score were in it, subtracting the scored groups would give theirs.
    if shown:
        shown.append((ALL, grouping.index != -2))
    return [_group_row(question, grouping.by, name, members) for name, members in shown]


def _group_row(question: Question, by: str, name: str, members: Mask) -> GroupScore:
    predictions, metric = question.predictions, question.metric
    sums, codes = question.sums(members)
    enough = len(codes) >= MIN_SPEAKERS
    chance = question.chance
    interval = bootstrap_sums(sums, metric.score, chance.replicates if enough else 2, chance.rng())
    unanswered = predictions.unanswered(by.split(CROSSED), name, members)
    return GroupScore(
        **vars(question.about(by)),
        group=name,
        known=name != UNKNOWN,
        total=name == ALL,
        value=interval.value,
        low=interval.low if enough else math.nan,
        high=interval.high if enough else math.nan,
        speakers=len(codes),
        clips=int(members.sum()),
        words=int(np.nansum(predictions.words[members])),
        hours=float(predictions.seconds[members].sum()) / 3600,
        empty_references=int(predictions.empty_references[members].sum()),
        empty_hypotheses=unanswered.empty,
        missing_hypotheses=unanswered.missing,
    )


def spread_row(question: Question, by: str, groups: Sequence[GroupScore]) -> GroupSpread | None:
    """Return the best and the worst of the recorded groups; None unless two groups have a score and enough speakers.

    Where all scores are equal, no group is called best or worst.
    """
    known = [row for row in groups if row.known and not row.total and row.speakers >= MIN_SPEAKERS]
    scored = [row for row in known if math.isfinite(row.value)]
    if len(scored) < 2:
        return None
    ordered = sorted(scored, key=lambda row: (row.value, row.group))
    low, high = ordered[0], ordered[-1]
    apart = high.value > low.value
    best, worst = (high, low) if question.metric.higher_is_better else (low, high)
    return GroupSpread(
        **vars(question.about(by)),
        groups=len(scored),
        worst=worst.group if apart else None,
        best=best.group if apart else None,
        difference=high.value - low.value,
        ratio=high.value / low.value if low.value else math.nan,
        overall=next(row.value for row in groups if row.total),
    )


def comparison_rows(question: Question, grouping: Grouping) -> list[GroupComparison]:
    """Return the gap of every pair of groups; for a pair with an unscored group, only the reason.

    The caller adjusts the p-values, because it knows all tests.
    """
    about = question.about(grouping.by)
    rows = [_compare(question, grouping, pair) for pair in grouping.pairs]
    return rows + [unscored_gap(about, pair.first, pair.second, reason) for pair, reason in grouping.refused]


@dataclass(frozen=True)
class Sides:
    """Both groups of a pair, summed per speaker."""

    first: Array
    second: Array
    first_codes: npt.NDArray[np.int64]
    second_codes: npt.NDArray[np.int64]

    @property
    def shared(self) -> npt.NDArray[np.int64]:
        """Codes of the speakers who are in both groups."""
        return np.intersect1d(self.first_codes, self.second_codes)

    def refusal(self, pair: Pair) -> str | None:
        """Return why the gap is not tested; None if it is."""
        for name, codes in ((pair.first, self.first_codes), (pair.second, self.second_codes)):
            if len(codes) < MIN_SPEAKERS:
                return few_speakers(name, len(codes), MIN_SPEAKERS)
        return None

    def warning(self) -> str | None:
        """Return the warning of a tested gap; None if there is none."""
        fewest = min(len(self.first_codes), len(self.second_codes))
        found = []
        if fewest < WARN_BELOW_SPEAKERS:
            found.append(small_group(fewest))
        if len(self.shared):
            found.append(
                f"{len(self.shared)} speakers are in both groups, so there is a confidence interval and no p-value"
            )
        return "; ".join(found) or None


def sides_of(question: Question, grouping: Grouping, pair: Pair) -> Sides:
    """Return both groups of a pair."""
    first, second = grouping.sides(pair)
    ours, our_codes = question.sums(first)
    theirs, their_codes = question.sums(second)
    return Sides(ours, theirs, our_codes, their_codes)


def _compare(question: Question, grouping: Grouping, pair: Pair) -> GroupComparison:
    metric, sides = question.metric, sides_of(question, grouping, pair)
    a, b = float(metric.score(sides.first.sum(0))), float(metric.score(sides.second.sum(0)))
    refused = sides.refusal(pair) if math.isfinite(a - b) else "the score of one group is not defined"
    words = gap_direction(metric.name, metric.higher_is_better, pair.first, pair.second, a, b, by=grouping.by)
    speakers = len(sides.first_codes), len(sides.second_codes)
    about = question.about(grouping.by)
    row = untested_gap(about, (pair.first, pair.second), (a, b), words, refused, speakers)
    return row if refused else _infer(question, sides, row)


def _infer(question: Question, sides: Sides, row: GroupComparison) -> GroupComparison:
    score, chance = question.metric.score, question.chance
    if len(sides.shared):
        found, test = _crossed(sides, score, chance), None
    else:
        found = contrast(sides.first, sides.second, score, chance.replicates, chance.rng())
        test = permutation_test(sides.first, sides.second, score, chance.rng(), chance.permutations)
    power = sensitivity(sides.first, sides.second, score, found.standard_error)
    warnings = filter(None, [sides.warning(), _ALIKE if math.isnan(power.standard_error) else None])
    return tested_gap(row, found, test, power, "; ".join(warnings) or None)


def _crossed(sides: Sides, score: Callable[[Array], Array], chance: Chance) -> Contrast:
    """Compare groups that share speakers. A resample draws a speaker with the clips of both groups."""
    everyone = np.union1d(sides.first_codes, sides.second_codes)

    def spread(sums: Array, codes: npt.NDArray[np.int64]) -> Array:
        full = np.zeros((len(everyone), sums.shape[1]))
        full[np.searchsorted(everyone, codes)] = sums
        return full

    first, second = spread(sides.first, sides.first_codes), spread(sides.second, sides.second_codes)
    return contrast_crossed(first, second, score, chance.replicates, chance.rng())


def adjust(rows: Sequence[Tried]) -> list[Tried]:
    """Return the rows with Holm-adjusted p-values. A family is all tests of one metric on one result."""
    found = list(rows)
    families: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        if math.isfinite(row.p_value):
            families.setdefault(row.family, []).append(place)
    for places in families.values():
        adjusted = holm([rows[place].p_value for place in places])
        for place, p_value in zip(places, adjusted, strict=True):
            found[place] = replace(rows[place], p_holm=p_value, compared=len(places))
    return found


def conclude(rows: Sequence[GroupComparison], tolerance: float | None) -> list[GroupComparison]:
    """Return the rows with the tolerance and the minimum detectable difference of the adjusted test."""
    return [_conclude(row if row.unit == "cost" else replace(row, tolerance=tolerance)) for row in rows]


def _conclude(row: GroupComparison) -> GroupComparison:
    if not row.compared or not math.isfinite(row.standard_error):
        return row
    # The first and strictest step of Holm's method: the level is divided by the number of comparisons.
    least = detectable(row.standard_error, row.degrees_of_freedom, alpha=ALPHA / row.compared)
    return _detecting(row, least)


def _detecting(row: GroupComparison, least: float) -> GroupComparison:
    """Return a row with its minimum detectable difference, also in percent of the mean score."""
    mean = 0.5 * (row.value_a + row.value_b)
    relative = 100 * least / mean if mean else math.nan
    return replace(row, minimum_detectable=least, minimum_detectable_relative=relative)


def out_of_reach(assignments: float, compared: float) -> bool:
    """Return whether the smallest p-value that `assignments` allow is not significant after `compared` comparisons.

    Examples
    --------
    >>> out_of_reach(19, 1), out_of_reach(20, 1), out_of_reach(99, 5), out_of_reach(100, 5)
    (True, False, True, False)
    """
    return compared / (assignments + 1) >= ALPHA


def too_many(rows: Sequence[GroupComparison]) -> list[str]:
    """Return a note for each family with too few permutations for any difference to be significant."""
    families: dict[tuple[str, int, int], list[str]] = {}
    assignments: dict[tuple[str, str], list[int]] = {}
    compared: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.assignments and row.compared:
            assignments.setdefault(row.family, []).append(row.assignments)
            compared[row.family] = row.compared
    for (result, metric), tries in assignments.items():
        if out_of_reach(max(tries), compared[result, metric]):
            families.setdefault((result, max(tries), compared[result, metric]), []).append(metric)
    return [
        f"{result}, {', '.join(metrics)}: with {tries:,} permutations no p-value can be below {1 / (tries + 1):.2g}. "
        f"Adjusted for {compared:,} comparisons that is not below {ALPHA}, so no difference could be statistically "
        "significant, however large. Compare by fewer attributes or, if not all permutations were made, make more "
        "(`--replicates`)."
        for (result, tries, compared), metrics in families.items()
    ]


def untested_gap(
    about: MetricRow,
    pair: tuple[str, str],
    scores: tuple[float, float],
    direction: str,
    refused: str | None,
    speakers: tuple[int, int],
) -> GroupComparison:
    """Return a gap that is not tested; `scores` and `speakers` are those of the first and the second group."""
    a, b = scores
    return GroupComparison.untested(
        about,
        *pair,
        direction,
        value_a=a,
        value_b=b,
        speakers_a=speakers[0],
        speakers_b=speakers[1],
        difference=a - b,
        relative_symmetric=relative_symmetric(a, b),
        relative_to_b=relative_to(a, b),
        ratio=a / b if b else math.nan,
        refused=refused,
    )


def unscored_gap(about: MetricRow, first: str, second: str, refused: str) -> GroupComparison:
    """Return a gap without an estimate, because one of its groups has no score."""
    return GroupComparison.untested(about, first, second, "not compared", refused=refused)


def tested_gap(
    row: GroupComparison, found: Contrast, test: Permutation | None, power: Sensitivity, warning: str | None
) -> GroupComparison:
    """Return a gap with its intervals, its p-value if there is one, and the minimum detectable difference."""
    row = replace(
        _detecting(row, power.detectable()),
        low=found.difference.low,
        high=found.difference.high,
        low_90=found.within.low,
        high_90=found.within.high,
        standard_error=power.standard_error,
        degrees_of_freedom=power.freedom,
        relative_symmetric_low=found.relative_symmetric.low,
        relative_symmetric_high=found.relative_symmetric.high,
        ratio_low=found.ratio.low,
        ratio_high=found.ratio.high,
        warning=warning,
    )
    if test is None:
        return row
    return replace(row, p_value=test.p_value, p_exact=test.exact, assignments=test.assignments)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the adjusted p-values in the order given. NaN stays NaN and is not counted as a comparison.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = largest
    return adjusted
