"""Metrics of rankings: ROC-AUC and average precision of classes, average precision and precision at N of queries.

Rankings are no functions of sums, but many resamples are scored at once: a resample only says how often each clip
counts, so one sorting and cumulative sums of the counts score them all. The sums are needed only at the scores of
positive clips, which are few. Values equal scikit-learn's on data in which every clip is repeated as often as it counts
(a test compares them).

Queries (cover songs, spoken words) have a value each, so that queries can be resampled. A query without anything to
find has no value (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.metric import Array, Flags, Places, RankingMetric


class Ranking:
    """Clips ranked by one score.

    Parameters
    ----------
    scores, positive
        ``[clip]``, finite; a higher score is more positive.
    groups
        Place of what is resampled, from 0, ``[clip]``. If None, each clip by itself.

    Examples
    --------
    >>> ranking = Ranking(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
    >>> ranking.roc_auc(), ranking.roc_auc(np.array([[1.0, 2, 1, 1], [1, 0, 1, 1]]))
    (array([0.75]), array([0.66666667, 1.        ]))
    """

    def __init__(self, scores: Array, positive: Flags, groups: Places | None = None) -> None:
        groups = np.arange(len(scores)) if groups is None else groups
        # Each different score of a positive clip is a step, the highest first; other scores change no ranking metric.
        steps, place = np.unique(-scores[positive], return_inverse=True)
        others = -scores[~positive]
        number, self._steps = int(groups.max(initial=-1)) + 1, len(steps)
        self._right = _Counter(place, groups[positive], len(steps), number)
        reached, passed = (np.searchsorted(steps, others, side) for side in ("left", "right"))
        self._reached = _Counter(reached, groups[~positive], len(steps) + 1, number)
        # Without ties between the kinds, a negative clip that reaches a step is above it.
        tied = not np.array_equal(reached, passed)
        self._passed = _Counter(passed, groups[~positive], len(steps) + 1, number) if tied else self._reached

    @property
    def width(self) -> int:
        """Return how many numbers a resample takes, for `audio_ssl.metrics.resampling.bootstrap`."""
        return self._steps

    def roc_auc(self, counts: Array | None = None) -> Array:
        """Return the area under the ROC curve as a share, ``[resample]``; NaN where a resample lacks one of the kinds.

        It is the share of pairs of a positive and a negative clip in the right order, ties by half (Mann & Whitney).

        Parameters
        ----------
        counts
            How often each group counts, ``[resample, group]``. If None, one resample with each of them once.
        """
        right, above = self._right.sum(counts), np.cumsum(self._reached.sum(counts), axis=0)
        if self._passed is not self._reached:
            above = (above + np.cumsum(self._passed.sum(counts), axis=0)) / 2
        wins = (right * (above[-1] - above[:-1])).sum(0)
        return _share(wins, right.sum(0) * above[-1])

    def average_precision(self, counts: Array | None = None) -> Array:
        """Return the mean over positive clips of the precision at their score, as a share; otherwise as `roc_auc`."""
        right, above = self._right.sum(counts), np.cumsum(self._reached.sum(counts), axis=0)
        so_far = np.cumsum(right, axis=0)
        found = (right * so_far / np.maximum(so_far + above[:-1], 1e-12)).sum(0)
        # A class that every clip has would have precision 1 whatever the scores are.
        return _share(np.where(above[-1] > 0, found, np.nan), right.sum(0))


ROC_AUC = RankingMetric(name="roc_auc", label="ROC-AUC", earlier_names=("roc_auc_macro",), of_ranking=Ranking.roc_auc)
AVERAGE_PRECISION = RankingMetric(
    name="average_precision",
    label="average precision",
    earlier_names=("average_precision_macro",),
    of_ranking=Ranking.average_precision,
)

METRICS = (ROC_AUC, AVERAGE_PRECISION)


class _Counter:
    """Clips by their step and group, to be summed by step as groups count more or less often."""

    def __init__(self, steps: Places, groups: Places, n_steps: int, n_groups: int) -> None:
        self._steps, self._groups, self._shape = steps, groups, (n_steps, n_groups)

    def sum(self, counts: Array | None) -> Array:
        """Return how many clips each step has, ``[step, resample]``."""
        if counts is None:
            return np.bincount(self._steps, minlength=self._shape[0]).astype(np.float64)[:, None]
        return np.asarray(self._table @ counts.T)

    @cached_property
    def _table(self) -> csr_array:
        # Clips of one step and group are added up here, once for all resamples.
        return csr_array((np.ones(len(self._steps)), (self._steps, self._groups)), shape=self._shape)


def _share(part: Array, whole: Array) -> Array:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


@dataclass(frozen=True)
class RankingScore:
    """A macro mean and what it is a mean of."""

    value: float
    """Mean over the classes, in percent; NaN when every class was left out."""

    per_class: dict[str, float]
    """In percent."""

    excluded: dict[str, str]
    """Classes left out, with the reason."""


class Rankings:
    """Rankings of the same clips by each class that some of them have and others have not.

    Parameters
    ----------
    labels, scores
        ``[clip, class]``.
    classes
        Their names.
    groups
        As of `Ranking`.

    Raises
    ------
    ValueError
        If the shapes do not fit or a score is not finite.
    """

    def __init__(self, labels: Flags, scores: Array, classes: Sequence[str], groups: Places | None = None) -> None:
        if labels.shape != scores.shape or labels.shape[1] != len(classes):
            raise ValueError(
                f"`labels` {labels.shape}, `scores` {scores.shape} and {len(classes)} `classes` do not fit"
            )
        if not np.isfinite(scores).all():
            raise ValueError("`scores` must be finite")
        self.excluded: dict[str, str] = {}
        """Classes left out, with the reason."""
        self.of_class: dict[str, Ranking] = {}
        for index, name in enumerate(classes):
            positives = int(labels[:, index].sum())
            if positives in (0, len(labels)):
                self.excluded[name] = "no clip has it" if positives == 0 else "every clip has it"
            else:
                self.of_class[name] = Ranking(scores[:, index], labels[:, index], groups)

    @property
    def width(self) -> int:
        """Return how many numbers a resample of a class takes at most, for `audio_ssl.metrics.resampling.bootstrap`."""
        return max((one.width for one in self.of_class.values()), default=1)

    def macro(self, metric: RankingMetric, counts: Array | None = None) -> Array:
        """Return the mean over classes in percent, ``[resample]``; a class that a resample lacks is left out of it."""
        if not self.of_class:
            return np.full(1 if counts is None else len(counts), np.nan)
        return mean_defined(np.stack([100.0 * metric.of_ranking(one, counts) for one in self.of_class.values()]))

    def score(self, metric: RankingMetric) -> RankingScore:
        """Return the mean with the value of each class (MARBLE's ROC-AUC and AP)."""
        per_class = {name: 100.0 * float(metric.of_ranking(one, None)[0]) for name, one in self.of_class.items()}
        return RankingScore(float(self.macro(metric)[0]), per_class, self.excluded)


def mean_defined(table: Array) -> Array:
    """Return the mean of each column without its NaN, ``[column]``; NaN where it has nothing else."""
    known = np.isfinite(table)
    number = known.sum(0)
    return np.where(number > 0, np.where(known, table, 0.0).sum(0) / np.maximum(number, 1), np.nan)


def average_precisions(scores: Array, relevant: Flags, candidates: Flags | None = None) -> Array:
    """Return the average precision of each query, in percent; equal scores share one place.

    Parameters
    ----------
    scores
        ``[query, item]``, higher is nearer.
    relevant
        ``[query, item]``, what is to be found.
    candidates
        ``[query, item]``, what is ranked; False for the query itself. All, if None.

    Raises
    ------
    UserError
        If the shapes differ or a score that counts is not finite.
    """
    candidates = _checked(scores, relevant, candidates)
    values = np.full(len(scores), np.nan)
    for query, kept in enumerate(candidates):
        found = relevant[query, kept]
        if found.all():
            values[query] = 100.0 if len(found) else np.nan
        elif found.any():
            values[query] = 100.0 * Ranking(scores[query, kept], found).average_precision()[0]
    return values


def precisions_at_n(scores: Array, relevant: Flags, candidates: Flags | None = None) -> Array:
    """Return the share of each query's first N items that are relevant, in percent; N is how many are.

    As P@N of query-by-example search (Hazen et al. 2009). Equal scores at the N-th place count in parts.
    """
    candidates = _checked(scores, relevant, candidates)
    values = np.full(len(scores), np.nan)
    for query, kept in enumerate(candidates):
        found, values_kept = relevant[query, kept], scores[query, kept]
        count = int(found.sum())
        if count == 0:
            continue
        last = np.sort(values_kept)[-count]
        above, level = values_kept > last, values_kept == last
        share = (count - above.sum()) / level.sum()
        values[query] = 100.0 * float(found[above].sum() + share * found[level].sum()) / count
    return values


def _checked(scores: Array, relevant: Flags, candidates: Flags | None) -> Flags:
    kept = np.ones(scores.shape, bool) if candidates is None else candidates
    if scores.ndim != 2 or scores.shape != relevant.shape or scores.shape != kept.shape:
        shapes = f"{scores.shape}, {relevant.shape}, {kept.shape}"
        raise UserError(f"`scores`, `relevant` and `candidates` must all be [query, item], but are {shapes}")
    if not np.isfinite(scores[kept]).all():
        raise UserError("`scores` must be finite")
    return kept
