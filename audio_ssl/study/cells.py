"""The cells of one column of the table: scores of both groups, the gap, and whether it differs from the reference's.

Groups, intervals, tests and refusals are those of the fairness audit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audio_ssl.fairness.compare import Chance, Question, comparison_rows, group_rows
from audio_ssl.fairness.groups import group_by
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.predictions import Predictions
from audio_ssl.fairness.systems import gap_difference_rows
from audio_ssl.study.pool import pool_seeds

_MIN_SPEAKERS = 1
"""A study shows the scores of its own test speakers, however few; below five nothing is concluded from them."""
_OF_GROUP = ("value", "low", "high", "speakers", "clips", "words", "hours")
_OF_GAP = (
    "difference", "low", "high", "relative_symmetric", "relative_symmetric_low", "relative_symmetric_high", "ratio",
    "ratio_low", "ratio_high", "p_value", "p_exact", "minimum_detectable", "direction", "refused", "warning",
)  # fmt: skip
_OF_DIFFERENCE = ("difference", "low", "high", "p_value", "clips", "speakers", "refused", "warning")


def read_cells(
    answers: Mapping[str, Sequence[Predictions]], by: str, compare: tuple[str, str], reference: str, replicates: int
) -> list[dict[str, Any]]:
    """Return the cells of one question, metric after metric, as plain data; NaN where a number is not defined.

    Parameters
    ----------
    answers
        Name of the set to the answers of each seed.
    by
        The attribute that makes the groups.
    compare
        The two groups; gaps are the first minus the second.
    reference
        The set whose gap the others' are compared with.
    replicates
        Resamples of the speakers.
    """
    chance = Chance(0, replicates, replicates)
    pooled = {name: pool_seeds(seeds, name) for name, seeds in answers.items()}
    groupings = {name: group_by(one, [by], {by: [compare]}, _MIN_SPEAKERS) for name, one in pooled.items()}
    # The first system is what all others are compared with.
    order = [reference, *(name for name in pooled if name != reference)]
    against = {
        (row["result_a"], row["metric"]): row
        for row in gap_difference_rows([(pooled[name], groupings[name]) for name in order], chance, _MIN_SPEAKERS)
    }
    cells = []
    for metric in pooled[reference].statistics:
        for name, seeds in answers.items():
            cell = _cell(pooled[name], metric, by, compare, chance)
            _add_seeds(cell, seeds, metric, by, compare)
            found = against.get((name, metric))
            cells.append({"set": name, **cell, "against_reference": found and {k: found[k] for k in _OF_DIFFERENCE}})
    return cells


def _cell(one: Predictions, metric: str, by: str, compare: tuple[str, str], chance: Chance) -> dict[str, Any]:
    measure = get_measure(metric)
    question = Question(one, measure, chance)
    (grouping,) = group_by(one, [by], {by: [compare]}, _MIN_SPEAKERS)
    groups = {row["group"]: {key: row[key] for key in _OF_GROUP} for row in group_rows(question, grouping)}
    gaps = comparison_rows(question, grouping)
    if gaps:
        gap = {key: gaps[0][key] for key in _OF_GAP}
    else:
        missing = " and ".join(name for name in compare if name not in groups)
        gap = {**dict.fromkeys(_OF_GAP, math.nan), "p_exact": None, "direction": "", "warning": None}
        gap["refused"] = f"no clip of {missing} was scored"
    return {
        "metric": metric, "unit": measure.unit, "higher_is_better": measure.higher_is_better, "groups": groups, **gap,
    }  # fmt: skip


def _add_seeds(
    cell: dict[str, Any], seeds: Sequence[Predictions], metric: str, by: str, compare: tuple[str, str]
) -> None:
    """Say how far the seeds lie apart, and count clips, words and hours once."""
    if len(seeds) == 1:
        return
    # Intervals are those of all seeds together: a few draws are enough where only values are read.
    each = [_cell(one, metric, by, compare, Chance(0, 2, 2)) for one in seeds]
    for name, group in cell["groups"].items():
        for key in ("clips", "words", "hours"):
            group[key] = group[key] / len(seeds) if key == "hours" else group[key] // len(seeds)
        group |= _range("seed", [one["groups"].get(name, {}).get("value", math.nan) for one in each])
    cell |= _range("seed", [one["difference"] for one in each])
    cell |= _range("relative_symmetric_seed", [one["relative_symmetric"] for one in each])


def _range(name: str, values: Sequence[float]) -> dict[str, float]:
    if not np.isfinite(values).all():
        return {f"{name}_low": math.nan, f"{name}_high": math.nan}
    return {f"{name}_low": min(values), f"{name}_high": max(values)}
