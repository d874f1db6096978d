"""The answers of several seeds as those of one system.

The seeds answered the same clips, so a score of all answers together is that of the mean model, and speakers stay what
is resampled: an interval is over speakers, whatever the number of seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from audio_ssl.fairness.predictions import ClipCodes, Predictions

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""Tells the same clip of two seeds apart; the same seed of two systems keeps its clips' keys alike."""


def pool_seeds(seeds: Sequence[Predictions], name: str) -> Predictions:
    """Return the answers of all seeds under one name.

    Parameters
    ----------
    seeds
        In the same order for every system, so that systems can be compared clip by clip.
    name
        Of the system.
    """
    first = seeds[0]
    if len(seeds) == 1:
        return replace(first, name=name)
    numbers = np.arange(len(seeds), dtype=np.uint64)
    return replace(
        first,
        name=name,
        statistics={metric: np.concatenate([s.statistics[metric] for s in seeds]) for metric in first.statistics},
        speakers=_join([s.speakers for s in seeds]),
        attributes={by: _join([s.attributes[by] for s in seeds]) for by in first.attributes},
        seconds=np.concatenate([s.seconds for s in seeds]),
        words=np.concatenate([s.words for s in seeds]),
        level_dbfs=np.concatenate([s.level_dbfs for s in seeds]),
        keys=np.concatenate([s.keys ^ (_SPREAD * number) for s, number in zip(seeds, numbers, strict=True)]),
        empty_references=np.concatenate([s.empty_references for s in seeds]),
        empty_hypotheses=np.concatenate([s.empty_hypotheses for s in seeds]),
    )


def _join(codes: Sequence[ClipCodes]) -> ClipCodes:
    """Return codes one after the other, numbered alike."""
    names = sorted({name for one in codes for name in one.names})
    place = {name: number for number, name in enumerate(names)}
    # The last place is what -1, unknown, points at.
    moved = [np.array([*(place[name] for name in one.names), -1], np.int32)[one.index] for one in codes]
    return ClipCodes(names, np.concatenate(moved))
