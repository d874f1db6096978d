"""The SUPERB score: each task's metrics on a line from 0 (log-mel features) to 1000 (the best known), then their mean.

Feng et al. 2022 (SUPERB @ SLT 2022, arXiv 2210.08634). A task with two metrics, slot filling, counts once. The ends of
the lines move as the leaderboard does: those given here are from the leaderboard of October 2021 as WavLM's repository
shows it (log-mel features, and the best model of each column; Chen et al. 2021, arXiv 2110.13900). Scores made with
other ends, as the leaderboard's own, are not comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audio_ssl.errors import UserError, unknown_name


@dataclass(frozen=True)
class Ends:
    """What 0 and 1000 stand for, in the metric's unit."""

    baseline: float
    best: float


OCTOBER_2021: dict[str, dict[str, Ends]] = {
    "pr": {"per": Ends(82.01, 3.09)},
    "asr": {"wer": Ends(23.18, 3.51)},
    "ks": {"accuracy": Ends(8.63, 97.40)},
    "qbe": {"mtwv": Ends(0.0058, 0.0990)},
    "sid": {"accuracy": Ends(8.5e-4, 95.25)},
    "asv": {"eer": Ends(9.56, 4.04)},
    "sd": {"der": Ends(10.05, 3.47)},
    "ic": {"accuracy": Ends(9.10, 99.16)},
    "sf": {"slot_f1": Ends(69.64, 92.25), "slot_cer": Ends(52.94, 17.61)},
    "er": {"accuracy": Ends(35.39, 70.03)},
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
    results: Mapping[str, Mapping[str, float]], ends: Mapping[str, Mapping[str, Ends]] = OCTOBER_2021
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


def _share(value: float, ends: Ends) -> float:
    return (value - ends.baseline) / (ends.best - ends.baseline)
