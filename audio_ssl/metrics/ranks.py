"""Ranks of systems over tasks: mean rank and Borda count, for metrics that have no common unit.

Ranks depend on which systems are in the table: adding one can swap two others. They belong beside the scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from audio_ssl.errors import UserError


@dataclass(frozen=True)
class Ranked:
    """One system."""

    mean_rank: float
    """1 is best; over the tasks it has. NaN if it has none."""
    borda: float
    """Systems it is better than, summed over tasks; equal ones count 1/2, tasks it lacks 0."""
    ranks: dict[str, float]
    """By task; equal scores share the mean of their ranks."""
    missing: list[str]
    """Tasks it has no score for. With some missing, mean ranks are of different tasks."""


def rank_systems(scores: Mapping[str, Mapping[str, float]], higher_is_better: Mapping[str, bool]) -> dict[str, Ranked]:
    """Return the ranks of systems, the best mean rank first (then the most Borda points, then by name).

    Parameters
    ----------
    scores
        By system and task; a score that is absent or NaN is missing.
    higher_is_better
        Which way each task's metric is better.

    Raises
    ------
    UserError
        If a system has a score for a task that is not in `higher_is_better`.

    Examples
    --------
    >>> table = {"x": {"asr": 5.0, "er": 60.0}, "y": {"asr": 6.0, "er": 70.0}, "z": {"asr": 9.0, "er": 70.0}}
    >>> ranked = rank_systems(table, {"asr": False, "er": True})
    >>> {name: (one.mean_rank, one.borda) for name, one in ranked.items()}
    {'y': (1.75, 2.5), 'x': (2.0, 2.0), 'z': (2.25, 1.5)}
    """
    for system, found in scores.items():
        unknown = sorted(set(found) - set(higher_is_better))
        if unknown:
            known = ", ".join(higher_is_better)
            raise UserError(f"system `{system}` has a score for `{unknown[0]}`, but the tasks are {known}")
    ranks: dict[str, dict[str, float]] = {system: {} for system in scores}
    points = dict.fromkeys(scores, 0.0)
    for task, higher in higher_is_better.items():
        having = [system for system, found in scores.items() if not np.isnan(found.get(task, np.nan))]
        values = np.array([scores[system][task] for system in having], np.float64)
        for system, rank in zip(having, rankdata(-values if higher else values).tolist(), strict=True):
            ranks[system][task] = rank
            points[system] += len(having) - rank
    rows = {
        system: Ranked(
            float(np.mean(list(own.values()))) if own else float("nan"),
            points[system],
            own,
            [task for task in higher_is_better if task not in own],
        )
        for system, own in ranks.items()
    }

    def key(item: tuple[str, Ranked]) -> tuple[float, float, str]:
        name, row = item
        return (row.mean_rank if row.ranks else np.inf), -row.borda, name

    return dict(sorted(rows.items(), key=key))
