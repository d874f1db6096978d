"""Rows of the report: a group's score, and the gap between two groups with what may be concluded.

Everything is a function of statistics summed per speaker; speakers are what is drawn and permuted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.fairness._rows import tested, unscored_row, untested_row
from audio_ssl.fairness.contrast import Contrast, contrast, contrast_crossed
from audio_ssl.fairness.gaps import direction
from audio_ssl.fairness.groups import Grouping, Mask, Pair
from audio_ssl.fairness.people import ALL, CROSSED, UNKNOWN
from audio_ssl.fairness.permutation import permutation_test
from audio_ssl.fairness.power import sensitivity
from audio_ssl.fairness.predictions import Predictions
from audio_ssl.metrics.additive import AdditiveMetric
from audio_ssl.metrics.resampling import bootstrap_sums

Array = npt.NDArray[np.float64]

MIN_SPEAKERS = 5
"""Fewer speakers in a group: inference is refused, whatever the least number of a score is set to."""

WARN_BELOW_SPEAKERS = 20
"""Fewer speakers in a group: inference is made with a warning."""

_ALIKE = "the speakers score alike: how far others are apart cannot be told"


@dataclass(frozen=True)
class Chance:
    """How often to draw, and from which seed; every question starts from the seed, so that none depends on others."""

    seed: int = 0
    replicates: int = 10_000
    permutations: int = 10_000

    def rng(self) -> np.random.Generator:
        """Return a generator at its beginning."""
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

    def about(self, by: str) -> dict[str, Any]:
        """Return what every row of the metric begins with."""
        return {
            "result": self.predictions.name,
            "by": by,
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "higher_is_better": self.metric.higher_is_better,
        }

    def sums(self, members: Mask) -> tuple[Array, npt.NDArray[np.int64]]:
        """Return the statistics of some clips summed per speaker, ``[speaker, column]``, and the speakers' codes."""
        return speaker_sums(self.statistics[members], self.predictions.speakers.index[members])


def speaker_sums(statistics: Array, speakers: npt.NDArray[np.int32]) -> tuple[Array, npt.NDArray[np.int64]]:
    """Sum ``[clip, column]`` by speaker; the codes of the speakers come sorted."""
    codes, index = np.unique(speakers, return_inverse=True)
    sums = np.stack([np.bincount(index, column, len(codes)) for column in statistics.T], axis=1)
    return sums.astype(np.float64), codes.astype(np.int64)


def group_rows(question: Question, grouping: Grouping) -> list[dict[str, Any]]:
    """Return one row a scored group, the speakers without a recorded value, and all of these together."""
    unknown = grouping.index == -1
    shown: list[tuple[str, Mask]] = [(name, grouping.members(name)) for name in grouping.names]
    if unknown.any():
        shown.append((UNKNOWN, unknown))
    # If the groups without a score were in it, subtracting the scored groups would give theirs.
    if shown:
        shown.append((ALL, grouping.index != -2))
    about, found = question.about(grouping.by), question.predictions
    return [
        about | _describe(question, name, members) | found.unanswered(grouping.by.split(CROSSED), name, members)
        for name, members in shown
    ]


def _describe(question: Question, name: str, members: Mask) -> dict[str, Any]:
    predictions, metric = question.predictions, question.metric
    sums, codes = question.sums(members)
    enough = len(codes) >= MIN_SPEAKERS
    chance = question.chance
    interval = bootstrap_sums(sums, metric.score, chance.replicates if enough else 2, chance.rng())
    seconds = predictions.seconds[members]
    return {
        "group": name,
        "known": name != UNKNOWN,
        "total": name == ALL,
        "value": interval.value,
        "low": interval.low if enough else math.nan,
        "high": interval.high if enough else math.nan,
        "speakers": len(codes),
        "clips": int(members.sum()),
        "words": int(np.nansum(predictions.words[members])),
        "hours": float(seconds.sum()) / 3600,
        "empty_references": int(predictions.empty_references[members].sum()),
    }


def spread_row(question: Question, by: str, groups: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the best and the worst of the known groups, None where all score the same.

    There is no row of fewer than two groups with a score and enough speakers.
    """
    known = [row for row in groups if row["known"] and not row["total"] and row["speakers"] >= MIN_SPEAKERS]
    scored = [row for row in known if math.isfinite(row["value"])]
    if len(scored) < 2:
        return None
    ordered = sorted(scored, key=lambda row: (row["value"], row["group"]))
    low, high = ordered[0], ordered[-1]
    apart = high["value"] > low["value"]
    best, worst = (high, low) if question.metric.higher_is_better else (low, high)
    return question.about(by) | {
        "groups": len(scored),
        "worst": worst["group"] if apart else None,
        "best": best["group"] if apart else None,
        "difference": high["value"] - low["value"],
        "ratio": high["value"] / low["value"] if low["value"] else math.nan,
        "overall": next(row["value"] for row in groups if row["total"]),
    }


def comparison_rows(question: Question, grouping: Grouping) -> list[dict[str, Any]]:
    """Return the gap of every pair of groups; of pairs with a group that has no score, the reason alone.

    p-values are adjusted by the caller, who knows all tests.
    """
    about = question.about(grouping.by)
    rows = [about | _compare(question, grouping, pair) for pair in grouping.pairs]
    return rows + [about | unscored_row(pair.first, pair.second, reason) for pair, reason in grouping.refused]


@dataclass(frozen=True)
class Sides:
    """Both groups of a pair, summed per speaker."""

    first: Array
    second: Array
    first_codes: npt.NDArray[np.int64]
    second_codes: npt.NDArray[np.int64]

    @property
    def shared(self) -> npt.NDArray[np.int64]:
        """Speakers who are in both groups."""
        return np.intersect1d(self.first_codes, self.second_codes)

    def refusal(self, pair: Pair) -> str | None:
        """Return why nothing may be concluded; None if something may."""
        for name, codes in ((pair.first, self.first_codes), (pair.second, self.second_codes)):
            if len(codes) < MIN_SPEAKERS:
                people = "1 speaker" if len(codes) == 1 else f"{len(codes)} speakers"
                return f"group {name} has {people}, and at least {MIN_SPEAKERS} a group are needed"
        return None

    def warning(self) -> str | None:
        """Return what to keep in mind; None if nothing."""
        fewest = min(len(self.first_codes), len(self.second_codes))
        found = []
        if fewest < WARN_BELOW_SPEAKERS:
            found.append(f"only {fewest} speakers in the smaller group: small gaps cannot be found")
        if len(self.shared):
            found.append(f"{len(self.shared)} speakers are in both groups: an interval is given, but no p-value")
        return "; ".join(found) or None


def sides_of(question: Question, grouping: Grouping, pair: Pair) -> Sides:
    """Return both groups of a pair."""
    first, second = grouping.sides(pair)
    ours, our_codes = question.sums(first)
    theirs, their_codes = question.sums(second)
    return Sides(ours, theirs, our_codes, their_codes)


def _compare(question: Question, grouping: Grouping, pair: Pair) -> dict[str, Any]:
    metric, sides = question.metric, sides_of(question, grouping, pair)
    a, b = float(metric.score(sides.first.sum(0))), float(metric.score(sides.second.sum(0)))
    refused = sides.refusal(pair) if math.isfinite(a - b) else "the score of one group is not defined"
    words = direction(metric.name, metric.higher_is_better, pair.first, pair.second, a, b, by=grouping.by)
    speakers = len(sides.first_codes), len(sides.second_codes)
    row = untested_row(pair.first, pair.second, a, b, words, refused, speakers)
    return row if refused else row | _infer(question, sides, a, b)


def _infer(question: Question, sides: Sides, a: float, b: float) -> dict[str, Any]:
    score, chance = question.metric.score, question.chance
    if len(sides.shared):
        found, test = _crossed(sides, score, chance), None
    else:
        found = contrast(sides.first, sides.second, score, chance.replicates, chance.rng())
        test = permutation_test(sides.first, sides.second, score, chance.rng(), chance.permutations)
    power = sensitivity(sides.first, sides.second, score, found.standard_error)
    warnings = filter(None, [sides.warning(), _ALIKE if math.isnan(power.standard_error) else None])
    return tested(found, test, power, a, b) | {"warning": "; ".join(warnings) or None}


def _crossed(sides: Sides, score: Callable[[Array], Array], chance: Chance) -> Contrast:
    """Contrast groups that share speakers: a speaker is drawn with what there is of both groups."""
    everyone = np.union1d(sides.first_codes, sides.second_codes)

    def spread(sums: Array, codes: npt.NDArray[np.int64]) -> Array:
        full = np.zeros((len(everyone), sums.shape[1]))
        full[np.searchsorted(everyone, codes)] = sums
        return full

    first, second = spread(sides.first, sides.first_codes), spread(sides.second, sides.second_codes)
    return contrast_crossed(first, second, score, chance.replicates, chance.rng())
