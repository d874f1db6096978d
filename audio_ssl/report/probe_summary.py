"""What a report shows of one probe's result: the model beside its baselines, what their difference says, single clips.

The runs of a probe's heads, one for each layer, learning rate and seed, are a grid of validation scores. Verification
has a histogram of the scores of same and different pairs. Tasks that ask for numbers have reference and answer of each
clip, number by number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audio_ssl.base.documents import JsonObject
from audio_ssl.metrics.families.verification import equal_error
from audio_ssl.report.clips import ConfusedPair, Confusion, RankedClip, confused_pairs, confusion, examples
from audio_ssl.report.inputs import MetricScore, Result, ScoredSystem
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
    metrics: Mapping[str, MetricScore]
    layers: Sequence[JsonObject]
    chosen_layer: int | None
    layer_weights: Sequence[float] | None
    history: Sequence[JsonObject]
    chosen: Sequence[JsonObject]
    cost: JsonObject
    seconds_taken: float | None
    row: str = ""
    """Its name beside the systems of other results."""

    def score_of(self, metric: str) -> MetricScore:
        """Return one of the scores; an undefined one where the system does not have it."""
        return self.metrics.get(metric, MetricScore())


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
    counts: JsonObject = field(default_factory=dict)
    excluded: Sequence[JsonObject | str] = ()
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
    provenance: JsonObject = field(default_factory=dict)
    model_label: str = ""
    """The model's name beside the other models."""
    title: str = ""
    """Name of the result on the page."""

    @property
    def main(self) -> MetricScore:
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
    scores = result.model.scores
    model, task = result.model, scores.get("task")
    said = (model.predictions, task, model.classes)
    main = str(scores.get("main_metric") or next(iter(scores["metrics"]), ""))
    metric = model.score_of(main)
    order = sorted(result.baselines, key=lambda one: (one.name != "untrained", one.name != "logmel", one.name))
    names = {one.name: label_of(one.name) for one in (model, *order)} if rows is None else rows
    name = str(scores.get("probe") or result.path.name)
    return ProbeSummary(
        name=name,
        path=relative(result.path, home),
        task=task,
        model=scores.get("model"),
        model_fingerprint=scores.get("model_fingerprint"),
        main_metric=main,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        systems=tuple(_summarise_system(one, home, names[one.name]) for one in (model, *order)),
        verdicts=tuple(_verdict(model, one, main, pairs) for one in order),
        counts=scores.get("counts") or {},
        excluded=scores.get("excluded") or (),
        errors=count_reasons(result.errors),
        signature=scores.get("signature"),
        decoder=scores.get("decoder"),
        folds=scores.get("folds") or 0,
        warnings=tuple(str(one) for one in scores.get("warnings") or ()),
        grid=make_grid(scores),
        confusion=confusion(*said),
        confused_pairs=confused_pairs(*said),
        values=pair_values(model.predictions, model.classes, scores["metrics"]),
        trials=count_trials(model.trials),
        examples=examples(model.predictions, main, task, model.classes),
        provenance=result.provenance,
        model_label=names["model"],
        title=title or name,
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
    cost = scores.get("cost")
    return SystemSummary(
        system=system.name,
        label=label_of(system.name),
        fingerprint=scores.get("model_fingerprint"),
        predictions=link_to(system.file, home),
        metrics={name: system.score_of(name) for name in scores["metrics"]},
        layers=scores.get("layers") or (),
        chosen_layer=scores.get("chosen_layer"),
        layer_weights=scores.get("layer_weights"),
        history=scores.get("history") or (),
        chosen=chosen_runs(scores),
        cost=cost if isinstance(cost, dict) else {},
        seconds_taken=finite(scores.get("seconds_taken")),
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


def make_grid(scores: JsonObject) -> RunGrid | None:
    """Put the validation scores of all runs into a grid of layers and learning rates.

    None where there are fewer than two cells. Older results have no ``runs``.
    """
    runs = [run for run in scores.get("runs") or () if isinstance(run, Mapping) and finite(run.get("lr")) is not None]
    layers = sorted({_layer(run) for run in runs}, key=lambda one: (isinstance(one, str), one))
    lrs = sorted({float(run["lr"]) for run in runs})
    if len(layers) * len(lrs) < 2:
        return None
    ways = [one.get("whiten", False) for one in chosen_runs(scores)]
    cells: dict[tuple[float, Any], list[Mapping[str, Any]]] = {}
    for run in runs:
        fold = run.get("fold") or 0
        # Where layers are asked both standardised and whitened, the grid is of the way that was chosen.
        if fold < len(ways) and run.get("whiten", False) is not ways[fold]:
            continue
        cells.setdefault((float(run["lr"]), _layer(run)), []).append(run)
    diverged = [[sum(bool(r.get("diverged")) for r in cells.get((lr, one), ())) for one in layers] for lr in lrs]
    return RunGrid(
        layers=tuple(layers),
        lrs=tuple(lrs),
        valid=tuple(tuple(_mean(cells.get((lr, layer), ())) for layer in layers) for lr in lrs),
        diverged=tuple(map(tuple, diverged)),
        seeds=len({run.get("seed") for run in runs}),
        folds=len({run["fold"] for run in runs if run.get("fold") is not None}),
        chosen=tuple(
            (lrs.index(float(one["lr"])), layers.index(_layer(one)))
            for one in chosen_runs(scores)
            if finite(one.get("lr")) in lrs and _layer(one) in layers
        ),
    )


def chosen_runs(scores: JsonObject) -> list[JsonObject]:
    """Return what was chosen: one ``{layer, lr, seed}``, or one a fold; nothing of older results."""
    chosen = scores.get("chosen")
    rows = chosen if isinstance(chosen, list) else [chosen]
    return [row for row in rows if isinstance(row, dict)]


def _layer(run: Mapping[str, Any]) -> Any:
    layer = finite(run.get("layer"))
    return "mix" if layer is None else int(layer)


def _mean(runs: Sequence[Mapping[str, Any]]) -> float | None:
    values = [value for run in runs if not run.get("diverged") and (value := finite(run.get("valid"))) is not None]
    return sum(values) / len(values) if values else None


_BINS = 24


def count_trials(rows: Sequence[Mapping[str, Any]]) -> TrialHistogram | None:
    """Count the scores of same and different pairs (``same, score``) in bins; None where one kind is missing."""
    rows = [row for row in rows if isinstance(row.get("score"), int | float) and np.isfinite(row["score"])]
    scores = np.array([row["score"] for row in rows], np.float64)
    same = np.array([bool(row["same"]) for row in rows])
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


def pair_values(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], metrics: Mapping[str, Any]
) -> tuple[ValuePairs, ...]:
    """Pair references with answers, for the first four numbers.

    Parameters
    ----------
    rows
        Predictions whose ``reference`` and ``hypothesis`` are lists of numbers, as many each time.
    names
        Of the numbers.
    metrics
        The probe's scores; only probes with ``r2`` ask for values (lists of times are numbers, too).
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


def _width(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0
