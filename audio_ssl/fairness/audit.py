"""The `fairness` stage: scores of groups of speakers, the gaps between them, and what may be concluded.

Zanon Boito et al. 2022 (arXiv 2204.01397) compare the scores of women and men. Added here is the uncertainty over
speakers: confidence intervals by resampling speakers, p-values by permuting the group labels of speakers, and no test
of groups with fewer than five speakers.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from audio_ssl.artifacts.fairness import (
    UNKNOWN,
    AdjustedRatio,
    EmptyEffect,
    GroupComparison,
    GroupScore,
    GroupSpread,
    SystemComparison,
)
from audio_ssl.artifacts.fairness_report import (
    AttributeProbe,
    AuditedSystem,
    AuditOrigin,
    FairnessReport,
    LeftOutRows,
    ReadFile,
    SuppressedGroup,
    WorstClip,
    fairness_of,
)
from audio_ssl.artifacts.result import SCORES_FILE, read_origin
from audio_ssl.artifacts.result_tables import PREDICTIONS_FILE, TRIALS_FILE
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.about import About, statement
from audio_ssl.fairness.adjusted import model_rows
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
from audio_ssl.fairness.groups import MIN_GROUP_SPEAKERS, Grouping, group_by, speakers_of
from audio_ssl.fairness.measures import get_measure, of_terms
from audio_ssl.fairness.options import AuditOptions
from audio_ssl.fairness.predictions import Predictions, digest, read_predictions
from audio_ssl.fairness.representation import is_representation, read_representation
from audio_ssl.fairness.systems import common_notes, empty_rows, gap_difference_rows
from audio_ssl.fairness.tallies import SHOWN, Exclusion
from audio_ssl.fairness.verification import PERMUTATIONS, audit_verification, is_verification, trial_metrics
from audio_ssl.fairness.wording import LIMITS
from audio_ssl.metrics.families.terms import CATEGORY_PAIRS
from audio_ssl.metrics.registry import metrics_of_groups

logger = logging.getLogger(__name__)

REPLICATES = 10_000


@dataclass
class _Found:
    """Rows found so far."""

    groups: list[GroupScore] = field(default_factory=list)
    """With those of all scored groups together."""
    results: list[AuditedSystem] = field(default_factory=list)
    comparisons: list[GroupComparison] = field(default_factory=list)
    excluded: list[LeftOutRows] = field(default_factory=list)
    suppressed: list[SuppressedGroup] = field(default_factory=list)
    spread: list[GroupSpread] = field(default_factory=list)
    models: list[AdjustedRatio] = field(default_factory=list)
    gap_differences: list[SystemComparison] = field(default_factory=list)
    representation: list[AttributeProbe] = field(default_factory=list)
    examples: list[WorstClip] = field(default_factory=list)
    empty_hypotheses: list[EmptyEffect] = field(default_factory=list)
    inputs: list[ReadFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


CATEGORY = "category"
TRIALS_TASK = "speaker_verification"


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
        Attributes that make the groups; several are also combined.
    seed
        Seed of the bootstrap and of the permutation tests.
    replicates
        Number of bootstrap resamples, and of random permutations where not all are tried.
    metrics
        Metrics to compare; if empty, those of the task.
    manifest
        Supplies by id what tables of predictions lack (speaker, gender, reference).
    normaliser
        Normalisation of references and hypotheses before they are compared.
    min_speakers
        Fewest speakers of a group that is scored.
    columns
        Our name -> the tables' column, where they differ: ``{"reference": "sentence"}``.
    empty_hypothesis
        ``count``: each word of the reference is an error; ``leave-out``: the clip is excluded by name. Both gaps are in
        the report either way.
    tokenizer
        BLEU's tokeniser, see `audio_ssl.metrics.texts`; None chooses it by the target language.
    tolerance
        Differences smaller than this do not matter, in points of the metric. With None, no difference is called small.
        Detection costs have no points, so the tolerance does not apply to them.
    about
        What was tested, for whoever signs the report.
    examples
        Add a few of the worst clips of each group, with their texts and speakers.

    Raises
    ------
    UserError
        If a result cannot be read or has no such attribute.
    """
    options = AuditOptions(
        tuple(by), Chance(seed, replicates, replicates), tuple(metrics), manifest, normaliser, min_speakers,
        dict(columns or {}), empty_hypothesis, tokenizer, tolerance, about or About(), examples,
    )  # fmt: skip
    options.check()
    paths = [Path(path) for path in results]
    options.about.check(len(paths))
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a result is named twice", where=", ".join(map(str, paths)))
    found = _Found()
    names = options.about.names(paths)
    answered: list[tuple[Predictions, list[Grouping]]] = []
    for path, name in names.items():
        if is_representation(path):
            found.representation.append(replace(read_representation(path), result=name))
            _add_inputs(found, name, "scores", [path / SCORES_FILE])
        elif is_verification(path):
            _add_verification(found, path, name, options)
        else:
            answered.append(_add_table(found, path, name, options))
    if manifest is not None:
        _add_inputs(found, None, "manifest", [manifest])
    found.gap_differences.extend(gap_difference_rows(answered, options.chance, min_speakers))
    found.notes.extend(common_notes([predictions for predictions, _ in answered]))
    found.comparisons = conclude(adjust(found.comparisons), tolerance)
    found.gap_differences = adjust(found.gap_differences)
    _add_empty(found, [predictions for predictions, _ in answered], options)
    found.notes.extend(too_many(found.comparisons))
    _say_left_out(found.excluded)
    report = FairnessReport(
        results=tuple(found.results),
        groups=tuple(row for row in found.groups if not row.total),
        comparisons=tuple(found.comparisons),
        excluded=tuple(found.excluded),
        suppressed=tuple(found.suppressed),
        spread=tuple(found.spread),
        models=tuple(found.models),
        gap_differences=tuple(found.gap_differences),
        representation=tuple(found.representation),
        examples=tuple(found.examples),
        empty_hypotheses=tuple(found.empty_hypotheses),
        totals=tuple(row for row in found.groups if row.total),
        limits=LIMITS,
        notes=tuple(found.notes),
        statement=statement(options.about, tolerance),
        provenance=_origin(options, found),
    )
    # Read back, so that pages show the same texts as the file.
    return fairness_of(report.to_json(), "the audit")


def _say_left_out(excluded: Sequence[LeftOutRows]) -> None:
    """Log how many rows and clips are excluded, and why; the page names them."""
    for result in dict.fromkeys(one.result for one in excluded):
        mine = [one for one in excluded if one.result == result]
        said = ", ".join(f"{one.count:,} ({one.reason})" for one in mine[:_REASONS_SAID])
        more = f" and {len(mine) - _REASONS_SAID} other reasons" if len(mine) > _REASONS_SAID else ""
        logger.warning("%s: excluded %d: %s%s", result, sum(one.count for one in mine), said, more)


_REASONS_SAID = 3


def _add_table(found: _Found, path: Path, name: str, options: AuditOptions) -> tuple[Predictions, list[Grouping]]:
    predictions = replace(
        read_predictions(
            path,
            options.by,
            options.metrics_of(metrics_of_groups(), path),
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
    system, version_ = options.about.of(len(found.results))
    found.results.append(
        AuditedSystem(
            name=name,
            path=str(path),
            sha256=predictions.sha256,
            task=predictions.task,
            model_fingerprint=_fingerprint(path),
            clips=len(seconds),
            speakers=len(speakers_of(predictions, np.ones(len(seconds), bool))),
            hours=float(seconds.sum()) / 3600,
            metrics=tuple(predictions.statistics),
            signature="; ".join(filter(None, [predictions.signature, *_signatures(predictions)])),
            system=system,
            version=version_,
        )
    )
    _add_inputs(found, name, "predictions", predictions.files)
    found.notes.extend(f"{name}: {warning}." for warning in predictions.warnings)
    _add_excluded(found, name, predictions.exclusions)
    groupings = _groupings(predictions, options)
    for grouping in groupings:
        found.suppressed.extend(grouping.hidden)
        _add_grouping(found, predictions, grouping, options)
        if options.examples:
            found.examples.extend(_examples(predictions, grouping))
    return predictions, groupings


def _groupings(predictions: Predictions, options: AuditOptions) -> list[Grouping]:
    attributes = [*options.by, *(one for one in predictions.attributes if one not in options.by)]
    # Any table may have a column of this name.
    pairs_of = {CATEGORY: CATEGORY_PAIRS} if of_terms(predictions.statistics) else {}
    return group_by(predictions, attributes, pairs_of, options.min_speakers)


def _signatures(predictions: Predictions) -> list[str]:
    return [get_measure(metric, predictions.tokenizer).signature for metric in predictions.statistics]


def _add_grouping(found: _Found, predictions: Predictions, grouping: Grouping, options: AuditOptions) -> None:
    modelled = next((metric for metric in predictions.statistics if get_measure(metric).errors), None)
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


def _add_verification(found: _Found, path: Path, name: str, options: AuditOptions) -> None:
    metrics = options.metrics_of(trial_metrics(), path) or tuple(trial_metrics())
    chance = replace(options.chance, permutations=PERMUTATIONS)
    trials = audit_verification(
        path, options.by, chance, name=name, min_speakers=options.min_speakers, name_people=options.examples
    )
    system, version_ = options.about.of(len(found.results))
    found.results.append(
        AuditedSystem(
            name=name,
            path=str(path),
            sha256=digest([path / TRIALS_FILE]),
            task=TRIALS_TASK,
            model_fingerprint=_fingerprint(path),
            clips=trials.amount.clips,
            speakers=trials.amount.speakers,
            hours=trials.amount.hours,
            metrics=metrics,
            signature="",
            system=system,
            version=version_,
        )
    )
    _add_inputs(found, name, "trials", [path / TRIALS_FILE, path / PREDICTIONS_FILE])
    _add_excluded(found, name, trials.excluded)
    found.suppressed.extend(trials.suppressed)
    found.groups.extend(row for row in trials.groups if row.metric in metrics)
    found.comparisons.extend(row for row in trials.comparisons if row.metric in metrics)
    found.notes.extend(f"{name}: {note}" for note in trials.notes)
    if options.manifest is not None:
        found.notes.append(f"{name}: the manifest is not joined, as trials have their own columns.")


def _add_empty(found: _Found, answered: Sequence[Predictions], options: AuditOptions) -> None:
    """Compare again with empty hypotheses treated the other way, and add what that changes."""
    compared: list[GroupComparison] = []
    for predictions in answered:
        again = predictions.other_way()
        if again is None:
            continue
        for grouping in _groupings(again, options):
            for metric in again.statistics:
                compared.extend(comparison_rows(Question(again, get_measure(metric), options.chance), grouping))
    other = adjust(compared)
    results = {row.result for row in other}
    same = [row for row in found.comparisons if row.result in results]
    counted, left_out = (same, other) if options.empty_hypothesis == "count" else (other, same)
    found.empty_hypotheses.extend(empty_rows(counted, left_out, found.groups, options.tolerance))
    warnings = {row.key: row.warning for row in found.empty_hypotheses if row.warning}
    found.comparisons = [
        replace(row, warning="; ".join(filter(None, [row.warning, warnings.get(row.key)])) or None)
        for row in found.comparisons
    ]


def _fingerprint(path: Path) -> str | None:
    """Return the fingerprint of a result folder's model; None for a table from elsewhere."""
    try:
        return read_origin(path).model_fingerprint
    except UserError:
        return None


def _add_excluded(found: _Found, result: str, exclusions: Iterable[Exclusion]) -> None:
    found.excluded.extend(LeftOutRows(result, one.reason, one.count, one.names) for one in exclusions)


def _examples(predictions: Predictions, grouping: Grouping) -> Iterator[WorstClip]:
    """Yield a few of the worst clips of each scored group, of speakers who are scored in it."""
    shown = {*grouping.names, *([UNKNOWN] if (grouping.index == -1).any() else [])}
    scored = np.unique(predictions.speakers.index[grouping.index >= -1])
    people = {predictions.speakers.names[place] for place in scored.tolist()}
    metric = next(iter(predictions.statistics))
    many: Counter[str] = Counter()
    for clip in predictions.examples:
        mine = clip.by == grouping.by and clip.group in shown and clip.texts.speaker in people
        if mine and many[clip.group] < SHOWN:
            many[clip.group] += 1
            yield WorstClip(predictions.name, metric, clip.by, clip.group, *clip.texts, value=clip.value)


def _add_inputs(found: _Found, name: str | None, role: str, files: Iterable[Path]) -> None:
    """Add files that were read, with their hashes."""
    found.inputs.extend(ReadFile(name, role, str(path), digest([path])) for path in files)


def _origin(options: AuditOptions, found: _Found) -> AuditOrigin:
    # A test of trials costs more, so it makes fewer permutations.
    trials = PERMUTATIONS if any(one.task == TRIALS_TASK for one in found.results) else None
    of_trials = all(one.task == TRIALS_TASK for one in found.results)
    return AuditOrigin(
        by=options.by,
        seed=options.chance.seed,
        replicates=options.chance.replicates,
        permutations=trials if trials and of_trials else options.chance.permutations,
        trial_permutations=trials,
        min_speakers=MIN_SPEAKERS,
        min_group_speakers=options.min_speakers,
        inputs=tuple(found.inputs),
        normaliser=options.normaliser,
        tokenizer=options.tokenizer,
        columns=dict(options.columns),
        empty_hypothesis=options.empty_hypothesis,
        manifest=None if options.manifest is None else str(options.manifest),
        command=("audio-ssl", *sys.argv[1:]),
        versions={"audio_ssl": version("audio-ssl"), "numpy": np.__version__},
    )
