"""Equal error rate and detection cost of trials that ask whether two sides are the same (speaker).

Scores are higher where the two sides are more alike. A trial is accepted where its score reaches the threshold.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError
from audio_ssl.metrics.bootstrap import Interval

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]


def eer(scores: Array, same: Flags) -> float:
    """Return the equal error rate in percent, linear between thresholds where misses and false alarms cross.

    Parameters
    ----------
    scores
        Of each trial.
    same
        Whether its two sides are the same.

    Raises
    ------
    UserError
        If no trial is the same, or none is different, or a score is not finite.

    Examples
    --------
    >>> eer(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
    50.0
    """
    order, ends = _thresholds(scores, same)
    misses, alarms = _error_rates(same[order], ends)
    after = int(np.argmax(alarms >= misses))
    return _meet((misses[after - 1], alarms[after - 1]), (misses[after], alarms[after]))


def min_dcf(scores: Array, same: Flags, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """Return the least detection cost over all thresholds, over that of the better constant answer (NIST SRE).

    Parameters
    ----------
    scores, same
        As for `eer`.
    p_target
        Prior probability of the same speaker.
    c_miss, c_fa
        Cost of a miss and of a false alarm.
    """
    if not 0 < p_target < 1:
        raise UserError(f"`p_target` must be between 0 and 1, but is {p_target}")
    order, ends = _thresholds(scores, same)
    return _least_cost(*_error_rates(same[order], ends), p_target, c_miss, c_fa)


def eer_interval(
    scores: Array,
    same: Flags,
    speakers: Sequence[tuple[str, str]],
    replicates: int = 1000,
    rng: np.random.Generator | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Return the equal error rate in percent with a percentile interval over speakers.

    Speakers are drawn with replacement. A trial of two speakers weighs the product of how often each was drawn, a trial
    of one speaker how often that one was: trials that share a speaker are not independent (Poh & Bengio 2007). Draws
    that leave no trial of one kind are left out; below two speakers there are no limits.

    Parameters
    ----------
    scores, same
        As for `eer`.
    speakers
        Of both sides of each trial.
    replicates, rng, confidence
        As for `cluster_bootstrap`.
    """
    value = eer(scores, same)
    if len(speakers) != len(scores):
        raise UserError(f"`speakers` must have one pair for each of {len(scores)} trials, but has {len(speakers)}")
    names, index = np.unique(np.asarray(speakers, dtype=object).astype(str).ravel(), return_inverse=True)
    if len(names) < 2:
        return Interval(value, float("nan"), float("nan"))
    left, right = index.reshape(-1, 2).T
    trials = SpeakerTrials(scores, same, left, right)
    rng = rng or np.random.default_rng(0)
    values = []
    for _ in range(replicates):
        curve = trials.weigh(rng.multinomial(len(names), np.full(len(names), 1 / len(names))))
        if curve is not None:
            values.append(curve.eer())
    if not values:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


class SpeakerTrials:
    """Trials in the order of falling scores, to be scored again and again as speakers count more or less often.

    Nothing is sorted again, and memory is a few numbers a trial however many resamples there are.

    Parameters
    ----------
    scores, same
        As for `eer`, but one kind may be missing.
    left, right
        Speaker of each side, ``[trial]``, from 0.
    """

    def __init__(self, scores: Array, same: Flags, left: Places, right: Places) -> None:
        order, ends = _order(scores, same)
        same, left, right = same[order], left[order], right[order]
        # A trial of one speaker weighs as often as that one: its other side is nobody, who counts once.
        right = np.where(left == right, -1, right)
        self._left, self._right = ([side[kind] for kind in (same, ~same)] for side in (left, right))
        self._scores = scores[order][ends]
        self._accepted = [np.concatenate([[0], np.cumsum(kind)[ends]]) for kind in (same, ~same)]
        # Lower thresholds than these accept more false alarms and nothing else.
        self._steps = np.flatnonzero(np.append(True, np.diff(self._accepted[0]) > 0))

    def weigh(self, counts: npt.NDArray[np.int64]) -> Curve | None:
        """Return the errors where speakers count so often, ``[speaker]``; None if no trial of one kind is left."""
        counts = np.append(np.asarray(counts, np.int64), 1)
        sums = []
        for left, right in zip(self._left, self._right, strict=True):
            sums.append(np.zeros(len(left) + 1, np.int64))
            np.cumsum(counts[left] * counts[right], out=sums[-1][1:])
            if not sums[-1][-1]:
                return None
        return Curve(sums[0], sums[1], self._accepted[0], self._accepted[1], self._steps)

    def place(self, threshold: float) -> int:
        """Return the place of a threshold, for `Curve.errors`."""
        return int(np.searchsorted(-self._scores, -threshold, side="right"))

    def threshold(self, place: int) -> float:
        """Return the score at a place; infinite where nothing is accepted."""
        return float(self._scores[place - 1]) if place else float("inf")


@dataclass(frozen=True)
class Curve:
    """Errors at each threshold: at place 0 nothing is accepted, at the last one all."""

    hits: npt.NDArray[np.int64]
    """Weight of the best-scored 0, 1 … trials of the same speaker."""
    alarms: npt.NDArray[np.int64]
    """Of different speakers."""
    hits_at: Places
    """``[place]``, how many trials of the same speaker are accepted."""
    alarms_at: Places
    """Of different speakers."""
    steps: Places
    """Places at which there are more hits than before, and 0."""

    def errors(self, place: int) -> tuple[float, float]:
        """Return the rates of misses and of false alarms at a place."""
        hits, alarms = self.hits[self.hits_at[place]], self.alarms[self.alarms_at[place]]
        return float(1 - hits / self.hits[-1]), float(alarms / self.alarms[-1])

    def crossing(self) -> int:
        """Return the first place at which there are no fewer false alarms than misses, in shares."""

        def crossed(place: int) -> bool:
            misses, alarms = self.errors(place)
            return alarms >= misses

        return bisect_left(range(len(self.hits_at)), True, key=crossed)

    def eer(self) -> float:
        """Return the equal error rate in percent, as `eer`."""
        after = self.crossing()
        return _meet(self.errors(after - 1), self.errors(after))

    def min_dcf(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """Return the least detection cost, as `min_dcf`."""
        misses = 1 - self.hits[self.hits_at[self.steps]] / self.hits[-1]
        alarms = self.alarms[self.alarms_at[self.steps]] / self.alarms[-1]
        return _least_cost(misses, alarms, p_target, c_miss, c_fa)


def _thresholds(scores: Array, same: Flags) -> tuple[Places, Places]:
    """Return the order of falling scores, and the last place of each group of equal ones; both kinds are needed."""
    order, ends = _order(scores, same)
    if same.all() or not same.any():
        raise UserError(
            "trials must be of both kinds, but " + ("all are the same" if same.any() else "none is the same")
        )
    return order, ends


def _order(scores: Array, same: Flags) -> tuple[Places, Places]:
    if scores.shape != same.shape or scores.ndim != 1:
        raise UserError(f"`scores` and `same` must have one value for each trial, but are {scores.shape}, {same.shape}")
    if not np.isfinite(scores).all():
        raise UserError(f"`scores` must be finite, but {int((~np.isfinite(scores)).sum())} are not")
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, np.ones(min(1, len(scores)), bool)))
    return order, ends


def _error_rates(same: Flags, ends: Places) -> tuple[Array, Array]:
    """Return the rates of misses and of false alarms, from accepting nothing to accepting all."""
    hits = np.concatenate([[0.0], np.cumsum(same)[ends]])
    alarms = np.concatenate([[0.0], np.cumsum(~same)[ends]])
    return 1 - hits / hits[-1], alarms / alarms[-1]


def _meet(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Return in percent where the line between two places has as many misses as false alarms, in shares."""
    gap = before[0] - before[1]
    step = gap / (gap + after[1] - after[0])
    return 100.0 * float(before[1] + step * (after[1] - before[1]))


def _least_cost(misses: Array, alarms: Array, p_target: float, c_miss: float, c_fa: float) -> float:
    cost = c_miss * p_target * misses + c_fa * (1 - p_target) * alarms
    return float(cost.min() / min(c_miss * p_target, c_fa * (1 - p_target)))
