"""The difference between two systems on the same clips, with a bootstrap interval over speakers or clips.

Both systems heard the same clips, so what is hard for one is mostly hard for the other: resampling the clips of both
together (paired bootstrap; Bisani & Ney 2004; by speaker as in Liu & Peng 2020, arXiv:1912.09508) is far sharper than
looking whether two separate intervals overlap. Metrics that are no sum over clips (ROC-AUC, AP) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audio_ssl.errors import UserError
from audio_ssl.metrics.additive import AdditiveMetric, get_metric
from audio_ssl.metrics.bootstrap import cluster_bootstrap

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
        None where the metric is no sum over clips or the two tables do not hold the same clips. With fewer than five
        speakers the clips themselves are resampled, and ``unit`` says so.
    """
    metric = additive(metric_name)
    theirs = {row["id"]: row for row in baseline}
    if metric is None or not model or theirs.keys() != {row["id"] for row in model}:
        return None
    if not all(isinstance(row["reference"], str) for row in model):
        return None
    speakers = [row.get("speaker") for row in model]
    by_speaker = all(speakers) and len(set(speakers)) >= _MIN_SPEAKERS
    units: dict[Any, list[np.ndarray]] = {}
    for row in model:
        pair = [metric.per_clip(row["reference"], str(one["hypothesis"])) for one in (row, theirs[row["id"]])]
        units.setdefault(row.get("speaker") if by_speaker else row["id"], []).append(np.concatenate(pair))
    if len(units) < 2:
        return None
    stats = np.stack([np.sum(clips, axis=0) for clips in units.values()])
    half = stats.shape[-1] // 2

    def gap(totals: np.ndarray) -> np.ndarray:
        return np.asarray(metric.score(totals[..., :half]) - metric.score(totals[..., half:]))

    value, low, high = cluster_bootstrap(stats, gap, N_REPLICATES, np.random.default_rng(0), 0.95)
    return Difference(value, low, high, f"{len(units)} {'speakers' if by_speaker else 'clips'}")
