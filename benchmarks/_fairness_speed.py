"""Seconds of 10,000 resamples of 20 groups of 600 speakers, ours beside three others in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import _machine  # type: ignore[import-not-found]
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from scipy.stats import bootstrap
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from audio_ssl.metrics.registry import get_metric
from audio_ssl.metrics.resampling import Array, replicate_sums

GROUPS, SPEAKERS, REPLICATES = 20, 600, 10_000
GOAL_SECONDS = 2.0
OURS = "ours"


def run(rounds: int, threads: int) -> dict[str, Any]:
    """Return a row a system; others do a part of the work, and their seconds are for the whole."""
    metric = get_metric("bleu")
    rng = np.random.default_rng(0)
    total = rng.integers(40, 400, (GROUPS, SPEAKERS, 4))
    matched = rng.binomial(total, 0.5)
    lengths = total[..., :1] + rng.integers(0, 20, (GROUPS, SPEAKERS, 2))
    groups = np.concatenate([lengths, matched, total], axis=-1).astype(np.float64)
    systems: dict[str, tuple[Callable[[], object], int]] = {
        OURS: (lambda: [_interval(metric.score(replicate_sums(g, REPLICATES, rng))) for g in groups], REPLICATES),
        "multinomial counts (numpy), times the sums": (lambda: _multinomial(groups, metric.score, 500, rng), 500),
        "scipy.stats.bootstrap, vectorised": (lambda: _scipy(groups, metric.score, 200, rng), 200),
        "rows drawn by pandas, metric per group (as fairlearn)": (lambda: _frames(groups, metric.score, 10), 10),
    }
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    core_seconds: dict[str, list[float]] = {name: [] for name in systems}
    with threadpool_limits(threads):
        for _ in range(rounds):
            for name, (work, part) in systems.items():
                started, core_started = time.perf_counter(), time.process_time()
                work()
                seconds[name].append((time.perf_counter() - started) * REPLICATES / part)
                core_seconds[name].append((time.process_time() - core_started) * REPLICATES / part)
    rows = [
        {
            "system": name,
            "seconds": statistics.median(spent),
            "cpu_seconds": statistics.median(core_seconds[name]),
            "replicates_done": systems[name][1],
            "ours_is_faster": _machine.faster(seconds[OURS], spent),
        }
        for name, spent in seconds.items()
    ]
    return {
        "groups": GROUPS,
        "speakers": SPEAKERS,
        "columns": groups.shape[-1],
        "replicates": REPLICATES,
        "rounds": rounds,
        "goal_seconds": GOAL_SECONDS,
        "rows": rows,
    }


def _interval(draws: Array) -> Array:
    return np.quantile(draws, [0.025, 0.975])


def _multinomial(groups: Array, score: Callable[[Array], Array], replicates: int, rng: np.random.Generator) -> None:
    for sums in groups:
        counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), replicates)
        _interval(score(counts.astype(np.float64) @ sums))


def _scipy(groups: Array, score: Callable[[Array], Array], replicates: int, rng: np.random.Generator) -> None:
    def statistic(*columns: Array, axis: int = -1) -> Array:
        return score(np.stack([column.sum(axis) for column in columns], axis=-1))

    for sums in groups:
        columns = tuple(sums.T)
        bootstrap(columns, statistic, paired=True, n_resamples=replicates, batch=100, method="percentile", rng=rng)


def _frames(groups: Array, score: Callable[[Array], Array], replicates: int) -> None:
    frame = pd.DataFrame(groups.reshape(-1, groups.shape[-1]))
    columns = list(frame.columns)
    frame["group"] = np.repeat(np.arange(len(groups)), groups.shape[1])
    draws = []
    for number in range(replicates):
        drawn = frame.sample(frac=1, replace=True, random_state=number)
        draws.append([float(score(rows[columns].to_numpy().sum(0))) for _, rows in drawn.groupby("group")])
    np.quantile(draws, [0.025, 0.975], axis=0)
