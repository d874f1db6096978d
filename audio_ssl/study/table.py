"""The numbers of a study (`StudyResult`), read from the results of all its models.

A cell of the table has the scores of both groups, their gap, and whether the gap differs from that of the reference
set. Groups, intervals, tests and refusals are those of the fairness audit.

The answers of several seeds are scored together: they answered the same clips, so this is the score of the mean model.
Speakers are what is resampled, whatever the number of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_ssl.artifacts.draws import DrawRecord
from audio_ssl.artifacts.fairness import GroupComparison, GroupScore, SystemComparison
from audio_ssl.artifacts.records import read_record
from audio_ssl.artifacts.result import is_result, read_scores
from audio_ssl.artifacts.study import (
    UNTRAINED,
    CellGroup,
    GapAgainstReference,
    StudyCell,
    StudyColumn,
    StudyExclusion,
    StudyOrigin,
    StudyOverlap,
    StudyPretraining,
    StudyResult,
    StudySet,
    read_origin,
)
from audio_ssl.fairness.comparisons import Chance, Question, comparison_rows, group_rows, holm
from audio_ssl.fairness.counting import ClipCodes
from audio_ssl.fairness.groups import group_by
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.predictions import Predictions, read_predictions
from audio_ssl.fairness.systems import gap_difference_rows
from audio_ssl.report.language.study import LIMITS
from audio_ssl.study.plan import ProbedColumn, StudyPlan
from audio_ssl.study.settings import DrawnSet, Study, StudyFolders


def read_study(plan: StudyPlan, layout: StudyFolders) -> StudyResult:
    """Return the numbers of a study whose models have all been probed."""
    study = plan.study
    rows: dict[str, list[DrawnSet]] = {name: [p for p in layout.places() if p.set == name] for name in study.sets}
    if study.untrained:
        rows[UNTRAINED] = layout.untrained()
    cells: list[StudyCell] = []
    excluded: dict[tuple[str, str], StudyExclusion] = {}
    for question in plan.questions:
        answers = {
            name: [read_predictions(place.folder / "probes" / question.name, (study.by,)) for place in places]
            for name, places in rows.items()
        }
        folders = {
            name: tuple(str((place.folder / "probes" / question.name).relative_to(layout.out)) for place in places)
            for name, places in rows.items()
        }
        cells += read_cells(question.name, answers, folders, study.by, plan.compare, study.reference, study.replicates)
        for one in (one for seeds in answers.values() for one in seeds):
            for left in one.exclusions:
                row = StudyExclusion(question.name, left.reason, left.count, tuple(left.names))
                excluded[question.name, left.reason] = row
    origin = read_origin(layout.out) or StudyOrigin()
    return StudyResult(
        name=plan.name,
        by=study.by,
        compare=plan.compare,
        reference=study.reference,
        hours=study.hours,
        seeds=study.seeds,
        pretraining=StudyPretraining(study.pretrain.recipe, study.pretrain.settings),
        columns=tuple(_about(question, layout.out) for question in plan.questions),
        sets=tuple(_composition(name, rows[name], study) for name in study.sets),
        untrained=study.untrained,
        cells=adjusted(cells, {question.name: question.metrics[0] for question in plan.questions}),
        known=StudyOverlap(plan.known.speakers, plan.known.files, plan.known.left_out, plan.known.sentence()),
        note=study.note,
        warnings=plan.warnings,
        limits=LIMITS,
        excluded=tuple(excluded.values()),
        provenance=replace(origin, replicates=study.replicates),
    )


def adjusted(cells: Sequence[StudyCell], main: Mapping[str, str]) -> tuple[StudyCell, ...]:
    """Adjust p-values for the number of tests (Holm).

    Gaps and their differences from the reference are two families; main metrics and other metrics are apart, too.
    Models without pretraining are there for comparison: their gaps are not tested.

    Parameters
    ----------
    cells
        All cells of the table.
    main
        Main metric of each column.
    """
    found = [
        replace(cell, p_value=math.nan, against_reference=None) if cell.set == UNTRAINED else cell for cell in cells
    ]
    trained = [place for place, cell in enumerate(cells) if cell.set != UNTRAINED]
    for is_main in (True, False):
        places = [place for place in trained if (cells[place].metric == main[cells[place].column]) == is_main]
        for place, test in zip(places, _holm([cells[place].p_value for place in places]), strict=True):
            found[place] = replace(found[place], **test)
        against = {place: row for place in places if (row := cells[place].against_reference) is not None}
        tests = _holm([row.p_value for row in against.values()])
        for (place, row), test in zip(against.items(), tests, strict=True):
            found[place] = replace(found[place], against_reference=replace(row, **test))
    return tuple(found)


def _holm(p_values: Sequence[float]) -> list[dict[str, Any]]:
    compared = sum(not math.isnan(p_value) for p_value in p_values)
    return [{"p_holm": p_value, "compared": compared} for p_value in holm(p_values)]


def _about(question: ProbedColumn, out: Path) -> StudyColumn:
    folders = [path for path in out.glob(f"**/probes/{question.name}") if is_result(path)]
    warnings = {said for folder in folders for said in read_scores(folder).warnings}
    return StudyColumn(
        name=question.name,
        title=question.title,
        integration=question.integration,
        task=question.task,
        metric=question.metrics[0],
        metrics=question.metrics,
        manifest=str(question.probe.data.manifest),
        warnings=tuple(sorted(warnings)),
    )


def _composition(name: str, places: Sequence[DrawnSet], study: Study) -> StudySet:
    draws = tuple(read_record(DrawRecord, place.folder / "balance.json") for place in places)
    return StudySet(name, dict(study.sets[name]), draws)


_MIN_SPEAKERS = 1
"""Groups of any size are scored. Groups of fewer than five speakers are not tested."""


def read_cells(
    column: str,
    answers: Mapping[str, Sequence[Predictions]],
    folders: Mapping[str, tuple[str, ...]],
    by: str,
    compare: tuple[str, str],
    reference: str,
    replicates: int,
) -> list[StudyCell]:
    """Return the cells of one column, metric after metric; p-values are not adjusted yet.

    Parameters
    ----------
    column
        Name of the column.
    answers
        Name of the set to the answers of each seed.
    folders
        Name of the set to the folder of each seed's result.
    by
        The attribute that makes the groups.
    compare
        The two groups; gaps are the first minus the second.
    reference
        Name of the reference set.
    replicates
        Number of bootstrap and permutation replicates.
    """
    chance = Chance(0, replicates, replicates)
    pooled = {name: pool_seeds(seeds, name) for name, seeds in answers.items()}
    groupings = {name: group_by(one, [by], {by: [compare]}, _MIN_SPEAKERS) for name, one in pooled.items()}
    # The first system is what all others are compared with.
    order = [reference, *(name for name in pooled if name != reference)]
    against = {
        (row.result_a, row.metric): _against(row)
        for row in gap_difference_rows([(pooled[name], groupings[name]) for name in order], chance, _MIN_SPEAKERS)
    }
    cells = []
    for metric in pooled[reference].statistics:
        for name, seeds in answers.items():
            scores = _scores(pooled[name], metric, by, compare, chance)
            # Of single seeds only the values are used, so two replicates are enough.
            each = [_scores(one, metric, by, compare, Chance(0, 2, 2)) for one in seeds] if len(seeds) > 1 else []
            gaps = _range([one.gap.difference for one in each])
            relative = _range([one.gap.relative_symmetric for one in each])
            measure = get_measure(metric)
            cells.append(
                StudyCell(
                    column=column,
                    results=folders[name],
                    set=name,
                    metric=metric,
                    unit=measure.unit,
                    higher_is_better=measure.higher_is_better,
                    groups={
                        group: _group(row, [one.groups.get(group) for one in each])
                        for group, row in scores.groups.items()
                    },
                    difference=scores.gap.difference,
                    low=scores.gap.low,
                    high=scores.gap.high,
                    relative_symmetric=scores.gap.relative_symmetric,
                    relative_symmetric_low=scores.gap.relative_symmetric_low,
                    relative_symmetric_high=scores.gap.relative_symmetric_high,
                    ratio=scores.gap.ratio,
                    ratio_low=scores.gap.ratio_low,
                    ratio_high=scores.gap.ratio_high,
                    p_value=scores.gap.p_value,
                    p_exact=scores.gap.p_exact,
                    minimum_detectable=scores.gap.minimum_detectable,
                    direction=scores.gap.direction,
                    refused=scores.gap.refused,
                    warning=scores.gap.warning,
                    seed_low=gaps[0],
                    seed_high=gaps[1],
                    relative_symmetric_seed_low=relative[0],
                    relative_symmetric_seed_high=relative[1],
                    against_reference=against.get((name, metric)),
                )
            )
    return cells


class _Scores(NamedTuple):
    """Rows of the fairness audit: one per group, and the gap."""

    groups: dict[str, GroupScore]
    gap: GroupComparison


def _scores(one: Predictions, metric: str, by: str, compare: tuple[str, str], chance: Chance) -> _Scores:
    question = Question(one, get_measure(metric), chance)
    (grouping,) = group_by(one, [by], {by: [compare]}, _MIN_SPEAKERS)
    groups = {row.group: row for row in group_rows(question, grouping)}
    gaps = comparison_rows(question, grouping)
    if gaps:
        return _Scores(groups, gaps[0])
    missing = " and ".join(name for name in compare if name not in groups)
    refused = f"no clip of {missing} was scored"
    return _Scores(groups, GroupComparison.untested(question.about(by), *compare, "", refused=refused))


def _group(row: GroupScore, each: Sequence[GroupScore | None]) -> CellGroup:
    """Return a group's score. `each` is the group's row of each of several seeds, whose clips are counted once."""
    seeds = max(1, len(each))
    low, high = _range([math.nan if one is None else one.value for one in each])
    return CellGroup(
        value=row.value,
        low=row.low,
        high=row.high,
        speakers=row.speakers,
        clips=row.clips // seeds,
        words=(row.words or 0) // seeds,
        hours=row.hours / seeds,
        seed_low=low,
        seed_high=high,
    )


def _against(row: SystemComparison) -> GapAgainstReference:
    return GapAgainstReference(
        difference=row.difference,
        low=row.low,
        high=row.high,
        p_value=row.p_value,
        clips=row.clips,
        speakers=row.speakers,
        refused=row.refused,
        warning=row.warning,
    )


def _range(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Return the range over seeds; None where there is only one seed."""
    if not values:
        return None, None
    return (min(values), max(values)) if np.isfinite(values).all() else (math.nan, math.nan)


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
