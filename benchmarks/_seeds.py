"""Contrasts of systems that were trained with several seeds and asked on the same clips, with intervals for both.

A score is a ratio of sums over clips, or the mean of several such ratios; a contrast is a weighted sum of systems'
scores. Two things are chance: which clips were held out, and which seed trained. The clips' share of the variance is
that of a ratio (linearised: each clip's influence on the contrast, averaged over the seeds; Särndal et al. 1992, 5.5),
all scores of a clip together, so that what systems share cancels. The seeds' share is the spread of the contrasts
that each seed gives alone. Both are added. The quantile is Student's, with the degrees of freedom of Welch and
Satterthwaite: of three seeds a bootstrap would draw one alone in a ninth of its draws, and understate their spread by a
third. What clips and seeds do together is counted in both shares, so intervals are rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from _pairs import ClipCounts  # type: ignore[import-not-found]
from scipy.stats import t as student

from audio_ssl.metrics.resampling import Interval, satterthwaite

_ROUNDING = 1e-9


Cell = Sequence[Mapping[str, ClipCounts]]
"""A system: for each seed, its answers by task, each a ratio of two columns."""


def contrast(cells: Mapping[str, Cell], weights: Mapping[str, float], tasks: Sequence[str]) -> Interval:
    """Return a weighted sum of systems' scores, averaged over tasks, with its 95 % interval over clips and seeds.

    Parameters
    ----------
    cells
        Systems by name, each with the same seeds in the same order.
    weights
        Of the systems; those that are not named count nothing.
    tasks
        Whose scores are averaged.
    """
    numbers = {len(cells[name]) for name in weights}
    if len(numbers) != 1:
        raise ValueError(f"systems must have the same seeds, but have {sorted(numbers)} of them")
    seeds = numbers.pop()
    values = np.array(
        [
            sum(weight * cells[name][seed][task].of_all() for name, weight in weights.items() for task in tasks)
            for seed in range(seeds)
        ]
    ) / len(tasks)
    shares = [
        (weight / len(tasks) / seeds, answers[task])
        for name, weight in weights.items()
        for answers in cells[name]
        for task in tasks
    ]
    parts = [clip_variance(shares)]
    if seeds > 1:
        parts.append((float(values.var(ddof=1)) / seeds, seeds))
    return interval(float(values.mean()), parts)


def clip_variance(shares: Sequence[tuple[float, ClipCounts]]) -> tuple[float, int]:
    """Return the variance of a weighted sum of scores by the choice of clips, and how many clips or clusters there are.

    What one clip says to several scores is added up before it is squared, so what they share cancels.
    """
    influence: dict[str, float] = {}
    for share, found in shares:
        right, asked = found.table.T
        moved = share * (100.0 * right - found.of_all() * asked) / asked.sum()
        for clip, one in zip(found.clusters, moved, strict=True):
            influence[clip] = influence.get(clip, 0.0) + float(one)
    moves = np.array(list(influence.values()))
    return float(len(moves) / (len(moves) - 1) * np.sum((moves - moves.mean()) ** 2)), len(moves)


def interval(value: float, parts: Sequence[tuple[float, int]]) -> Interval:
    """Return a value with its 95 % interval, given variances that add up and of how many things each was estimated."""
    shares = np.array([share for share, _ in parts])
    if not shares.sum() > 0:
        return Interval(value, value, value)
    freedom = satterthwaite(shares, np.array([number for _, number in parts], np.float64))
    reach = float(student.ppf(0.975, freedom) * np.sqrt(shares.sum()))
    return Interval(value, value - reach, value + reach)


def verdict(found: Interval) -> str:
    """Say whether an ordering, a contrast above 0, is reproduced.

    Examples
    --------
    >>> verdict(Interval(2.0, 0.5, 3.5)), verdict(Interval(1.0, -1.0, 3.0)), verdict(Interval(-2.0, -3.0, -1.0))
    ('reproduced', 'not significant', 'contradicted')
    """
    # Sums of equal scores differ by rounding.
    if found.low > _ROUNDING:
        return "reproduced"
    return "contradicted" if found.high < -_ROUNDING else "not significant"
