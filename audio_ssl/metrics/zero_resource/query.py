"""Spoken queries: which utterances hold what was said, by the cheapest path of the query inside each.

Scores are the negative cost of subsequence dynamic time warping (Zhang & Glass 2009; Hazen et al. 2009). QUESST 2014
(Anguera et al. 2015, SUPERB's query by example) is scored by the maximum term-weighted value with one threshold for all
queries, for which each query's scores are brought to mean 0 and deviation 1 first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from audio_ssl.errors import UserError
from audio_ssl.metrics.zero_resource.dtw import dtw_pairs

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def search(
    queries: Sequence[Float[Tensor, "frame dim"]],
    utterances: Sequence[Float[Tensor, "frame dim"]],
    kind: str = "cosine",
) -> Array:
    """Return the score of each query in each utterance, ``[query, utterance]``, higher where it is more likely said.

    Rank them with `metrics.retrieval` (MAP, P@N), or give them to `mtwv` after `standardised`.
    """
    shape = len(queries), len(utterances)
    pairs = [(query, utterance) for query in range(shape[0]) for utterance in range(shape[1])]
    costs = dtw_pairs(queries, utterances, pairs, kind, subsequence=True)
    return -np.asarray(costs.double().cpu().numpy()).reshape(shape)


def standardised(scores: Array) -> Array:
    """Bring each query's scores to mean 0 and deviation 1; zeros where they are all equal."""
    deviation = scores.std(1, keepdims=True)
    result = np.zeros_like(scores)
    np.divide(scores - scores.mean(1, keepdims=True), deviation, out=result, where=deviation > 0)
    return result


def mtwv(
    scores: Array, relevant: Flags, p_target: float = 0.0008, c_miss: float = 100.0, c_fa: float = 1.0
) -> tuple[float, float]:
    """Return the maximum term-weighted value, at most 1, and the threshold that reaches it.

    ``1 − (misses + β · false alarms)`` at the best threshold, where both rates are means over queries, β is
    ``c_fa / c_miss · (1 / p_target − 1)`` and the defaults are those of QUESST 2014. A trial is a query and an
    utterance. Accepting nothing has the value 0, so it is never below (threshold: infinity). Queries that every
    utterance holds, or none, count for neither rate.

    Parameters
    ----------
    scores, relevant
        ``[query, utterance]``.
    p_target
        Prior probability that an utterance holds a query.
    c_miss, c_fa
        Cost of a miss and of a false alarm.

    Raises
    ------
    UserError
        If the shapes differ, a score is not finite, or no query has both a relevant and another utterance.
    """
    return RankedTrials(scores, relevant, p_target, c_miss, c_fa).best()


class RankedTrials:
    """Trials of queries in the order of falling scores, to be scored anew as queries count more or less often.

    Parameters and errors are those of `mtwv`.
    """

    def __init__(
        self, scores: Array, relevant: Flags, p_target: float = 0.0008, c_miss: float = 100.0, c_fa: float = 1.0
    ) -> None:
        if scores.ndim != 2 or scores.shape != relevant.shape:
            raise UserError(
                f"`scores` and `relevant` must both be [query, utterance], but are {scores.shape}, {relevant.shape}"
            )
        if not np.isfinite(scores).all():
            raise UserError("`scores` must be finite")
        self._used: Flags = np.asarray(relevant.any(1) & ~relevant.all(1))
        if not self._used.any():
            raise UserError("no query has both an utterance that holds it and one that does not")
        scores, relevant = scores[self._used], relevant[self._used]
        beta = c_fa / c_miss * (1 / p_target - 1)
        # What accepting a trial adds to the value of its query: each query's rates weigh the same.
        gain = np.where(relevant, 1 / relevant.sum(1, keepdims=True), -beta / (~relevant).sum(1, keepdims=True)).ravel()
        order = np.argsort(-scores.ravel(), kind="stable")
        self._falling, self._gain, self._query = scores.ravel()[order], gain[order], order // scores.shape[1]
        self._ends = np.flatnonzero(np.append(np.diff(self._falling) != 0, True))

    def best(self) -> tuple[float, float]:
        """Return the maximum term-weighted value and its threshold, as `mtwv`."""
        values = self._values(np.ones((1, len(self._used))))[0]
        best = int(values.argmax())
        return float(values[best]), float(self._falling[self._ends[best - 1]]) if best else float("inf")

    def value(self, counts: Array) -> Array:
        """Return the maximum value where queries count so often, ``[resample, query]`` to ``[resample]``."""
        return np.asarray(self._values(counts).max(1))

    def _values(self, counts: Array) -> Array:
        """Return the value at each threshold, ``[resample, 1 + threshold]``; at the first nothing is accepted."""
        counts = counts[:, self._used]
        queries = counts.sum(1, keepdims=True)
        gains = np.cumsum(self._gain * counts[:, self._query], axis=1)[:, self._ends]
        values = np.divide(gains, queries, out=np.full_like(gains, np.nan), where=queries > 0)
        return np.concatenate([np.zeros_like(queries), values], axis=1)
