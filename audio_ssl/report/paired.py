"""The difference between two systems on the same clips, with a bootstrap interval over speakers or clips.

Both systems heard the same clips, so what is hard for one is mostly hard for the other: resampling the clips of both
together (paired bootstrap; Bisani & Ney 2004; by speaker as in Liu & Peng 2020, arXiv:1912.09508) is far sharper than
looking whether two separate intervals overlap. Metrics that are no sum over clips (ROC-AUC, AP) are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audio_ssl.errors import UserError
from audio_ssl.metrics.additive import AdditiveMetric, Array, get_metric
from audio_ssl.metrics.bootstrap import cluster_bootstrap, cluster_sums
from audio_ssl.report.numbers import count

N_REPLICATES = 2000
_MIN_SPEAKERS = 5


@dataclass(frozen=True)
class Difference:
    """Model minus baseline on one metric, in the metric's unit, with its 95 % interval."""

    value: float
    low: float
    high: float
    unit: str
    """What was resampled, such as "24 speakers"."""


def additive(name: str) -> AdditiveMetric | None:
    """Return the metric `name` where it is a function of summed per-clip statistics, else None."""
    try:
        return get_metric(name)
    except UserError:
        return None


def paired_difference(
    model: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], metric_name: str
) -> Difference | None:
    """Compare two tables of predictions clip by clip.

    Parameters
    ----------
    model, baseline
        Rows with ``id, reference, hypothesis`` and perhaps ``speaker``.
    metric_name
        The metric; the difference is in its unit.

    Returns
    -------
    Difference or None
        None where the metric is no sum over clips, is undefined here (no reference has words), or the two tables do not
        hold the same clips. With fewer than five
        speakers the clips themselves are resampled, and ``unit`` says so.
    """
    metric = additive(metric_name)
    theirs = {row["id"]: row for row in baseline}
    if metric is None or not model or theirs.keys() != {row["id"] for row in model}:
        return None
    if not all(isinstance(row["reference"], str) for row in model):
        return None
    other = [theirs[row["id"]] for row in model]
    ours, baselines = (
        metric.statistics((str(row["reference"]), str(row["hypothesis"])) for row in rows) for rows in (model, other)
    )
    speakers = [str(row.get("speaker") or "") for row in model]
    by_speaker = all(speakers) and len(set(speakers)) >= _MIN_SPEAKERS
    clusters = speakers if by_speaker else [str(row["id"]) for row in model]
    sums, names = cluster_sums(np.concatenate([ours, baselines], axis=1), clusters)
    half = ours.shape[1]

    def gap(totals: Array) -> Array:
        return np.asarray(metric.score(totals[..., :half]) - metric.score(totals[..., half:]))

    found = cluster_bootstrap(sums, gap, N_REPLICATES, np.random.default_rng(0))
    if not all(map(math.isfinite, found)):
        return None
    return Difference(found.value, found.low, found.high, count(len(names), "speaker" if by_speaker else "clip"))
