"""Equal error rate and detection cost of trials that ask whether two sides are the same (speaker).

Scores are higher where the two sides are more alike. A trial is accepted where its score reaches the threshold.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.metric import Array, Flags, Places, TrialMetric
from audio_ssl.metrics.resampling import pair_counts


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
    return equal_error(scores, same)[0]


def equal_error(scores: Array, same: Flags) -> tuple[float, float]:
    """Return the equal error rate, as `eer`, and its threshold; both lie on the line between two thresholds.

    Examples
    --------
    >>> equal_error(np.array([0.9, 0.75, 0.25, 0.1]), np.array([True, True, False, False]))
    (0.0, 0.75)
    """
    trials, curve = _once(scores, same)
    after = curve.crossing()
    before, step = after - 1, _step(curve.errors(after - 1), curve.errors(after))
    # Where nothing is accepted, the threshold counts as the highest score.
    low, high = (trials.threshold(max(place, 1)) for place in (after, before))
    return curve.eer(), high + step * (low - high)


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
    return _once(scores, same)[1].min_dcf(p_target, c_miss, c_fa)


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
        self._left, self._right = ([side[kind] for kind in (same, ~same)] for side in (left, right))
        self._scores = scores[order][ends]
        self._accepted = [np.concatenate([[0], np.cumsum(kind)[ends]]) for kind in (same, ~same)]
        # Lower thresholds than these accept more false alarms and nothing else.
        self._steps = np.flatnonzero(np.append(True, np.diff(self._accepted[0]) > 0))

    def weigh(self, counts: npt.NDArray[np.int64]) -> Curve | None:
        """Return the errors where speakers count so often, ``[speaker]``; None if no trial of one kind is left.

        A trial counts as `audio_ssl.metrics.resampling.pair_counts` says.
        """
        counts = np.asarray(counts, np.int64)
        sums = []
        for left, right in zip(self._left, self._right, strict=True):
            sums.append(np.zeros(len(left) + 1, np.int64))
            np.cumsum(pair_counts(counts, left, right), out=sums[-1][1:])
            if not sums[-1][-1]:
                return None
        return Curve(sums[0], sums[1], self._accepted[0], self._accepted[1], self._steps)

    def resampled(self, metric: TrialMetric, counts: Array, common: int = 0) -> Array:
        """Return a metric of speakers that count so often, ``[resample, speaker]`` to ``[resample]``.

        `common` is the place of the threshold that all groups share, for metrics that ask for it.
        """
        curves = [self.weigh(row) for row in np.rint(counts).astype(np.int64)]
        values = [np.nan if curve is None else metric.of_curve(curve, common) for curve in curves]
        return np.array(values, np.float64)

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
        before, beyond = self.errors(after - 1), self.errors(after)
        return 100.0 * (before[1] + _step(before, beyond) * (beyond[1] - before[1]))

    def min_dcf(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """Return the least detection cost, as `min_dcf`."""
        misses = 1 - self.hits[self.hits_at[self.steps]] / self.hits[-1]
        alarms = self.alarms[self.alarms_at[self.steps]] / self.alarms[-1]
        cost = c_miss * p_target * misses + c_fa * (1 - p_target) * alarms
        return float(cost.min() / min(c_miss * p_target, c_fa * (1 - p_target)))


EER = TrialMetric(
    name="eer",
    label="EER",
    phrase="equal error rate",
    higher_is_better=False,
    of_curve=lambda curve, common: curve.eer(),
    paired=True,
)
MIN_DCF = TrialMetric(
    name="min_dcf",
    label="minDCF",
    phrase="minimum detection cost",
    unit="cost",
    higher_is_better=False,
    of_curve=lambda curve, common: curve.min_dcf(),
)
FNMR_AT_COMMON = TrialMetric(
    name="fnmr_at_common",
    label="FNMR at one threshold",
    phrase="rate of own voices refused",
    higher_is_better=False,
    of_curve=lambda curve, common: 100 * curve.errors(common)[0],
)
FMR_AT_COMMON = TrialMetric(
    name="fmr_at_common",
    label="FMR at one threshold",
    phrase="rate of other voices accepted",
    higher_is_better=False,
    of_curve=lambda curve, common: 100 * curve.errors(common)[1],
)

METRICS = (EER, MIN_DCF, FNMR_AT_COMMON, FMR_AT_COMMON)


def _once(scores: Array, same: Flags) -> tuple[SpeakerTrials, Curve]:
    """Return trials with the errors where each counts once; both kinds are needed."""
    # All are of one speaker, who counts once.
    nobody = np.zeros(len(scores), np.intp)
    trials = SpeakerTrials(scores, same, nobody, nobody)
    curve = trials.weigh(np.ones(1, np.int64))
    if curve is None:
        raise UserError(
            "trials must be of both kinds, but " + ("all are the same" if same.any() else "none is the same")
        )
    return trials, curve


def _order(scores: Array, same: Flags) -> tuple[Places, Places]:
    if scores.shape != same.shape or scores.ndim != 1:
        raise UserError(f"`scores` and `same` must have one value for each trial, but are {scores.shape}, {same.shape}")
    if not np.isfinite(scores).all():
        raise UserError(f"`scores` must be finite, but {int((~np.isfinite(scores)).sum())} are not")
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, np.ones(min(1, len(scores)), bool)))
    return order, ends


def _step(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Return how far from one place to the next there are as many misses as false alarms, in shares."""
    gap = before[0] - before[1]
    return gap / (gap + after[1] - after[0])
