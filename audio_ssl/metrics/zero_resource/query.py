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
    if scores.ndim != 2 or scores.shape != relevant.shape:
        raise UserError(
            f"`scores` and `relevant` must both be [query, utterance], but are {scores.shape}, {relevant.shape}"
        )
    if not np.isfinite(scores).all():
        raise UserError("`scores` must be finite")
    used = relevant.any(1) & ~relevant.all(1)
    if not used.any():
        raise UserError("no query has both an utterance that holds it and one that does not")
    scores, relevant = scores[used], relevant[used]
    queries = len(scores)
    beta = c_fa / c_miss * (1 / p_target - 1)
    # What accepting a trial adds to the value: each query's rates weigh the same.
    gain = (
        np.where(relevant, 1 / relevant.sum(1, keepdims=True), -beta / (~relevant).sum(1, keepdims=True)).ravel()
        / queries
    )
    order = np.argsort(-scores.ravel(), kind="stable")
    falling = scores.ravel()[order]
    ends = np.flatnonzero(np.append(np.diff(falling) != 0, True))
    values = np.concatenate([[0.0], np.cumsum(gain[order])[ends]])
    best = int(values.argmax())
    return float(values[best]), float(falling[ends[best - 1]]) if best else float("inf")
