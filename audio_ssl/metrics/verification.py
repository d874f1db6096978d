"""Equal error rate and detection cost of trials that ask whether two sides are the same (speaker).

Scores are higher where the two sides are more alike. A trial is accepted where its score reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError
from audio_ssl.metrics.bootstrap import Interval

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


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
    return _crossing(*_error_rates(same[order], np.ones(len(same)), ends))


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
    misses, alarms = _error_rates(same[order], np.ones(len(same)), ends)
    cost = c_miss * p_target * misses + c_fa * (1 - p_target) * alarms
    return float(cost.min() / min(c_miss * p_target, c_fa * (1 - p_target)))


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
    order, ends = _thresholds(scores, same)
    names, index = np.unique(np.asarray(speakers, dtype=object).astype(str).ravel(), return_inverse=True)
    if len(names) < 2:
        return Interval(value, float("nan"), float("nan"))
    left, right = index.reshape(-1, 2)[order].T
    alone, same = left == right, same[order]
    rng = rng or np.random.default_rng(0)
    values = []
    for _ in range(replicates):
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names))).astype(np.float64)
        weights = np.where(alone, drawn[left], drawn[left] * drawn[right])
        if weights[same].any() and weights[~same].any():
            values.append(_crossing(*_error_rates(same, weights, ends)))
    if not values:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def _thresholds(scores: Array, same: Flags) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the order of falling scores, and the last place of each group of equal ones."""
    if scores.shape != same.shape or scores.ndim != 1:
        raise UserError(f"`scores` and `same` must have one value for each trial, but are {scores.shape}, {same.shape}")
    if not np.isfinite(scores).all():
        raise UserError(f"`scores` must be finite, but {int((~np.isfinite(scores)).sum())} are not")
    if same.all() or not same.any():
        raise UserError(
            "trials must be of both kinds, but " + ("all are the same" if same.any() else "none is the same")
        )
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return order, ends


def _error_rates(same: Flags, weights: Array, ends: npt.NDArray[np.intp]) -> tuple[Array, Array]:
    """Return the rates of misses and of false alarms, from accepting nothing to accepting all."""
    hits = np.concatenate([[0.0], np.cumsum(weights * same)[ends]])
    alarms = np.concatenate([[0.0], np.cumsum(weights * ~same)[ends]])
    return 1 - hits / hits[-1], alarms / alarms[-1]


def _crossing(misses: Array, alarms: Array) -> float:
    after = int(np.argmax(alarms >= misses))
    before = after - 1
    gap = misses[before] - alarms[before]
    step = gap / (gap + alarms[after] - misses[after])
    return 100.0 * float(alarms[before] + step * (alarms[after] - alarms[before]))
