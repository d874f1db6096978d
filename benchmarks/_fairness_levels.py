"""How often tests find a gap in simulated studies: one that is not there, and one of 20 %.

Also how often a gap of the size called detectable is found, and a difference of two systems' gaps that is not there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from _fairness_people import EQUAL, RATE, SPREAD, UNEQUAL, Design, error_rate, readers  # type: ignore[import-not-found]
from _fairness_tests import (  # type: ignore[import-not-found]
    OF_CLIPS,
    PERMUTATIONS,
    REPLICATES,
    SLOW,
    TESTS,
    usual_interval,
)
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from audio_ssl.fairness.gap_tests import contrast, gap_difference, permutation_test
from audio_ssl.fairness.power import minimum_detectable
from audio_ssl.metrics.resampling import Array, bootstrap_sums

GAP = 1.2
"""Of the studies that have one: the first group's rate over the second's."""

OWN = 0.2
"""Spread of what a system does to a reader, beside what the reader does to both."""

Row = dict[str, Any]


def run(runs: int, slow_runs: int, workers: int = 2) -> dict[str, Any]:
    """Return every figure; `runs` studies a design (`slow_runs` for slow tests)."""
    jobs = [
        (kind, design, ratio, name, slow_runs if name in SLOW else runs if ratio == 1.0 else max(runs // 2, slow_runs))
        for kind, designs, ratios in (
            ("equal", EQUAL, (1.0, GAP)),
            ("unequal", UNEQUAL, (1.0,)),
            ("spread", SPREAD, (1.0,)),
        )
        for design in designs
        for ratio in ratios
        for name in TESTS
        if kind == "equal" or name not in OF_CLIPS
    ]
    # The long ones first, so that no worker is left with one at the end.
    order = sorted(range(len(jobs)), key=lambda place: (jobs[place][3] not in SLOW, -sum(jobs[place][1].speakers)))
    with ProcessPoolExecutor(workers) as pool:
        done = dict(zip(order, pool.map(share, *zip(*(jobs[place] for place in order), strict=True)), strict=True))
        tests = [done[place] for place in range(len(jobs))]
        detectable = list(pool.map(find_detectable, [*EQUAL, UNEQUAL[2]], [slow_runs] * 5))
        groups = list(pool.map(cover_one_group, [side.speakers[0] for side in EQUAL], [runs] * len(EQUAL)))
        systems = list(pool.map(compare_systems, *zip(*_systems(slow_runs), strict=True)))
    return {
        "runs": runs,
        "slow_runs": slow_runs,
        "tests": tests,
        "groups": groups,
        "detectable": detectable,
        "systems": systems,
    }


def share(kind: str, design: Design, ratio: float, name: str, runs: int) -> Row:
    """Return how many of so many studies a test finds a gap in. Studies are the same for every test."""
    found = 0
    with threadpool_limits(1):
        for number in range(runs):
            rng = np.random.default_rng([number, zlib.crc32(f"{design.name} {ratio}".encode())])
            found += TESTS[name](*design.draw(rng, ratio), rng)
    return {"kind": kind, "design": design.name, "ratio": ratio, "test": name} | _share(found, runs)


def find_detectable(design: Design, runs: int) -> Row:
    """Return the gap called detectable by studies without one, and how often gaps of that size are found, both ways."""
    with threadpool_limits(1):
        rng = np.random.default_rng(zlib.crc32(design.name.encode()))
        sizes = []
        for _ in range(100):
            first, second = (side.sum(1) for side in design.draw(rng))
            error = contrast(first, second, error_rate, REPLICATES, rng).standard_error
            sizes.append(minimum_detectable(first, second, error_rate, error))
        ratio = 0.01 * float(np.mean(sizes)) / RATE
        found = {}
        for direction, sign in (("higher", 1), ("lower", -1)):
            ratios = 1 + sign * ratio / 2, max(1 - sign * ratio / 2, 0.01)
            hits = 0
            for _ in range(runs):
                sides = zip(design.speakers, design.clips, design.spread, ratios, strict=True)
                first, second = (readers(rng, *side).sum(1) for side in sides)
                hits += permutation_test(first, second, error_rate, rng, PERMUTATIONS).p_value <= 0.05
            found[direction] = _share(hits, runs)
    return {"design": design.name, "difference": float(np.mean(sizes)), "of_rate": ratio, **found}


def cover_one_group(speakers: int, runs: int) -> Row:
    """Return how often two intervals of one group's error rate miss the true one."""
    missed = {"expanded": 0, "usual": 0}
    with threadpool_limits(1):
        rng = np.random.default_rng(speakers)
        for _ in range(runs):
            sums = readers(rng, speakers, 30, 0.5, 1.0).sum(1)
            for name, bootstrap in (("expanded", bootstrap_sums), ("usual", usual_interval)):
                interval = bootstrap(sums, error_rate, REPLICATES, rng)
                missed[name] += not interval.low <= 100 * RATE <= interval.high
    return {"speakers": speakers, **{name: _share(count, runs) for name, count in missed.items()}}


def _systems(runs: int) -> Iterable[tuple[tuple[int, int], tuple[float, float], tuple[float, float], int]]:
    for speakers in ((6, 6), (10, 30), (20, 20)):
        yield speakers, (0.2, 0.2), (0.2, 0.2), runs
        yield speakers, (0.3, 0.1), (0.3, 0.1), runs


def compare_systems(
    speakers: tuple[int, int], first: tuple[float, float], second: tuple[float, float], runs: int
) -> Row:
    """Return how often two systems' gaps are found to differ; `first` and `second` are a group's rates by both."""
    hits = outside = 0
    with threadpool_limits(1):
        rng = np.random.default_rng(speakers)
        for _ in range(runs):
            ours, theirs = (_twice(rng, n, rates) for n, rates in zip(speakers, (first, second), strict=True))
            found = gap_difference(ours[0], theirs[0], ours[1], theirs[1], error_rate, REPLICATES, rng)
            hits += found.p_value <= 0.05
            outside += not found.difference.low <= 0 <= found.difference.high
    rates = f"{100 * first[0]:.0f} % and {100 * first[1]:.0f} %"
    return {
        "speakers": f"{speakers[0]} and {speakers[1]}",
        "rates": rates,
        "p_value": _share(hits, runs),
        "interval": _share(outside, runs),
    }


def _twice(rng: np.random.Generator, speakers: int, rates: tuple[float, float]) -> list[Array]:
    words = rng.integers(8, 25, (speakers, 30)).sum(1).astype(np.float64)
    reader = np.exp(rng.normal(-0.125, 0.5, speakers))
    return [
        np.stack([rng.poisson(words * np.minimum(rate * reader * rng.lognormal(0, OWN, speakers), 1)), words], 1) * 1.0
        for rate in rates
    ]


def _share(found: int, runs: int) -> Row:
    interval = binomtest(found, runs).proportion_ci()
    return {"found": found, "runs": runs, "share": found / runs, "low": interval.low, "high": interval.high}
