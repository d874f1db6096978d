"""How many speakers and clips a test needs, from a pilot: read it, split its variance, ask `power`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from audio_ssl.artifacts.fairness import ALPHA
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.power import Need, Spread, needs, spread_of
from audio_ssl.fairness.predictions import Predictions, read_predictions

_CLIPS = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class SizePlan:
    """What a test needs, and what that rests on."""

    metric: str
    unit: str
    by: str
    """The attribute that makes the groups."""
    groups: int
    """Groups of two speakers or more in the pilot."""
    spread: Spread
    """Of the pilot."""
    gap: float
    """To be found, relative to the pilot's score."""
    power: float
    """Share of studies that should find it."""
    needed: tuple[Need, ...] = ()
    """By number of clips a speaker."""

    @property
    def comparisons(self) -> int:
        """Pairs of groups, at least one."""
        return max(1, math.comb(self.groups, 2))

    @property
    def alpha(self) -> float:
        """Level of one comparison."""
        return ALPHA / self.comparisons


def plan_test(
    pilot: Path,
    gap: float,
    power: float,
    by: str,
    metric: str | None = None,
    manifest: Path | None = None,
    normaliser: str = "none",
    columns: Mapping[str, str] | None = None,
) -> SizePlan:
    """Return what a test needs.

    Parameters
    ----------
    pilot
        Predictions with speakers and groups.
    gap
        Relative to the pilot's score.
    power
        Share of studies that should find it.
    by
        The attribute that makes the groups.
    metric
        None: the pilot's main one.
    manifest, normaliser, columns
        As of `read_predictions`.

    Raises
    ------
    UserError
        If the pilot cannot be read, or its variance cannot be split.
    """
    found = read_predictions(pilot, [by], [metric] if metric else [], manifest, normaliser, columns=columns)
    name = next(iter(found.statistics))
    measure, index = get_measure(name), found.attributes[by].index.astype(np.int64)
    try:
        spread = spread_of(found.statistics[name], found.speakers.index.astype(np.int64), index, measure.score)
    except UserError as error:
        raise UserError(str(error), where=str(pilot)) from error
    plan = SizePlan(name, measure.unit, by, _groups(found, by), spread, gap, power)
    clips = sorted({*_CLIPS, max(1, round(spread.clips / spread.speakers))})
    return replace(plan, needed=tuple(needs(spread, gap, clips, power, plan.alpha)))


def _groups(found: Predictions, by: str) -> int:
    """Count the groups of two speakers or more; a group of one will not be compared."""
    codes = found.attributes[by]
    known = codes.index >= 0
    people = np.unique(np.stack([codes.index[known], found.speakers.index[known]]), axis=1)[0]
    return int((np.bincount(people) > 1).sum()) if len(people) else 0
