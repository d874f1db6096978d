"""The numbers of a study: what ``study.json`` holds, read from the answers of all models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audio_ssl.documents import find, read_object
from audio_ssl.fairness.holm import holm
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.pretrain.provenance import read_provenance
from audio_ssl.study.cells import read_cells
from audio_ssl.study.plan import ProbedColumn, StudyPlan
from audio_ssl.study.study import DrawnSet, Study, StudyFolders

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
