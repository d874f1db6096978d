"""Ranks of systems over tasks, and the SUPERB score.

Mean rank and Borda count compare systems over metrics without a common unit. Ranks depend on which systems are in the
table: adding one can swap two others. They belong beside the scores.

The SUPERB score puts each task's metrics on a line from 0 (log-mel features) to 1000 (the best known) and takes their
mean: Feng et al. 2022 (SUPERB @ SLT 2022, arXiv 2210.08634). A task with two metrics, slot filling, counts once. The
ends of the lines move as the leaderboard does: those given here are from the leaderboard of October 2021 as WavLM's
repository shows it (log-mel features, and the best model of each column; Chen et al. 2021, arXiv 2110.13900). Scores
made with other ends, as the leaderboard's own, are not comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from audio_ssl.base.errors import UserError, unknown_name


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


@dataclass(frozen=True)
class SuperbLine:
    """What 0 and 1000 stand for, in the metric's unit."""

    baseline: float
    best: float


OCTOBER_2021: dict[str, dict[str, SuperbLine]] = {
    "pr": {"per": SuperbLine(82.01, 3.09)},
    "asr": {"wer": SuperbLine(23.18, 3.51)},
    "ks": {"accuracy": SuperbLine(8.63, 97.40)},
    "qbe": {"mtwv": SuperbLine(0.0058, 0.0990)},
    "sid": {"accuracy": SuperbLine(8.5e-4, 95.25)},
    "asv": {"eer": SuperbLine(9.56, 4.04)},
    "sd": {"der": SuperbLine(10.05, 3.47)},
    "ic": {"accuracy": SuperbLine(9.10, 99.16)},
    "sf": {"slot_f1": SuperbLine(69.64, 92.25), "slot_cer": SuperbLine(52.94, 17.61)},
    "er": {"accuracy": SuperbLine(35.39, 70.03)},
}
"""Ends by task and metric: in percent, but MTWV as it is."""


@dataclass(frozen=True)
class SuperbScore:
    """A mean and what it is a mean of."""

    value: float
    """Mean over the tasks that were given; comparable only with scores of the same tasks."""
    per_task: dict[str, float]
    missing: list[str]
    """Tasks that were not given."""


def superb_score(
    results: Mapping[str, Mapping[str, float]], ends: Mapping[str, Mapping[str, SuperbLine]] = OCTOBER_2021
) -> SuperbScore:
    """Return the SUPERB score of results by task and metric.

    Below 0 is worse than log-mel features, above 1000 better than the best known; nothing is clipped.

    Parameters
    ----------
    results
        ``{"asr": {"wer": 6.42}, "sf": {"slot_f1": 88.53, "slot_cer": 25.20}}``, in the units of `ends`.
    ends
        What 0 and 1000 stand for.

    Raises
    ------
    UserError
        For no results, an unknown task, or a task whose metrics are not just those of `ends`.

    Examples
    --------
    >>> superb_score({"asr": {"wer": 3.51}, "er": {"accuracy": 35.39}}).value
    500.0
    """
    if not results:
        raise UserError("`results` must hold a task at least", remedy=f"known: {', '.join(sorted(ends))}")
    per_task = {}
    for task, values in results.items():
        if task not in ends:
            raise unknown_name("SUPERB task", task, ends)
        if set(values) != set(ends[task]):
            wanted, got = ", ".join(ends[task]), ", ".join(values) or "nothing"
            raise UserError(f"task `{task}` must have the metrics {wanted}, but has {got}")
        shares = [_share(values[metric], line) for metric, line in ends[task].items()]
        per_task[task] = 1000.0 * sum(shares) / len(shares)
    missing = sorted(set(ends) - set(results))
    return SuperbScore(sum(per_task.values()) / len(per_task), per_task, missing)


def _share(value: float, ends: SuperbLine) -> float:
    return (value - ends.baseline) / (ends.best - ends.baseline)
