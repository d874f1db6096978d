"""Groups of speakers in speaker verification: whose voices are told apart worse, and what that means in use.

A group is scored by the trials of which both sides are in it (Fenu et al. 2021; Toussaint & Ding 2022, arXiv
2201.09486). ``eer`` and ``min_dcf`` give each group the threshold that suits it best. A system in use has one threshold
for everybody: ``fnmr_at_common`` is how often a group's own voice is refused there, ``fmr_at_common`` how often another
of the group passes, at the threshold of the equal error rate of all trials.

Speakers are drawn and permuted, not trials: a trial weighs the product of how often its speakers were drawn. Permuted
are groups over speakers, with the trials of two speakers of one recorded group only. Other trials are mostly
easier: with them, permuted groups would differ less than the recorded ones without any gap. With fewer trials in
permuted groups the test is strict. Intervals of ``min_dcf`` lean low, since a minimum finds what suits each resample.

Metrics of verification trials as functions of how often each speaker counts, to resample and permute speakers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import ALL, UNKNOWN
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.comparisons import MIN_SPEAKERS, WARN_BELOW_SPEAKERS, tested, unscored_row, untested_row
from audio_ssl.fairness.gap_tests import contrast, permutation_test
from audio_ssl.fairness.groups import MIN_GROUP_SPEAKERS, PAIRS_UP_TO_GROUPS
from audio_ssl.fairness.power import sensitivity
from audio_ssl.fairness.trials import TRIALS, People, Trials, excluded_row, read_trials
from audio_ssl.fairness.wording import gap_direction
from audio_ssl.metrics.families.verification import Curve, SpeakerTrials
from audio_ssl.metrics.resampling import bootstrap_sums

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

PERMUTATIONS = 1_000

_WEIGHED = 200_000_000
_FEWEST_REPLICATES = 500


def is_verification(folder: Path) -> bool:
    """Tell whether a path is a result folder with trials."""
    return (folder / TRIALS).is_file()


def audit_verification(
    folder: Path,
    by: Sequence[str] = ("gender",),
    seed: int = 0,
    replicates: int = 10_000,
    permutations: int = PERMUTATIONS,
    *,
    min_speakers: int = MIN_GROUP_SPEAKERS,
    name_people: bool = False,
) -> dict[str, list[Any]]:
    """Compare groups of speakers in a result of the task ``speaker_verification``.

    Parameters
    ----------
    folder
        With ``trials.parquet`` (``clip_a, clip_b, score, same``) and ``predictions.parquet`` (``id, speaker``, `by`).
    by
        Attributes of speakers.
    seed
        Seed of the bootstrap and of the permutation tests; every question starts from it.
    replicates
        Bootstrap resamples; fewer, not below 500, where there are so many trials that 200 million would be weighed.
    permutations
        All assignments up to this many, else so many random ones; as costly as two replicates each.
    min_speakers
        Fewest speakers of a group that is scored.
    name_people
        Name speakers among what is left out.

    Returns
    -------
    dict
        ``groups``, ``suppressed``, ``comparisons`` and ``excluded``, rows of the report; ``notes``, sentences; and in
        ``everybody`` the clips, speakers and hours of all usable trials.

    Raises
    ------
    UserError
        If the folder cannot be read, has no such attribute, or has no usable trial of one kind.
    """
    trials = read_trials(folder, by)
    found: dict[str, list[Any]] = {"groups": [], "suppressed": [], "comparisons": [], "excluded": [*trials.excluded]}
    found |= {"notes": [], "everybody": []}
    for name in by:
        part = _Part.of(trials, name, seed, replicates, permutations, str(folder), min_speakers, name_people)
        found["everybody"] = found["everybody"] or [part.amounts(part.used)]
        found["suppressed"] += part.suppressed_rows()
        found["groups"] += part.group_rows()
        found["comparisons"] += part.comparison_rows()
        found["excluded"] += part.excluded()
        found["notes"] += part.notes()
    return {
        key: [{"result": folder.name, **row} if isinstance(row, dict) and key != "everybody" else row for row in rows]
        for key, rows in found.items()
    }


@dataclass(frozen=True)
class _Part:
    """The trials by one attribute."""

    trials: Trials
    by: str
    people: People
    used: Flags
    """``[trial]``, neither side is an ambiguous speaker."""
    group: Places
    """``[trial]``, of both sides; -1 where both are unknown, -2 where they are not in one."""
    threshold: float
    """Of the equal error rate of all used trials."""
    seed: int
    replicates: int
    permutations: int
    min_speakers: int
    name_people: bool

    @staticmethod
    def of(
        trials: Trials,
        by: str,
        seed: int,
        replicates: int,
        permutations: int,
        where: str,
        min_speakers: int,
        name_people: bool,
    ) -> _Part:
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
        draws = min(replicates, most)
        return _Part(trials, by, people, used, group, threshold, seed, draws, permutations, min_speakers, name_people)

    def group_rows(self) -> list[dict[str, Any]]:
        """Return one row a metric and scored group, the speakers without a recorded value, and all of these."""
        shown = [(name, members) for name, members, scored in self._groups() if scored]
        if shown:
            hidden = [code for code, (_, _, scored) in zip(self._codes(), self._groups(), strict=True) if not scored]
            of_sides = self.people.group[self.trials.sides]
            shown.append((ALL, self.used & ~np.isin(of_sides, hidden).any(1)))
        rows = []
        for name, members in shown:
            about = {"group": name, "known": name != UNKNOWN, "total": name == ALL}
            common = about | self.amounts(members) | {"words": 0, "empty_references": 0}
            scores = self._scores(members)
            rows += [self._about(metric) | common | self._scored(scores.of(metric)) for metric in UNITS]
        return rows

    def amounts(self, members: Flags) -> dict[str, Any]:
        """Return how much speech some trials are about."""
        clips = np.unique(self.trials.clips[members])
        seconds = self.trials.seconds[clips]
        return {
            "speakers": len(np.unique(self.trials.speaker_of[clips])),
            "clips": len(clips),
            "hours": float(seconds.sum()) / 3600,
        }

    def suppressed_rows(self) -> list[dict[str, Any]]:
        """Return one row a group that is counted and not scored."""
        rows = []
        for name, members, scored in self._groups():
            amounts = self.amounts(members)
            if not scored and amounts["speakers"]:
                few = {"groups": [name], "reason": f"fewer than {self.min_speakers} speakers"}
                rows.append({"by": self.by, **few, **{key: amounts[key] for key in ("speakers", "clips")}})
        return rows

    def _codes(self) -> list[int]:
        return [*range(len(self.people.names)), -1]

    def _groups(self) -> list[tuple[str, Flags, bool]]:
        """Return name, trials and whether they are scored of every group, that of the unknown last."""
        found = []
        for code, name in zip(self._codes(), (*self.people.names, UNKNOWN), strict=True):
            members = np.asarray(self.group == code)
            speakers = len(np.unique(self.trials.sides[members]))
            found.append((name, members, speakers >= self.min_speakers))
        return found

    def comparison_rows(self) -> list[dict[str, Any]]:
        """Return one row a metric and pair of groups; of many groups, the largest are compared."""
        rows = []
        groups = self._groups()
        for first, second in combinations(self._compared(), 2):
            small = [groups[code] for code in (first, second) if not groups[code][2]]
            if small:
                speakers = len(np.unique(self.trials.sides[small[0][1]]))
                reason = _few(small[0][0], speakers, self.min_speakers)
                row = unscored_row(groups[first][0], groups[second][0], reason)
                rows += [self._about(metric) | row for metric in UNITS]
                continue
            scores = self._scores((self.group == first) | (self.group == second))
            rows += [self._about(metric) | self._compare(metric, scores, first, second) for metric in UNITS]
        return rows

    def excluded(self) -> list[dict[str, Any]]:
        """Return what is left out of this attribute's rows."""
        rows = []
        names = [self.trials.speakers[code] for code in np.flatnonzero(self.people.ambiguous)]
        if names:
            reason = f"speakers recorded under several values of {self.by}, with their trials"
            rows.append(excluded_row(reason, names if self.name_people else [], len(names)))
        across = int((self.used & (self.group == -2)).sum())
        if across:
            rows.append(
                excluded_row(f"trials across groups of {self.by}: in the row of all, in no group's", [], across)
            )
        return rows

    def notes(self) -> list[str]:
        """Return sentences about this attribute's rows."""
        found = [
            f"By {self.by}: a group's trials are those within it. The common threshold is a score of "
            f"{self.threshold:.4g}, where the two errors of all {int(self.used.sum())} trials are nearest to equal. It "
            f"is held fixed in the intervals, which are of {self.replicates:,} resamples of speakers. "
            f"p-values are of all ways to deal out the groups, or of {self.permutations:,} random ones."
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

    def _about(self, metric: str) -> dict[str, Any]:
        return {"by": self.by, "metric": metric, "unit": UNITS[metric], "higher_is_better": False}

    def _scored(self, score: Score) -> dict[str, float]:
        rows = np.eye(score.speakers)
        if score.speakers < MIN_SPEAKERS:
            return {"value": float(score(rows.sum(0))), "low": math.nan, "high": math.nan}
        return bootstrap_sums(rows, score, self.replicates, self._rng())._asdict()

    def _compare(self, metric: str, scores: Scores, first: int, second: int) -> dict[str, Any]:
        score = scores.of(metric)
        # A speaker's row has a one in a column of their own: sums are how often each speaker counts.
        mine = self.people.group[scores.codes] == first
        ours, theirs = np.eye(score.speakers)[mine], np.eye(score.speakers)[~mine]
        a, b = float(score(ours.sum(0))), float(score(theirs.sum(0)))
        names = self.people.names[first], self.people.names[second]
        words = gap_direction(metric, False, *names, a, b, by=self.by)
        refused = _refusal(names, (len(ours), len(theirs)), (a, b))
        row = untested_row(*names, a, b, words, refused, (len(ours), len(theirs)))
        return row if refused else row | self._infer(score, ours, theirs, a, b)

    def _infer(self, score: Score, ours: Array, theirs: Array, a: float, b: float) -> dict[str, Any]:
        found = contrast(ours, theirs, score, self.replicates, self._rng())
        test = permutation_test(ours, theirs, score, self._rng(), self.permutations, studentise=False)
        power = sensitivity(ours, theirs, score, found.standard_error)
        fewest = min(len(ours), len(theirs))
        few = f"only {fewest} speakers in the smaller group: small gaps cannot be found"
        return tested(found, test, power, a, b) | {"warning": few if fewest < WARN_BELOW_SPEAKERS else None}

    def _scores(self, members: Flags) -> Scores:
        codes, sides = np.unique(self.trials.sides[members], return_inverse=True)
        left, right = sides.reshape(-1, 2).T
        trials = SpeakerTrials(self.trials.scores[members], self.trials.same[members], left, right)
        return Scores(trials, codes, trials.place(self.threshold))

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def _nearest(curve: Curve) -> int:
    """Return the place at which misses and false alarms are nearest to equal; never that where nothing is accepted."""
    after = curve.crossing()
    gaps = {place: abs(np.subtract(*curve.errors(place))) for place in (after - 1, after) if place}
    return min(gaps, key=lambda place: (gaps[place], place))


def _refusal(names: tuple[str, str], sizes: tuple[int, int], values: tuple[float, float]) -> str | None:
    for name, size, value in zip(names, sizes, values, strict=True):
        if not math.isfinite(value):
            return f"group {name} lacks trials of the same speaker, or of different ones"
        if size < MIN_SPEAKERS:
            return _few(name, size, MIN_SPEAKERS)
    return None


def _few(name: str, size: int, needed: int) -> str:
    people = "1 speaker" if size == 1 else f"{size} speakers"
    return f"group {name} has {people}, and at least {needed} a group are needed"


UNITS = {"eer": "%", "min_dcf": "cost", "fnmr_at_common": "%", "fmr_at_common": "%"}
"""Metrics and their units; all are better where lower."""


@dataclass(frozen=True)
class Scores:
    """All metrics of some trials, of how often each speaker counts.

    Each question draws the same resamples, so what was computed for one metric is kept for the others.
    """

    trials: SpeakerTrials
    codes: Places
    """``[speaker]``, who they are."""
    common: int
    """Place of the common threshold."""
    known: dict[bytes, tuple[float, ...]] = field(default_factory=dict)

    def of(self, metric: str) -> Score:
        """Return one metric."""
        return Score(self, list(UNITS).index(metric))

    def read(self, counts: npt.NDArray[np.int64]) -> tuple[float, ...]:
        """Return the metrics in the order of `UNITS`, NaN where trials of one kind are lacking."""
        key = blake2b(counts.tobytes(), digest_size=16).digest()
        if key not in self.known:
            curve = self.trials.weigh(counts)
            self.known[key] = (math.nan,) * len(UNITS) if curve is None else self._of(curve)
        return self.known[key]

    def _of(self, curve: Curve) -> tuple[float, ...]:
        misses, alarms = curve.errors(self.common)
        return curve.eer(), curve.min_dcf(), 100 * misses, 100 * alarms


@dataclass(frozen=True)
class Score:
    """One metric, as a function of summed statistics: ``[..., speaker]`` to ``[...]``."""

    scores: Scores
    column: int

    @property
    def speakers(self) -> int:
        """Number of speakers."""
        return len(self.scores.codes)

    def __call__(self, counts: Array) -> Array:
        """Return the score of each row of counts, ``[..., speaker]``."""
        rows = np.rint(counts).astype(np.int64).reshape(math.prod(counts.shape[:-1]), self.speakers)
        values = [self.scores.read(row)[self.column] for row in rows]
        return np.array(values, np.float64).reshape(counts.shape[:-1])
