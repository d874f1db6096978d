"""The plan of a test from a pilot: read, split the variance, say what is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from audio_ssl.artifacts.fairness import ALPHA
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.power import needs, spread_of
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.report.language.methods import plan_lines

_CLIPS = (1, 2, 5, 10, 20, 50, 100)


def plan_test(
    pilot: Path,
    gap: float,
    power: float,
    by: str,
    metric: str | None = None,
    manifest: Path | None = None,
    normaliser: str = "none",
    columns: Mapping[str, str] | None = None,
) -> list[str]:
    """Return what a test needs, as lines.

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
        If the pilot cannot be read or tells no spread.
    """
    found = read_predictions(pilot, [by], [metric] if metric else [], manifest, normaliser, columns=columns)
    name = next(iter(found.statistics))
    measure = get_measure(name)
    codes = found.attributes[by]
    known = codes.index >= 0
    # A group of one person will not be compared.
    people = np.unique(np.stack([codes.index[known], found.speakers.index[known]]), axis=1)[0]
    groups = int((np.bincount(people) > 1).sum()) if len(people) else 0
    alpha = ALPHA / max(1, math.comb(groups, 2))
    try:
        spread = spread_of(
            found.statistics[name], found.speakers.index.astype(np.int64), codes.index.astype(np.int64), measure.score
        )
    except UserError as error:
        raise UserError(str(error), where=str(pilot)) from error
    own = round(spread.clips / spread.speakers)
    needed = needs(spread, gap, sorted({*_CLIPS, max(1, own)}), power, alpha)
    return plan_lines(name, measure.unit, by, groups, spread, gap, power, alpha, needed)
