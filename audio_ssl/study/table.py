"""The numbers of a study: what ``study.json`` holds, read from the answers of all models.

The cells of one column of the table: scores of both groups, the gap, and whether it differs from the reference's.

Groups, intervals, tests and refusals are those of the fairness audit.

The answers of several seeds as those of one system.

The seeds answered the same clips, so a score of all answers together is that of the mean model, and speakers stay what
is resampled: an interval is over speakers, whatever the number of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from audio_ssl.artifacts.run import read_provenance
from audio_ssl.base.documents import find, read_object
from audio_ssl.fairness.comparisons import Chance, Question, comparison_rows, group_rows, holm
from audio_ssl.fairness.counting import ClipCodes
from audio_ssl.fairness.groups import group_by
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.predictions import Predictions, read_predictions
from audio_ssl.fairness.systems import gap_difference_rows
from audio_ssl.study.plan import ProbedColumn, StudyPlan
from audio_ssl.study.settings import DrawnSet, Study, StudyFolders

UNTRAINED = "untrained"

LIMITS = (
    "A gap on these clips is a statement about these clips and these speakers; groups are as the corpus recorded them.",
    "The sets differ in their speakers and sentences too, not in the groups' shares alone: what a set changes is not "
    "explained by its shares.",
    "Intervals and tests are over test speakers. They say nothing of another draw of a set or another training; only "
    "several seeds show how much those change.",
    "That no difference was found is no proof of fairness: with few speakers only large differences can be found.",
)


def read_study(plan: StudyPlan, layout: StudyFolders) -> dict[str, Any]:
    """Return the numbers of a study whose work is done, as plain data; NaN where a number is not defined."""
    study = plan.study
    rows: dict[str, list[DrawnSet]] = {name: [p for p in layout.places() if p.set == name] for name in study.sets}
    if study.untrained:
        rows[UNTRAINED] = layout.untrained()
    cells: list[dict[str, Any]] = []
    excluded: dict[tuple[str, str], dict[str, Any]] = {}
    for question in plan.questions:
        answers = {
            name: [read_predictions(place.folder / "probes" / question.name, (study.by,)) for place in places]
            for name, places in rows.items()
        }
        found = read_cells(answers, study.by, plan.compare, study.reference, study.replicates)
        folders = {
            name: [str((place.folder / "probes" / question.name).relative_to(layout.out)) for place in places]
            for name, places in rows.items()
        }
        cells += [{"column": question.name, "results": folders[cell["set"]], **cell} for cell in found]
        for one in (one for seeds in answers.values() for one in seeds):
            for left in one.exclusions:
                row = {"column": question.name, "reason": left.reason, "count": left.count, "names": list(left.names)}
                excluded[question.name, left.reason] = row
    _adjust(cells, plan.questions)
    return {
        "kind": "study",
        "schema_version": 1,
        "name": plan.name,
        "by": study.by,
        "compare": list(plan.compare),
        "reference": study.reference,
        "hours": study.hours,
        "seeds": list(study.seeds),
        "pretraining": {"recipe": study.pretrain.recipe, "settings": list(study.pretrain.settings)},
        "columns": [_about(question, layout.out) for question in plan.questions],
        "sets": [_composition(name, rows[name], study) for name in study.sets],
        "untrained": study.untrained,
        "cells": cells,
        "known": {
            "speakers": list(plan.known.speakers),
            "files": list(plan.known.files),
            "left_out": plan.known.left_out,
            "sentence": plan.known.sentence(),
        },
        "note": study.note,
        "warnings": list(plan.warnings),
        "limits": list(LIMITS),
        "excluded": list(excluded.values()),
        "provenance": {**read_provenance(layout.out), "replicates": study.replicates},
    }


def _adjust(cells: Sequence[dict[str, Any]], questions: Sequence[ProbedColumn]) -> None:
    """Add p-values adjusted for how many there are (Holm): gaps and their differences apart, main metrics apart."""
    main = {question.name: question.metrics[0] for question in questions}
    for is_main in (True, False):
        rows = [cell for cell in cells if (cell["metric"] == main[cell["column"]]) == is_main]
        # Models without pretraining are there to be seen beside the others; no question is asked of their gaps.
        trained = [cell for cell in rows if cell["set"] != UNTRAINED]
        _holm(trained)
        _holm([cell["against_reference"] for cell in trained if cell["against_reference"] is not None])
        for cell in rows:
            if cell["set"] == UNTRAINED:
                cell |= {"p_value": float("nan"), "p_holm": float("nan"), "compared": 0, "against_reference": None}


def _holm(rows: Sequence[dict[str, Any]]) -> None:
    compared = sum(row["p_value"] == row["p_value"] for row in rows)
    for row, p_value in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"], row["compared"] = p_value, compared


def _about(question: ProbedColumn, out: Path) -> dict[str, Any]:
    folders = sorted(out.glob(f"**/probes/{question.name}/scores.json"))
    warnings = {said for path in folders for said in find(read_object(path), "warnings", list, str(path))}
    return {
        "name": question.name,
        "title": question.title,
        "integration": question.integration,
        "task": question.task,
        "metric": question.metrics[0],
        "metrics": list(question.metrics),
        "manifest": str(question.probe.data.manifest),
        "warnings": sorted(warnings),
    }


def _composition(name: str, places: Sequence[DrawnSet], study: Study) -> dict[str, Any]:
    draws = [read_object(place.folder / "balance.json") for place in places]
    return {"name": name, "shares": dict(study.sets[name]), "draws": draws}


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
