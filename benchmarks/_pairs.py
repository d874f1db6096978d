"""What systems answered on the same clips, and their differences.

All systems are asked about the same clips, and what is hard for one is mostly hard for the others. So clips of both
systems are resampled together, by scene, sentence, track or tune, whichever belongs together (paired bootstrap; Bisani
and Ney 2004): that tells much smaller gaps apart than two intervals of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student

from audio_ssl.metrics.registry import get_metric
from audio_ssl.metrics.resampling import Interval, bootstrap_sums, cluster_sums, interval_of_draws, replicate_sums

Array64 = npt.NDArray[np.float64]

REPLICATES = 4000
LEVEL = 0.05
LOWER_IS_BETTER = ("CER",)


@dataclass(frozen=True)
class ClipCounts:
    """One system's statistics on the clips of a task; its score is a function of their sums."""

    metric: str
    """``CER`` and ``accuracy``: the share of two columns; else the name of a metric of `audio_ssl.metrics`."""

    table: Array64
    """``[clip, column]``."""

    clips: list[str]
    """Their ids."""

    clusters: list[str]
    """What is resampled, clip by clip."""

    @staticmethod
    def ratio(table: Array64, clusters: Sequence[str]) -> ClipCounts:
        """Return counts of what was right, or wrong, and of what was asked, by what is resampled."""
        return ClipCounts("accuracy", table, list(clusters), list(clusters))

    def score(self, sums: Array64) -> Array64:
        """Return scores in percent of summed statistics ``[..., column]``."""
        if self.metric in ("CER", "accuracy"):
            return np.asarray(100 * sums[..., 0] / sums[..., 1])
        return np.asarray(get_metric(self.metric).score(sums))

    def of_all(self) -> float:
        """Return the score of all clips together."""
        return float(self.score(self.table.sum(0)))

    def interval(self) -> Interval:
        """Return the score with its interval."""
        sums, _ = cluster_sums(self.table, self.clusters)
        return bootstrap_sums(sums, self.score, REPLICATES)

    def row(self) -> dict[str, Any]:
        """Return what `ClipCounts.of_row` reads; columns that are mostly 0 are kept as place and number."""
        filled = [[[int(at), float(row[at])] for at in np.flatnonzero(row)] for row in self.table]
        return {
            "metric": self.metric,
            "columns": self.table.shape[1],
            "filled": filled,
            "clips": self.clips,
            "clusters": self.clusters,
        }

    @staticmethod
    def of_row(row: Mapping[str, Any]) -> ClipCounts:
        """Return what `row` gave."""
        table = np.zeros((len(row["filled"]), row["columns"]))
        for number, cells in enumerate(row["filled"]):
            for at, count in cells:
                table[number, at] = count
        return ClipCounts(row["metric"], table, row["clips"], row["clusters"])


@dataclass(frozen=True)
class Gap:
    """How much better one system is than another; above 0 is better, whichever way the metric runs."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, of no difference, from the same resamples as the interval."""

    @property
    def word(self) -> str:
        """Return what the interval says."""
        return "above" if self.low > 0 else "below" if self.high < 0 else "not significant"


def gap(mine: ClipCounts, other: ClipCounts) -> Gap:
    """Compare two systems on the clips that both answered."""
    place = {name: row for row, name in enumerate(other.clips)}
    shared = [(row, place[name]) for row, name in enumerate(mine.clips) if name in place]
    ours, theirs = (np.array(rows) for rows in zip(*shared, strict=True))
    both = np.concatenate([mine.table[ours], other.table[theirs]], axis=1)
    sums, _ = cluster_sums(both, [mine.clusters[row] for row in ours])
    half, sign = mine.table.shape[1], -1.0 if mine.metric in LOWER_IS_BETTER else 1.0

    def difference(totals: Array64) -> Array64:
        return np.asarray(sign * (mine.score(totals[..., :half]) - other.score(totals[..., half:])))

    draws = difference(replicate_sums(sums, REPLICATES, np.random.default_rng(0)))
    found = interval_of_draws(float(difference(sums.sum(0))), draws, len(sums))
    return Gap(*found, p_value(draws, len(sums)))


def p_value(draws: Array64, clusters: int) -> float:
    """Return the two-sided p-value of no difference: 1 - the confidence at which the expanded interval touches 0."""
    beyond = (min(int((draws <= 0).sum()), int((draws >= 0).sum())) + 1) / (len(draws) + 1)
    if clusters < 2:
        return 1.0
    return min(1.0, 2 * float(student.cdf(norm.ppf(beyond) * math.sqrt((clusters - 1) / clusters), clusters - 1)))


def covered(model: float, baseline: float, peer: float, lower_is_better: bool) -> float | None:
    """Return how much of the way from the baseline to the peer the model covers, in percent.

    None where the peer is no better than the baseline, as there is no way then.
    """
    better = baseline - peer if lower_is_better else peer - baseline
    gained = baseline - model if lower_is_better else model - baseline
    return 100 * gained / better if better > 0 else None
