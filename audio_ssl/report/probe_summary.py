"""Summary of one probe's result: the model beside its baselines, their differences, and single clips.

It has a grid of the validation scores of all runs (layers, learning rates, seeds), of verification a histogram of the
scores of same and different pairs, and of tasks with numbers the reference and the answer of each clip.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audio_ssl.artifacts.result import (
    UNTRAINED,
    ExcludedClip,
    HistoryPoint,
    LayerPoint,
    MetricResult,
    ProbeCost,
    ProbeScores,
    ResultOrigin,
    SelectedRun,
    SplitSize,
    TrainedRun,
)
from audio_ssl.artifacts.result_tables import TrialRow
from audio_ssl.base.documents import JsonObject
from audio_ssl.metrics.families.verification import equal_error
from audio_ssl.report.clips import ConfusedPair, Confusion, RankedClip, confused_pairs, confusion, examples
from audio_ssl.report.inputs import NOT_MEASURED, Result, ScoredSystem, Tuning
from audio_ssl.report.language.phrases import label_of
from audio_ssl.report.language.scores import verdict_sentence
from audio_ssl.report.numbers import finite, is_number
from audio_ssl.report.paired import PairedComparison, SystemPairs
from audio_ssl.report.run_summary import LeftOutCounts, count_reasons, relative


@dataclass(frozen=True)
class SystemSummary:
    """What a report shows of a probed model or a baseline."""

    system: str
    """``model``, or the baseline's name."""
    label: str
    fingerprint: str | None
    predictions: str | None
    """Where the predictions lie, from the report's folder."""
    metrics: Mapping[str, MetricResult]
    layers: tuple[LayerPoint, ...] = ()
    chosen_layer: int | None = None
    layer_weights: tuple[float, ...] | None = None
    history: tuple[HistoryPoint, ...] = ()
    chosen: tuple[SelectedRun, ...] = ()
    """What the validation clips selected; one for each fold."""
    cost: ProbeCost | None = None
    seconds_taken: float | None = None
    row: str = ""
    """Its name beside the systems of other results."""

    def score_of(self, metric: str) -> MetricResult:
        """Return one of the scores; an undefined one where the system does not have it."""
        return self.metrics.get(metric, NOT_MEASURED)


@dataclass(frozen=True)
class BaselineVerdict:
    """The model minus one baseline on the main metric, and what that shows."""

    baseline: str
    label: str
    difference: float | None
    low: float | None
    high: float | None
    clips: int | None
    over: str | None
    """What was resampled, such as "24 speakers"."""
    better: bool | None
    """Whether the model has the better score; None where the scores are equal or one is missing."""
    decided: bool
    """Whether the two differ significantly."""
    text: str

    @property
    def paired(self) -> bool:
        """Whether the difference has an interval of its own."""
        return self.low is not None


@dataclass(frozen=True)
class RunGrid:
    """The validation scores of all runs by learning rate and layer."""

    layers: tuple[int | str, ...]
    """Numbers, or "mix"."""
    lrs: tuple[float, ...]
    valid: tuple[tuple[float | None, ...], ...]
    """``[rate, layer]``: the mean over seeds and folds; None where every run diverged or there was none."""
    diverged: tuple[tuple[int, ...], ...]
    """``[rate, layer]``: how many runs diverged."""
    seeds: int
    folds: int
    chosen: tuple[tuple[int, int], ...]
    """Positions of rate and layer."""


@dataclass(frozen=True)
class TrialHistogram:
    """Scores of same and different pairs in bins, and where the two errors are equal."""

    edges: tuple[float, ...]
    """``[bin + 1]``"""
    same: tuple[float, ...]
    """``[bin]``: shares of the pairs of the same."""
    different: tuple[float, ...]
    n_same: int
    n_different: int
    eer: float
    """In percent."""
    threshold: float


@dataclass(frozen=True)
class ValuePairs:
    """Reference and answer of one of the numbers that a task asks for."""

    name: str
    points: tuple[tuple[float, float], ...]
    """At most 400, evenly spread."""
    clips: int
    """How many there are in all."""


@dataclass(frozen=True)
class ProbeSummary:
    """What a report shows of one result; as JSON one of the ``results``."""

    name: str
    path: str
    task: str | None
    model: str | None
    model_fingerprint: str | None
    main_metric: str
    unit: str
    higher_is_better: bool
    systems: tuple[SystemSummary, ...]
    """The model, then its baselines."""
    verdicts: tuple[BaselineVerdict, ...]
    counts: Mapping[str, SplitSize] = field(default_factory=dict)
    excluded: tuple[ExcludedClip, ...] = ()
    errors: LeftOutCounts = field(default_factory=LeftOutCounts)
    signature: str | None = None
    decoder: str | None = None
    folds: int = 0
    warnings: tuple[str, ...] = ()
    grid: RunGrid | None = None
    confusion: Confusion | None = None
    confused_pairs: tuple[ConfusedPair, ...] = ()
    values: tuple[ValuePairs, ...] = ()
    trials: TrialHistogram | None = None
    examples: tuple[RankedClip, ...] = ()
    provenance: ResultOrigin = field(default_factory=ResultOrigin)
    model_label: str = ""
    """The model's name beside the other models."""
    title: str = ""
    """Name of the result on the page."""
    tuning: Tuning = "frozen"
    """What of the model was trained beside the head."""

    @property
    def main(self) -> MetricResult:
        """The model's main score."""
        return self.systems[0].score_of(self.main_metric)


def summarise_probe(
    result: Result, home: Path, pairs: SystemPairs, rows: Mapping[str, str] | None = None, title: str = ""
) -> ProbeSummary:
    """Summarise a probe's result.

    Parameters
    ----------
    result
        As read from its folder.
    home
        The report's folder; paths are given relative to it where they lie below it.
    pairs
        Compares the model with its baselines.
    rows
        Names of the systems beside those of other results; their labels where None.
    title
        Name of the result on the page; the probe's name where empty.
    """
    model, scores = result.model, result.model.scores
    said = (model.predictions, scores.task, model.classes)
    main, metric = scores.main_metric, scores.main
    order = sorted(result.baselines, key=lambda one: (one.name != UNTRAINED, one.name != "logmel", one.name))
    names = {one.name: label_of(one.name) for one in (model, *order)} if rows is None else rows
    name = scores.probe or result.path.name
    return ProbeSummary(
        name=name,
        path=relative(result.path, home),
        task=scores.task,
        model=scores.model,
        model_fingerprint=scores.model_fingerprint,
        main_metric=main,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        systems=tuple(_summarise_system(one, home, names[one.name]) for one in (model, *order)),
        verdicts=tuple(_verdict(model, one, main, pairs) for one in order),
        counts=scores.counts,
        excluded=scores.excluded,
        errors=count_reasons(result.errors),
        signature=scores.signature,
        decoder=scores.decoder,
        folds=scores.folds,
        warnings=scores.warnings,
        grid=make_grid(scores),
        confusion=confusion(*said),
        confused_pairs=confused_pairs(*said),
        values=pair_values(model.predictions, model.classes, scores.metrics),
        trials=count_trials(model.trials),
        examples=examples(model.predictions, main, scores.task, model.classes),
        provenance=result.origin,
        model_label=names["model"],
        title=title or name,
        tuning=result.tuning,
    )


def link_to(path: Path | None, home: Path) -> str | None:
    """Return the way from the report's folder to a file, for a link; None where there is none."""
    if path is None:
        return None
    try:
        return Path(os.path.relpath(path.resolve(), home.resolve())).as_posix()
    except ValueError:  # Another drive of Windows: no relative link leads there.
        return None


def _summarise_system(system: ScoredSystem, home: Path, row: str) -> SystemSummary:
    scores = system.scores
    return SystemSummary(
        system=system.name,
        label=label_of(system.name),
        fingerprint=scores.model_fingerprint,
        predictions=link_to(system.file, home),
        metrics=scores.metrics,
        layers=scores.layers,
        chosen_layer=scores.chosen_layer,
        layer_weights=scores.layer_weights,
        history=scores.history,
        chosen=scores.selected,
        cost=scores.cost,
        seconds_taken=finite(scores.seconds_taken),
        row=row,
    )


def _verdict(model: ScoredSystem, baseline: ScoredSystem, main: str, pairs: SystemPairs) -> BaselineVerdict:
    ours, theirs = model.score_of(main), baseline.score_of(main)
    if finite(ours.value) is None or finite(theirs.value) is None:
        found = PairedComparison("model", None, None, None, None, 0, None, None, None)
    else:
        found = pairs.compare(model, baseline, main)
    label = label_of(baseline.name)
    return BaselineVerdict(
        baseline=baseline.name,
        label=label,
        difference=found.difference,
        low=found.low,
        high=found.high,
        clips=found.clips,
        over=found.over,
        better=found.better,
        decided=bool(found.apart),
        text=verdict_sentence(main, ours, theirs, label, found),
    )


def make_grid(scores: ProbeScores) -> RunGrid | None:
    """Put the validation scores of all runs into a grid of layers and learning rates.

    None where there are fewer than two cells. Older results have no ``runs``.
    """
    layers = sorted({_layer(run) for run in scores.runs}, key=lambda one: (isinstance(one, str), one))
    lrs = sorted({run.lr for run in scores.runs})
    if len(layers) * len(lrs) < 2:
        return None
    ways = [bool(one.whiten) for one in scores.selected]
    cells: dict[tuple[float, int | str], list[TrainedRun]] = {}
    for run in scores.runs:
        fold = run.fold or 0
        # Where layers are asked both standardised and whitened, the grid is of the way that was chosen.
        if fold < len(ways) and run.whiten != ways[fold]:
            continue
        cells.setdefault((run.lr, _layer(run)), []).append(run)
    diverged = [[sum(run.diverged for run in cells.get((lr, one), ())) for one in layers] for lr in lrs]
    return RunGrid(
        layers=tuple(layers),
        lrs=tuple(lrs),
        valid=tuple(tuple(_mean(cells.get((lr, layer), ())) for layer in layers) for lr in lrs),
        diverged=tuple(map(tuple, diverged)),
        seeds=len({run.seed for run in scores.runs}),
        folds=len({run.fold for run in scores.runs if run.fold is not None}),
        chosen=tuple(
            (lrs.index(one.lr), layers.index(_layer(one)))
            for one in scores.selected
            if one.lr is not None and one.lr in lrs and _layer(one) in layers
        ),
    )


def _layer(run: TrainedRun | SelectedRun) -> int | str:
    return "mix" if run.layer is None else run.layer


def _mean(runs: Sequence[TrainedRun]) -> float | None:
    values = [value for run in runs if not run.diverged and (value := finite(run.valid)) is not None]
    return sum(values) / len(values) if values else None


_BINS = 24


def count_trials(rows: Sequence[TrialRow]) -> TrialHistogram | None:
    """Count the scores of same and different pairs in bins; None where one kind is missing."""
    rows = [row for row in rows if np.isfinite(row.score)]
    scores = np.array([row.score for row in rows], np.float64)
    same = np.array([row.same for row in rows])
    if not rows or same.all() or not same.any():
        return None
    edges = np.histogram_bin_edges(scores, _BINS)
    rate, threshold = equal_error(scores, same)
    ours, theirs = ((np.histogram(scores[kind], edges)[0] / kind.sum()).round(5).tolist() for kind in (same, ~same))
    return TrialHistogram(
        edges=tuple(edges.round(6).tolist()),
        same=tuple(ours),
        different=tuple(theirs),
        n_same=int(same.sum()),
        n_different=int((~same).sum()),
        eer=round(rate, 4),
        threshold=round(threshold, 6),
    )


_MOST_POINTS = 400
_MOST_VALUES = 4


def pair_values(rows: Sequence[JsonObject], names: Sequence[str], metrics: Collection[str]) -> tuple[ValuePairs, ...]:
    """Pair references with answers, for the first four numbers.

    Parameters
    ----------
    rows
        Predictions whose ``reference`` and ``hypothesis`` are lists of numbers, as many each time.
    names
        Of the numbers.
    metrics
        Names of the probe's metrics; only probes with ``r2`` ask for values (lists of times are numbers, too).
    """
    if "r2" not in metrics or not rows:
        return ()
    width = len(names) or _width(rows[0].get("reference"))
    kept = [row for row in rows if _width(row.get("reference")) == _width(row.get("hypothesis")) == width]
    out = []
    for place in range(min(width, _MOST_VALUES)):
        pairs = [(row["reference"][place], row["hypothesis"][place]) for row in kept]
        points = [(float(f"{x:.5g}"), float(f"{y:.5g}")) for x, y in pairs if is_number(x) and is_number(y)]
        if len(points) > 1:
            step = max(1.0, len(points) / _MOST_POINTS)
            spread = [points[int(index * step)] for index in range(min(len(points), _MOST_POINTS))]
            name = names[place] if place < len(names) else f"value {place + 1}"
            out.append(ValuePairs(name, tuple(spread), len(points)))
    return tuple(out)


def _width(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
