"""Groups of speakers in speaker verification: error rates within each group, and the gaps between groups.

A group is scored by the trials with both sides in it (Fenu et al. 2021; Toussaint & Ding 2022, arXiv 2201.09486).
``eer`` and ``min_dcf`` use the threshold that is best for the group. A deployed system has one threshold for everybody:
``fnmr_at_common`` and ``fmr_at_common`` are the rates of false non-matches and false matches within a group at the
threshold of the equal error rate of all trials.

Speakers are resampled and permuted, not trials. In a resample, the weight of a trial is the product of the counts of
its two speakers. A permutation exchanges the group labels of speakers and uses only trials of two speakers of one
recorded group: other trials are mostly easier, so permuted groups with them would differ less than the recorded ones
even without a gap. Permuted groups have fewer trials than recorded ones, so the test is conservative. Intervals of
``min_dcf`` are biased downwards, because each resample has its own minimum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import ALL, UNKNOWN, GroupComparison, GroupScore, MetricRow
from audio_ssl.artifacts.fairness_report import SuppressedGroup
from audio_ssl.artifacts.result_tables import TRIALS_FILE
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.comparisons import (
    MIN_SPEAKERS,
    WARN_BELOW_SPEAKERS,
    Chance,
    tested_gap,
    unscored_gap,
    untested_gap,
)
from audio_ssl.fairness.gap_tests import contrast, permutation_test
from audio_ssl.fairness.groups import MIN_GROUP_SPEAKERS, PAIRS_UP_TO_GROUPS
from audio_ssl.fairness.power import sensitivity
from audio_ssl.fairness.tallies import NAMED, Exclusion
from audio_ssl.fairness.trials import People, Trials, read_trials
from audio_ssl.fairness.wording import few_speakers, gap_direction, small_group
from audio_ssl.metrics.families.verification import Curve, SpeakerTrials
from audio_ssl.metrics.metric import TrialMetric
from audio_ssl.metrics.registry import metrics
from audio_ssl.metrics.resampling import Interval, bootstrap_sums

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

PERMUTATIONS = 1_000
"""Random assignments of a test, where not all are tried. One costs as much as two resamples."""

_WEIGHED = 200_000_000
_FEWEST_REPLICATES = 500


class SpeechAmount(NamedTuple):
    """Amount of speech in some trials."""

    speakers: int
    clips: int
    hours: float


@dataclass
class VerificationAudit:
    """Scores and gaps of the groups in the trials of one result."""

    amount: SpeechAmount
    """Of all usable trials."""
    groups: list[GroupScore] = field(default_factory=list)
    suppressed: list[SuppressedGroup] = field(default_factory=list)
    comparisons: list[GroupComparison] = field(default_factory=list)
    excluded: list[Exclusion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_verification(folder: Path) -> bool:
    """Return whether a path is a result folder with trials."""
    return (folder / TRIALS_FILE).is_file()


def audit_verification(
    folder: Path,
    by: Sequence[str],
    chance: Chance,
    *,
    name: str | None = None,
    min_speakers: int = MIN_GROUP_SPEAKERS,
    name_people: bool = False,
) -> VerificationAudit:
    """Compare groups of speakers in a result of the task ``speaker_verification``.

    Parameters
    ----------
    folder
        With ``trials.parquet`` (``clip_a, clip_b, score, same``) and ``predictions.parquet`` (``id, speaker``, `by`).
    by
        Attributes of speakers.
    chance
        Resamples and permutations. The number of resamples is reduced, to 500 at least, so that trials times resamples
        stay below 200 million.
    name
        Of the result; that of the folder if None.
    min_speakers
        Fewest speakers of a group that is scored.
    name_people
        Name speakers among what is excluded.

    Raises
    ------
    UserError
        If the folder cannot be read, has no such attribute, or has no usable trial of one kind.
    """
    trials = read_trials(folder, by)
    parts = [_AttributeTrials.of(trials, name or folder.name, one, chance, str(folder), min_speakers) for one in by]
    found = VerificationAudit(parts[0].amount(parts[0].used), excluded=[*trials.excluded])
    for part in parts:
        found.suppressed += part.suppressed()
        found.groups += part.group_rows()
        found.comparisons += part.comparison_rows()
        found.excluded += part.excluded(name_people)
        found.notes += part.notes()
    return found


@dataclass(frozen=True)
class _AttributeTrials:
    """The trials by one attribute."""

    trials: Trials
    result: str
    by: str
    used: Flags
    """``[trial]``, True where neither side is an ambiguous speaker."""
    group: Places
    """``[trial]``, group of both sides; -1 where both are unknown, -2 where the sides are in different groups."""
    threshold: float
    """Threshold of the equal error rate of all used trials."""
    chance: Chance
    min_speakers: int

    @staticmethod
    def of(trials: Trials, result: str, by: str, chance: Chance, where: str, min_speakers: int) -> _AttributeTrials:
        people, sides = trials.people[by], trials.sides
        used = np.asarray(~people.ambiguous[sides].any(1))
        ours, theirs = people.group[sides].T
        same = trials.same[used]
        if not same.any() or same.all():
            kind = "the same speaker" if not same.any() else "different speakers"
            raise UserError(f"no usable trial is of {kind}", where=where)
        most = max(_FEWEST_REPLICATES, _WEIGHED // int(used.sum()))
        everything = SpeakerTrials(trials.scores[used], same, *sides[used].T)
        curve = everything.weigh(np.ones(len(trials.speakers), np.int64))
        assert curve is not None
        threshold = everything.threshold(_nearest(curve))
        group = np.where(used & (ours == theirs), ours, -2)
        draws = replace(chance, replicates=min(chance.replicates, most))
        return _AttributeTrials(trials, result, by, used, group, threshold, draws, min_speakers)

    @property
    def people(self) -> People:
        """The speakers' groups."""
        return self.trials.people[self.by]

    def group_rows(self) -> list[GroupScore]:
        """Return the scores of each group, of speakers without a recorded value, and of all scored groups together."""
        shown = [(name, members) for name, members, scored in self._groups() if scored]
        if shown:
            hidden = [code for code, (_, _, scored) in zip(self._codes(), self._groups(), strict=True) if not scored]
            of_sides = self.people.group[self.trials.sides]
            shown.append((ALL, self.used & ~np.isin(of_sides, hidden).any(1)))
        return [row for name, members in shown for row in self._group_rows(name, members)]

    def _group_rows(self, name: str, members: Flags) -> Iterator[GroupScore]:
        amount, scores = self.amount(members), self._metrics(members)
        for metric in trial_metrics():
            interval = self._scored(scores.of(metric))
            yield GroupScore(
                **vars(self._about(metric)),
                group=name,
                known=name != UNKNOWN,
                total=name == ALL,
                value=interval.value,
                low=interval.low,
                high=interval.high,
                speakers=amount.speakers,
                clips=amount.clips,
                words=0,
                hours=amount.hours,
                empty_references=0,
            )

    def amount(self, members: Flags) -> SpeechAmount:
        """Return the amount of speech in some trials."""
        clips = np.unique(self.trials.clips[members])
        seconds = self.trials.seconds[clips]
        speakers = len(np.unique(self.trials.speaker_of[clips]))
        return SpeechAmount(speakers, len(clips), float(seconds.sum()) / 3600)

    def suppressed(self) -> list[SuppressedGroup]:
        """Return the groups that are counted and not scored."""
        reason = f"fewer than {self.min_speakers} speakers"
        amounts = [(name, self.amount(members)) for name, members, scored in self._groups() if not scored]
        return [
            SuppressedGroup(self.result, self.by, (name,), amount.speakers, amount.clips, reason)
            for name, amount in amounts
            if amount.speakers
        ]

    def _codes(self) -> list[int]:
        return [*range(len(self.people.names)), -1]

    def _groups(self) -> list[tuple[str, Flags, bool]]:
        """Return the name and trials of every group, and whether it is scored; the unknown group is last."""
        found = []
        for code, name in zip(self._codes(), (*self.people.names, UNKNOWN), strict=True):
            members = np.asarray(self.group == code)
            speakers = len(np.unique(self.trials.sides[members]))
            found.append((name, members, speakers >= self.min_speakers))
        return found

    def comparison_rows(self) -> list[GroupComparison]:
        """Return a row for each metric and pair of groups; if there are many groups, of the largest ones."""
        rows = []
        groups = self._groups()
        for first, second in combinations(self._compared(), 2):
            small = [groups[code] for code in (first, second) if not groups[code][2]]
            if small:
                speakers = len(np.unique(self.trials.sides[small[0][1]]))
                reason = few_speakers(small[0][0], speakers, self.min_speakers)
                names = groups[first][0], groups[second][0]
                rows += [unscored_gap(self._about(metric), *names, reason) for metric in trial_metrics()]
                continue
            scores = self._metrics((self.group == first) | (self.group == second))
            rows += [self._compare(metric, scores, first, second) for metric in trial_metrics()]
        return rows

    def excluded(self, name_people: bool) -> list[Exclusion]:
        """Return what is excluded from this attribute's rows."""
        found = []
        names = [self.trials.speakers[code] for code in np.flatnonzero(self.people.ambiguous)]
        if names:
            reason = f"speakers recorded under several values of {self.by}, with their trials"
            found.append(Exclusion(reason, len(names), tuple(names[:NAMED]) if name_people else ()))
        across = int((self.used & (self.group == -2)).sum())
        if across:
            found.append(
                Exclusion(f"trials between groups of {self.by}: counted in the row of all, in no group", across, ())
            )
        return found

    def notes(self) -> list[str]:
        """Return sentences about this attribute's rows."""
        found = [
            f"By {self.by}: a group is scored by the trials within it. The common threshold is a score of "
            f"{self.threshold:.4g}, where the two error rates of all {int(self.used.sum())} trials are most nearly "
            f"equal. It is fixed in the confidence intervals, which come from {self.chance.replicates:,} resamples of "
            "speakers. Permutation tests use all assignments of speakers to groups, or "
            f"{self.chance.permutations:,} random ones."
        ]
        if len(self._compared()) < len(self.people.names):
            left_out = len(self.people.names) - PAIRS_UP_TO_GROUPS
            found.append(
                f"By {self.by}: the {PAIRS_UP_TO_GROUPS} largest groups are compared, {left_out} others are not."
            )
        return [*found, *([self.people.note] if self.people.note else [])]

    def _compared(self) -> list[int]:
        sizes = np.bincount(self.people.group[self.people.group >= 0], minlength=len(self.people.names))
        return sorted(np.argsort(-sizes, kind="stable")[:PAIRS_UP_TO_GROUPS].tolist())

    def _about(self, name: str) -> MetricRow:
        metric = trial_metrics()[name]
        up = metric.higher_is_better
        return MetricRow(result=self.result, by=self.by, metric=name, unit=metric.unit, higher_is_better=up)

    def _scored(self, score: SpeakerScore) -> Interval:
        rows = np.eye(score.speakers)
        if score.speakers < MIN_SPEAKERS:
            return Interval(float(score(rows.sum(0))), math.nan, math.nan)
        return bootstrap_sums(rows, score, self.chance.replicates, self.chance.rng())

    def _compare(self, metric: str, metrics: SpeakerScores, first: int, second: int) -> GroupComparison:
        score = metrics.of(metric)
        # The statistics of speaker i are the i-th unit vector, so sums are the counts of each speaker.
        mine = self.people.group[metrics.codes] == first
        ours, theirs = np.eye(score.speakers)[mine], np.eye(score.speakers)[~mine]
        scores = float(score(ours.sum(0))), float(score(theirs.sum(0)))
        names, sizes = (self.people.names[first], self.people.names[second]), (len(ours), len(theirs))
        words = gap_direction(metric, trial_metrics()[metric].higher_is_better, *names, *scores, by=self.by)
        row = untested_gap(self._about(metric), names, scores, words, _refusal(names, sizes, scores), sizes)
        if row.refused:
            return row
        found = contrast(ours, theirs, score, self.chance.replicates, self.chance.rng())
        tries = self.chance.permutations
        test = permutation_test(ours, theirs, score, self.chance.rng(), tries, studentise=False)
        few = small_group(min(sizes)) if min(sizes) < WARN_BELOW_SPEAKERS else None
        return tested_gap(row, found, test, sensitivity(ours, theirs, score, found.standard_error), few)

    def _metrics(self, members: Flags) -> SpeakerScores:
        codes, sides = np.unique(self.trials.sides[members], return_inverse=True)
        left, right = sides.reshape(-1, 2).T
        trials = SpeakerTrials(self.trials.scores[members], self.trials.same[members], left, right)
        return SpeakerScores(trials, codes, trials.place(self.threshold))


def _nearest(curve: Curve) -> int:
    """Return the place where both error rates are most nearly equal, but not the one where nothing is accepted."""
    after = curve.crossing()
    gaps = {place: abs(np.subtract(*curve.errors(place))) for place in (after - 1, after) if place}
    return min(gaps, key=lambda place: (gaps[place], place))


def _refusal(names: tuple[str, str], sizes: tuple[int, int], values: tuple[float, float]) -> str | None:
    for name, size, value in zip(names, sizes, values, strict=True):
        if not math.isfinite(value):
            return f"group {name} has no trials of the same speaker, or none of different speakers"
        if size < MIN_SPEAKERS:
            return few_speakers(name, size, MIN_SPEAKERS)
    return None


def trial_metrics() -> dict[str, TrialMetric]:
    """Return the metrics of trials by name."""
    return {metric.name: metric for metric in metrics() if isinstance(metric, TrialMetric)}


@dataclass(frozen=True)
class SpeakerScores:
    """All metrics of some trials as functions of the counts of each speaker.

    Each question draws the same resamples, so values of the other metrics are kept.
    """

    trials: SpeakerTrials
    codes: Places
    """``[speaker]``, codes."""
    common: int
    """Place of the common threshold among the scores."""
    measures: tuple[TrialMetric, ...] = field(default_factory=lambda: tuple(trial_metrics().values()))
    """What is scored."""
    known: dict[bytes, tuple[float, ...]] = field(default_factory=dict)

    def of(self, metric: str) -> SpeakerScore:
        """Return one metric."""
        return SpeakerScore(self, [one.name for one in self.measures].index(metric))

    def read(self, counts: npt.NDArray[np.int64]) -> tuple[float, ...]:
        """Return the metrics in the order of `measures`; NaN if there are no trials of one kind."""
        key = blake2b(counts.tobytes(), digest_size=16).digest()
        if key not in self.known:
            curve = self.trials.weigh(counts)
            self.known[key] = tuple(
                math.nan if curve is None else one.of_curve(curve, self.common) for one in self.measures
            )
        return self.known[key]


@dataclass(frozen=True)
class SpeakerScore:
    """One metric, as a function of summed statistics: ``[..., speaker]`` to ``[...]``."""

    metrics: SpeakerScores
    column: int

    @property
    def speakers(self) -> int:
        """Number of speakers."""
        return len(self.metrics.codes)

    def __call__(self, counts: Array) -> Array:
        """Return the score of each row of counts, ``[..., speaker]``."""
        rows = np.rint(counts).astype(np.int64).reshape(math.prod(counts.shape[:-1]), self.speakers)
        values = [self.metrics.read(row)[self.column] for row in rows]
        return np.array(values, np.float64).reshape(counts.shape[:-1])
