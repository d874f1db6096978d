"""Verification: how the scores of same and different pairs are spread, and where the two errors are equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audio_ssl.metrics.verification import equal_error

_BINS = 24


def describe_trials(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Count scores of same and different pairs in bins.

    Parameters
    ----------
    rows
        ``same, score`` of each trial.

    Returns
    -------
    dict or None
        ``edges [bin + 1]``, ``same [bin]`` and ``different [bin]`` (shares of their kind), ``n_same``, ``n_different``,
        ``eer`` in percent and its ``threshold``. None where one kind is missing.
    """
    rows = [row for row in rows if isinstance(row.get("score"), int | float) and np.isfinite(row["score"])]
    scores = np.array([row["score"] for row in rows], np.float64)
    same = np.array([bool(row["same"]) for row in rows])
    if not rows or same.all() or not same.any():
        return None
    edges = np.histogram_bin_edges(scores, _BINS)
    rate, threshold = equal_error(scores, same)
    shares = {
        name: (np.histogram(scores[kind], edges)[0] / kind.sum()).round(5).tolist()
        for name, kind in (("same", same), ("different", ~same))
    }
    return {
        "edges": edges.round(6).tolist(),
        **shares,
        "n_same": int(same.sum()),
        "n_different": int((~same).sum()),
        "eer": round(rate, 4),
        "threshold": round(threshold, 6),
    }
