"""Mean average precision and precision at N of ranked lists: cover songs, spoken queries.

Values are given for each query, so that queries can be resampled. A query that has nothing to find has no value (NaN).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError
from audio_ssl.metrics.ranking import Ranking

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


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


def mean_average_precision(scores: Array, relevant: Flags, candidates: Flags | None = None) -> float:
    """Return the mean of `average_precisions` over the queries that have something to find; NaN if none has."""
    values = average_precisions(scores, relevant, candidates)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


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
