"""The `fairness` stage: scores of groups of speakers, the gaps between them, and what may be concluded.

Zanon Boito et al. 2022 (arXiv 2204.01397) compare the scores of women and men; what is added here is uncertainty over
speakers: intervals by resampling them, p-values by permuting the label over them, and no inference below five
speakers a group.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from audio_ssl.artifacts.fairness import UNKNOWN
from audio_ssl.artifacts.fairness_report import SCHEMA_VERSION, FairnessReport, fairness_of
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.fairness.about import About, statement
from audio_ssl.fairness.adjusted import RATES, model_rows
from audio_ssl.fairness.comparisons import (
    MIN_SPEAKERS,
    Chance,
    Question,
    adjust,
    comparison_rows,
    conclude,
    group_rows,
    spread_row,
    too_many,
)
from audio_ssl.fairness.groups import MIN_GROUP_SPEAKERS, Grouping, group_by, speakers_of, suppressed_rows
from audio_ssl.fairness.measures import KNOWN, OF_TERMS, get_measure
from audio_ssl.fairness.must_she import CATEGORY_PAIRS
from audio_ssl.fairness.predictions import Predictions, digest, read_predictions
from audio_ssl.fairness.representation import SCORES_FILE, is_representation, read_representation
from audio_ssl.fairness.systems import common_notes, empty_rows, gap_difference_rows
from audio_ssl.fairness.tallies import EMPTY_WAYS, SHOWN, Exclusion
from audio_ssl.fairness.trials import TRIALS
from audio_ssl.fairness.verification import UNITS, audit_verification, is_verification
from audio_ssl.fairness.wording import LIMITS

logger = logging.getLogger(__name__)

REPLICATES = 10_000


@dataclass(frozen=True)
class _Found:
    """What is found so far."""

    results: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    """Those of ``total`` are the rows of all clips."""
    comparisons: list[dict[str, Any]]
    excluded: list[dict[str, Any]]
    provenance: dict[str, Any]
    suppressed: list[dict[str, Any]] = field(default_factory=list)
    spread: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    gap_differences: list[dict[str, Any]] = field(default_factory=list)
    representation: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    empty_hypotheses: list[dict[str, Any]] = field(default_factory=list)
    statement: dict[str, Any] = field(default_factory=dict)
    limits: Sequence[str] = LIMITS

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        totals = [row for row in self.groups if row["total"]]
        groups = [row for row in self.groups if not row["total"]]
        return {"schema_version": SCHEMA_VERSION, **vars(self), "groups": groups, "totals": totals}


CATEGORY = "category"


@dataclass(frozen=True)
class _Options:
    """How an audit is made: what `audit` is given."""

    by: tuple[str, ...]
    chance: Chance
    metrics: tuple[str, ...]
    manifest: Path | None
    normaliser: str
    min_speakers: int
    columns: Mapping[str, str]
    empty_hypothesis: str
    tokenizer: str | None
    tolerance: float | None
    about: About
    examples: bool


def audit(
    results: Sequence[Path],
    by: Sequence[str] = ("gender",),
    seed: int = 0,
    replicates: int = REPLICATES,
    *,
    metrics: Sequence[str] = (),
    manifest: Path | None = None,
    normaliser: str = "none",
    min_speakers: int = MIN_GROUP_SPEAKERS,
    columns: Mapping[str, str] | None = None,
    empty_hypothesis: str = "count",
    tokenizer: str | None = None,
    tolerance: float | None = None,
    about: About | None = None,
    examples: bool = False,
) -> FairnessReport:
    """Compare groups of speakers.

    Parameters
    ----------
    results
        Result folders, or tables of predictions.
    by
        Attributes that make the groups; several are also taken together.
    seed
        Seed of the bootstrap and of the permutation tests.
    replicates
        Resamples of the speakers, and permutations where not all are made.
    metrics
        What is compared; empty: what fits the task.
    manifest
        Has what tables of predictions lack (speaker, gender, reference), by id.
    normaliser
        What is done to references and hypotheses before they are compared.
    min_speakers
        Fewest speakers of a group that is scored.
    columns
        Our name -> the tables' column, where they differ: ``{"reference": "sentence"}``.
    empty_hypothesis
        ``count``: each word that was said is an error; ``leave-out``: the clip is left out by name. Both gaps are in
        the report either way.
    tokenizer
        How BLEU cuts texts into words, see `audio_ssl.metrics.texts`; None: as the target language needs it.
    tolerance
        Differences smaller than this do not matter, in points of the metric; None says of no difference that it is
        small. Detection costs have no points and are not asked.
    about
        What was tested, for whoever signs the report.
    examples
        Add a few of the worst clips of each group, with their texts and speakers.

    Raises
    ------
    UserError
        If a result cannot be read or has no such attribute.
    """
    options = _Options(
        tuple(by), Chance(seed, replicates, replicates), tuple(metrics), manifest, normaliser, min_speakers,
        dict(columns or {}), empty_hypothesis, tokenizer, tolerance, about or About(), examples,
    )  # fmt: skip
    _check(options)
    paths = [Path(path) for path in results]
    options.about.check(len(paths))
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a result is named twice", where=", ".join(map(str, paths)))
    found = _Found([], [], [], [], _provenance(options), statement=statement(options.about, tolerance))
    names = options.about.names(paths) or _names(paths)
    answered: list[tuple[Predictions, list[Grouping]]] = []
    for path, name in names.items():
        if is_representation(path):
            found.representation.extend({**row, "result": name} for row in read_representation(path))
            _add_inputs(found, name, "scores", [path / SCORES_FILE])
        elif is_verification(path):
            _add_verification(found, path, name, options)
        else:
            answered.append(_add_table(found, path, name, options))
    if manifest is not None:
        _add_inputs(found, None, "manifest", [manifest])
    found.gap_differences.extend(gap_difference_rows(answered, options.chance, min_speakers))
    found.notes.extend(common_notes([predictions for predictions, _ in answered]))
    adjust(found.comparisons)
    adjust(found.gap_differences)
    conclude(found.comparisons, tolerance)
    _add_empty(found, [predictions for predictions, _ in answered], options)
    found.notes.extend(too_many(found.comparisons))
    _say_left_out(found.excluded)
    return fairness_of(found.to_json(), "the audit")


def _say_left_out(excluded: Sequence[Mapping[str, Any]]) -> None:
    """Say how many rows and clips are in no number, and why; the page names them."""
    for result in dict.fromkeys(str(one["result"]) for one in excluded):
        mine = [one for one in excluded if one["result"] == result]
        said = ", ".join(f"{one['count']:,} ({one['reason']})" for one in mine[:_REASONS_SAID])
        more = f" and {len(mine) - _REASONS_SAID} other reasons" if len(mine) > _REASONS_SAID else ""
        logger.warning("%s: left out %d: %s%s", result, sum(one["count"] for one in mine), said, more)


_REASONS_SAID = 3


def _check(options: _Options) -> None:
    unknown = next((name for name in options.metrics if name not in KNOWN and name not in UNITS), None)
    if unknown is not None:
        raise unknown_name("metric", unknown, [*KNOWN, *UNITS])
    by = options.by
    if not by:
        raise UserError("`by` must name at least one attribute")
    twice = sorted({name for name in by if by.count(name) > 1})
    if twice:
        raise UserError(f"`by` names {', '.join(twice)} twice")
    if options.chance.seed < 0:
        raise UserError(f"`seed` must be 0 or more, but is {options.chance.seed}")
    if options.chance.replicates < 100:
        raise UserError(f"`replicates` must be at least 100, but is {options.chance.replicates}")
    if options.empty_hypothesis not in EMPTY_WAYS:
        raise unknown_name("value of `empty_hypothesis`", options.empty_hypothesis, EMPTY_WAYS)
    if options.min_speakers < 1:
        raise UserError(f"`min_speakers` must be at least 1, but is {options.min_speakers}")
    if options.tolerance is not None and not 0 < options.tolerance < math.inf:
        raise UserError(f"`tolerance` must be above 0, in points of the metric, but is {options.tolerance:g}")


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for each result: the last part of its path, with the folders above where that is not unique."""
    given = {path.resolve(): path for path in paths}
    parts = {path: (*path.parts[:-1], path.stem if path.is_file() else path.name) for path in given}
    names: dict[Path, str] = {}
    for path, own in parts.items():
        depth = 1
        while depth < len(own) and sum(other[-depth:] == own[-depth:] for other in parts.values()) > 1:
            depth += 1
        same = sum(other[-depth:] == own[-depth:] for other in parts.values()) > 1
        names[given[path]] = path.name if same else "/".join(own[-depth:])
    return names


def _add_table(found: _Found, path: Path, name: str, options: _Options) -> tuple[Predictions, list[Grouping]]:
    predictions = replace(
        read_predictions(
            path,
            options.by,
            _asked(options, KNOWN, path),
            options.manifest,
            options.normaliser,
            options.columns,
            options.tokenizer,
        ),
        name=name,
    )
    if options.empty_hypothesis != "count":
        predictions = predictions.without_empty()
    seconds = predictions.seconds
    found.results.append(
        {
            "name": name,
            "path": str(path),
            "sha256": predictions.sha256,
            "task": predictions.task,
            "model_fingerprint": _fingerprint(path),
            "clips": len(seconds),
            "speakers": len(speakers_of(predictions, np.ones(len(seconds), bool))),
            "hours": float(seconds.sum()) / 3600,
            "metrics": list(predictions.statistics),
            "signature": "; ".join(filter(None, [predictions.signature, *_signatures(predictions)])),
            **options.about.of(len(found.results)),
        }
    )
    _add_inputs(found, name, "predictions", predictions.files)
    found.notes.extend(f"{name}: {warning}." for warning in predictions.warnings)
    found.excluded.extend(_excluded(name, one) for one in predictions.exclusions)
    groupings = _groupings(predictions, options)
    for grouping in groupings:
        found.suppressed.extend({"result": name, **row} for row in suppressed_rows(grouping))
        _add_grouping(found, predictions, grouping, options)
        if options.examples:
            found.examples.extend(_examples(predictions, grouping))
    return predictions, groupings


def _groupings(predictions: Predictions, options: _Options) -> list[Grouping]:
    attributes = [*options.by, *(one for one in predictions.attributes if one not in options.by)]
    # Any table may have a column of this name.
    of_terms = any(metric in OF_TERMS for metric in predictions.statistics)
    pairs_of = {CATEGORY: CATEGORY_PAIRS} if of_terms else {}
    return group_by(predictions, attributes, pairs_of, options.min_speakers)


def _signatures(predictions: Predictions) -> list[str]:
    return [get_measure(metric, predictions.tokenizer).signature for metric in predictions.statistics]


def _add_grouping(found: _Found, predictions: Predictions, grouping: Grouping, options: _Options) -> None:
    modelled = next((metric for metric in predictions.statistics if metric in RATES), None)
    for metric in predictions.statistics:
        question = Question(predictions, get_measure(metric), options.chance)
        rows = group_rows(question, grouping)
        found.groups.extend(rows)
        spread = spread_row(question, grouping.by, rows)
        if spread is not None:
            found.spread.append(spread)
        found.comparisons.extend(comparison_rows(question, grouping))
        if metric == modelled:
            found.models.extend(model_rows(question, grouping))


def _add_verification(found: _Found, path: Path, name: str, options: _Options) -> None:
    metrics = _asked(options, UNITS, path) or tuple(UNITS)
    chance = options.chance
    rows = audit_verification(
        path,
        options.by,
        chance.seed,
        chance.replicates,
        min_speakers=options.min_speakers,
        name_people=options.examples,
    )
    found.results.append(
        {
            "name": name,
            "path": str(path),
            "sha256": digest([path / TRIALS]),
            "task": "speaker_verification",
            "model_fingerprint": _fingerprint(path),
            **rows["everybody"][0],
            "metrics": list(metrics),
            "signature": "",
            **options.about.of(len(found.results)),
        }
    )
    _add_inputs(found, name, "trials", [path / TRIALS, path / "predictions.parquet"])
    found.excluded.extend({**row, "result": name} for row in rows["excluded"])
    found.suppressed.extend({**row, "result": name} for row in rows["suppressed"])
    for part in ("groups", "comparisons"):
        getattr(found, part).extend({**row, "result": name} for row in rows[part] if row["metric"] in metrics)
    found.notes.extend(f"{name}: {note}" for note in rows["notes"])
    if options.manifest is not None:
        found.notes.append(f"{name}: the manifest is not joined, as trials have their own columns.")


def _add_empty(found: _Found, answered: Sequence[Predictions], options: _Options) -> None:
    """Compare once more with empty hypotheses treated the other way, and say what that changes."""
    other: list[dict[str, Any]] = []
    for predictions in answered:
        again = predictions.other_way()
        if again is None:
            continue
        for grouping in _groupings(again, options):
            for metric in again.statistics:
                other.extend(comparison_rows(Question(again, get_measure(metric), options.chance), grouping))
    adjust(other)
    results = {row["result"] for row in other}
    same = [row for row in found.comparisons if row["result"] in results]
    counted, left_out = (same, other) if options.empty_hypothesis == "count" else (other, same)
    found.empty_hypotheses.extend(empty_rows(counted, left_out, found.groups, options.tolerance))
    warnings = {_place(row): row["warning"] for row in found.empty_hypotheses if row["warning"]}
    for row in same:
        row["warning"] = "; ".join(filter(None, [row["warning"], warnings.get(_place(row))])) or None


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("result", "by", "metric", "a", "b"))


def _asked(options: _Options, known: Collection[str], path: Path) -> tuple[str, ...]:
    """Return the metrics that were asked for and are of this kind of result; none means all that fit."""
    fitting = tuple(name for name in options.metrics if name in known)
    if options.metrics and not fitting:
        raise UserError(
            f"none of {', '.join(options.metrics)} is a score of this result; known: {', '.join(known)}",
            where=str(path),
        )
    return fitting


def _fingerprint(path: Path) -> str | None:
    """Return which model a result folder is of; None of a table from elsewhere."""
    try:
        found = read_object(path / "provenance.json").get("model_fingerprint")
    except UserError:
        return None
    return None if found is None else str(found)


def _excluded(result: str, one: Exclusion) -> dict[str, Any]:
    return {"result": result, "reason": one.reason, "count": one.count, "names": list(one.names)}


def _examples(predictions: Predictions, grouping: Grouping) -> Iterator[dict[str, Any]]:
    """Yield a few of the worst clips of each group that is scored, of people who are scored in it."""
    shown = {*grouping.names, *([UNKNOWN] if (grouping.index == -1).any() else [])}
    scored = np.unique(predictions.speakers.index[grouping.index >= -1])
    people = {predictions.speakers.names[place] for place in scored.tolist()}
    about = {"result": predictions.name, "metric": next(iter(predictions.statistics))}
    many: Counter[str] = Counter()
    for example in predictions.examples:
        group = example["group"]
        mine = example["by"] == grouping.by and group in shown and example["speaker"] in people
        if mine and many[group] < SHOWN:
            many[group] += 1
            yield about | {key: value for key, value in example.items() if key != "empty"}


def _add_inputs(found: _Found, name: str | None, role: str, files: Iterable[Path]) -> None:
    """Note the whole hash of what was read."""
    found.provenance["inputs"] += [
        {"result": name, "role": role, "path": str(path), "sha256": digest([path])} for path in files
    ]


def _provenance(options: _Options) -> dict[str, Any]:
    return {
        "by": list(options.by),
        "seed": options.chance.seed,
        "replicates": options.chance.replicates,
        "permutations": options.chance.permutations,
        "min_speakers": MIN_SPEAKERS,
        "min_group_speakers": options.min_speakers,
        "inputs": [],
        "normaliser": options.normaliser,
        "tokenizer": options.tokenizer,
        "columns": dict(options.columns),
        "empty_hypothesis": options.empty_hypothesis,
        "manifest": None if options.manifest is None else str(options.manifest),
        "command": ["audio-ssl", *sys.argv[1:]],
        "versions": {"audio_ssl": version("audio-ssl"), "numpy": np.__version__},
    }
