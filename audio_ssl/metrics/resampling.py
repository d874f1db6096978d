"""Bootstrap intervals over clusters: speakers, tracks, or a column of the probe. All resampling of the suite is here.

Clips of one speaker are alike. Resampling clips ignores that and makes intervals too narrow (Bisani & Ney 2004;
Liu & Peng 2020, arXiv 1912.09508), so clusters are drawn with replacement, each with all its clips.

Every interval is an expanded percentile interval (Hesterberg 2015, arXiv 1411.5279; `expanded_levels`). In simulations
with 5, 10 and 20 speakers a 95 % interval misses the true error rate in 11, 8 and 7 % of samples; BCa below 20 clusters
and plain percentiles from 20 on miss it in 18, 12 and 9 % (``python benchmarks/fairness.py --parts levels``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
ScoreOfSums = Callable[[Array], Array]
"""From summed statistics ``[..., column]`` to scores ``[...]``."""
ScoreOfCounts = Callable[[Array], Array]
"""From how often each cluster counts, ``[resample, cluster]``, to scores ``[resample]``."""

CONFIDENCE = 0.95
REPLICATES = 2000
"""Of scores that are functions of sums, and of verification trials."""
RANKING_REPLICATES = 400
"""Of rankings, which cost more. With five clusters the limits lie at 0.1 and 99.9 % of the draws: not fewer."""
MIN_CLUSTERS = 5
"""Fewer speakers, tracks or sentences say too little about others: then clips are resampled."""

_CHUNK_ELEMENTS = 1 << 16
_SCORE_ELEMENTS = 1 << 21
_FEW_COLUMNS = 32


class Interval(NamedTuple):
    """A value with its confidence limits; limits are NaN where there are fewer than two clusters."""

    value: float
    low: float
    high: float


class Clusters(NamedTuple):
    """What is resampled."""

    names: list[str]
    """Cluster of each clip."""

    noun: str
    """speaker, track, clip, or the name of a column."""

    few: str = ""
    """Where clips are resampled although there are clusters: how many of these, such as ``3 speakers``."""


def choose_clusters(
    ids: Sequence[str], values: Callable[[str], Sequence[object]], column: str | None = None
) -> Clusters:
    """Choose what to resample: speakers, else tracks, else clips; or the values of a column, else clips.

    Parameters
    ----------
    ids
        Of the clips.
    values
        Gives the values of a column by its name, None where a clip has none.
    column
        Clips with one value in this column belong together; None: speakers, else tracks. Where there are fewer than
        `MIN_CLUSTERS` values, or a clip has none: clips.

    Examples
    --------
    >>> choose_clusters([str(n) for n in range(10)], lambda name: [n // 2 for n in range(10)], "sentence").noun
    'sentence'
    >>> choose_clusters(["a", "b"], {"speaker": ["x", "y"], "track": [None, None]}.__getitem__)
    Clusters(names=['a', 'b'], noun='clip', few='2 speakers')
    """
    few = ""
    wanted = ["speaker", "track"] if column is None else [column]
    for name in wanted:
        found = values(name)
        distinct = len({str(value) for value in found if value is not None})
        noun = name.replace("_", " ")
        if None not in found and "" not in found and distinct >= MIN_CLUSTERS:
            return Clusters([str(value) for value in found], "clip" if name == "id" else noun)
        if distinct and name == wanted[0] and name != "id":
            few = f"{distinct} {noun}{'s' if distinct > 1 else ''}"
    return Clusters([str(one) for one in ids], "clip", few)


def cluster_sums(statistics: Array, clusters: Sequence[str]) -> tuple[Array, list[str]]:
    """Sum per-clip statistics ``[clip, column]`` by cluster; return ``[cluster, column]`` and the names, sorted."""
    names, index = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), statistics.shape[1]))
    np.add.at(sums, index, statistics)
    return sums, names.tolist()


def pair_counts(counts: npt.NDArray[Any], first: Places, second: Places) -> npt.NDArray[Any]:
    """Return how often pairs of clusters count, ``[..., pair]``.

    A pair of two clusters counts once for each time that both were drawn, a pair within one cluster as often as that
    one: trials that share a speaker are not independent (Poh & Bengio 2007).

    Parameters
    ----------
    counts
        How often each cluster was drawn, ``[..., cluster]``.
    first, second
        Places of both sides, ``[pair]``.

    Examples
    --------
    >>> pair_counts(np.array([2, 3]), np.array([0, 0, 1]), np.array([0, 1, 1])).tolist()
    [2, 6, 3]
    """
    found = counts[..., first] * counts[..., second]
    within = np.flatnonzero(first == second)
    found[..., within] = counts[..., first[within]]
    return np.asarray(found)


def bootstrap_sums(
    sums: Array, score: ScoreOfSums, replicates: int = REPLICATES, rng: np.random.Generator | None = None
) -> Interval:
    """Return a score of summed statistics with its 95 % interval.

    Parameters
    ----------
    sums
        Statistics summed per cluster, ``[cluster, column]`` (see `cluster_sums`).
    score
        ``[..., column]`` to ``[...]``.
    replicates
        Number of bootstrap resamples.
    rng
        Random generator. If None, one seeded with 0.
    """
    value = float(score(sums.sum(0)))
    draws = score(replicate_sums(sums, replicates, rng or np.random.default_rng(0)))
    return interval_of_draws(value, draws, len(sums))


def bootstrap_means(table: Array, rng: np.random.Generator | None = None) -> Interval:
    """Return the mean over columns of each column's mean over clusters, with its 95 % interval.

    Parameters
    ----------
    table
        ``[cluster, column]``, NaN where a cluster has no value. Columns of which a resample has no value are left out
        of its mean.
    rng
        Random generator. If None, one seeded with 0.
    """
    known = np.isfinite(table)
    filled, has = np.where(known, table, 0.0), known.astype(np.float64)

    def mean(counts: Array) -> Array:
        weights = counts @ has
        means = np.divide(counts @ filled, weights, out=np.zeros_like(weights), where=weights > 0)
        return np.asarray(means.sum(1) / (weights > 0).sum(1))

    return bootstrap(mean, len(table), REPLICATES, rng, width=table.shape[1])


def bootstrap(
    score: ScoreOfCounts,
    clusters: int,
    replicates: int = REPLICATES,
    rng: np.random.Generator | None = None,
    width: int = 1,
) -> Interval:
    """Return any score with its 95 % interval; `bootstrap_sums` is faster for functions of sums.

    Parameters
    ----------
    score
        From how often each cluster counts, ``[resample, cluster]``, to scores ``[resample]``; NaN where a resample has
        none, such as no positive clip. The value itself is that of counting each cluster once.
    clusters
        How many there are.
    replicates
        Number of bootstrap resamples.
    rng
        Random generator. If None, one seeded with 0.
    width
        Numbers that `score` holds for each resample. The more, the fewer resamples it gets at a time.
    """
    value = float(score(np.ones((1, clusters)))[0])
    if clusters < 2:
        return Interval(value, float("nan"), float("nan"))
    rows = max(1, _SCORE_ELEMENTS // max(width, clusters))
    draws = [
        score(part[start : start + rows])
        for part in replicate_counts(clusters, replicates, rng or np.random.default_rng(0))
        for start in range(0, len(part), rows)
    ]
    return interval_of_draws(value, np.concatenate(draws), clusters)


def replicate_sums(sums: Array, replicates: int, rng: np.random.Generator) -> Array:
    """Return the column sums of `replicates` resamples of the clusters, ``[replicate, column]``, in bounded memory."""
    totals = np.empty((replicates, sums.shape[1]))
    few, columns = sums.shape[1] <= _FEW_COLUMNS, np.ascontiguousarray(sums.T)
    row = 0
    for counts in replicate_counts(len(sums), replicates, rng):
        part = totals[row : row + len(counts)]
        # BLAS's threads would wait for each other longer than so small a product takes.
        if few:
            np.einsum("rs,cs->rc", counts, columns, out=part)
        else:
            np.matmul(counts, sums, out=part)
        row += len(counts)
    return totals


def replicate_counts(clusters: int, replicates: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield how often each resample drew each cluster, ``[some replicates, cluster]``, until there are `replicates`.

    Small integers are drawn (without bias) and counted, a few replicates at a time so that they stay in the cache:
    several times as fast as drawing multinomial counts.
    """
    if not clusters:
        yield np.zeros((replicates, 0))
        return
    kind = np.uint16 if clusters <= 1 << 16 else np.uint32
    chunk = max(1, _CHUNK_ELEMENTS // clusters)
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        drawn = rng.integers(0, clusters, (size, clusters), kind)
        # Each replicate counts in bins of its own.
        cells = drawn + np.arange(0, size * clusters, clusters)[:, None]
        yield np.bincount(cells.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.float64)


def interval_of_draws(value: float, draws: Array, clusters: int) -> Interval:
    """Return a value with the 95 % interval of its resamples ``[replicate]``; undefined (NaN) ones are left out."""
    return quantile_interval(value, draws, expanded_levels(draws, np.zeros(len(draws)), clusters, clusters))


def expanded_levels(a: Array, b: Array, first: int, second: int, confidence: float = CONFIDENCE) -> Array:
    """Return the two levels of resampled differences ``a - b`` that bound the difference with this confidence.

    Resamples of few clusters vary too little, by ``(n - 1) / n``, and normal quantiles ignore that the spread itself is
    estimated. The levels are moved outwards for both (the expanded percentile interval; Hesterberg 2015, arXiv
    1411.5279), with the degrees of freedom of Welch's test, at most those that groups of equal spread would have: a
    few clusters that happen to be alike must not count as many. The limits of a function of the two scores that rises
    with the difference (ratio, relative difference) lie at the same levels, so intervals never disagree.

    BCa, corrected for nothing of this, is worse than plain percentiles here: ``python benchmarks/fairness.py`` prints
    how often each finds a gap that is not there.

    Parameters
    ----------
    a, b
        Scores of resamples of the first and of the second group, ``[replicate]``; NaN where undefined. Zeros in `b`:
        there is one group only.
    first, second
        Clusters of each group.
    confidence
        Coverage asked for.

    Returns
    -------
    ``[low, high]``, NaN where a group has fewer than two clusters.
    """
    plain = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    counts = np.array([first, second], np.float64)
    defined = np.isfinite(a) & np.isfinite(b)
    if counts.min() < 2:
        return np.full(2, np.nan)
    if defined.sum() < 2:
        return plain
    resampled = np.array([a[defined].var(), b[defined].var()])
    if not resampled.sum() > 0:
        return plain
    unbiased = resampled * counts / (counts - 1)
    freedom = min(satterthwaite(unbiased, counts), satterthwaite(1 / counts, counts))
    widened = np.sqrt(unbiased.sum() / resampled.sum())
    return np.asarray(norm.cdf(widened * student.ppf(plain, freedom)))


def satterthwaite(variances: Array, counts: Array) -> float:
    """Return the degrees of freedom of a sum of variances that were estimated from this many clusters each."""
    return float(variances.sum() ** 2 / np.sum(variances**2 / (counts - 1)))


def quantile_interval(value: float, draws: Array, levels: Array) -> Interval:
    """Return a value with these quantiles of its draws; undefined draws are left out, infinite ones are not."""
    draws = draws[~np.isnan(draws)]
    if draws.size == 0 or not np.isfinite([value, *levels]).all():
        return Interval(value, float("nan"), float("nan"))
    ends = np.quantile(draws, levels, method="linear" if np.isfinite(draws).all() else "inverted_cdf")
    return Interval(value, float(ends[0]), float(ends[1]))
