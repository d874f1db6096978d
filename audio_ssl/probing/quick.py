"""Scores of many runs at once on the validation clips, where a task's main metric is a function of arrays.

They select layers, learning rates and when to stop. Reported scores come from `audio_ssl.probing.score`; tests compare
the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.families.ranking import Rankings
from audio_ssl.metrics.metric import AdditiveMetric, RankingMetric
from audio_ssl.probing.features import LayerBatch
from audio_ssl.probing.layer_heads import HeadTeam
from audio_ssl.probing.score import main_metric, score_main, statistics_of
from audio_ssl.probing.task import Task

ONCE_A_CLIP = ("class", "tags", "values")
"""Tasks whose heads give a row of numbers for a clip."""

_MOST_POINTS = 64
"""Largest number of classes for a table of the statistics of each pair of classes."""


class ValidationScorer:
    """Scores predictions of some clips.

    Parameters
    ----------
    task
        Whose main metric counts.
    clips
        What is predicted, in order.
    targets
        Of the clips.

    Raises
    ------
    UserError
        If the clips cannot rank the heads: numbers that are all the same, tags that all clips or none have.
    """

    def __init__(self, task: Task, clips: Sequence[Clip], targets: Sequence[Tensor]) -> None:
        self.task, self.clips = task, list(clips)
        self._metric = main_metric(task)
        self._higher = self._metric.higher_is_better
        self._targets = torch.stack(list(targets)) if task.output in ONCE_A_CLIP else torch.zeros(0)
        self._points = _points(task) if task.output == "class" else None
        self._additive = self._metric if isinstance(self._metric, AdditiveMetric) else None
        if isinstance(self._metric, RankingMetric) and not _some_have_it(self._targets > 0):
            raise UserError("the validation clips cannot rank the heads: every tag is on all of them or on none")
        of_numbers = self._additive is not None and self._additive.of_numbers is not None
        if of_numbers and bool((self._targets == self._targets[0]).all(0).any()):
            raise UserError("the validation clips cannot rank the heads: one target has the same value in all of them")

    @property
    def higher(self) -> bool:
        """Return whether higher scores are better."""
        return self._higher

    def better(self, value: float, than: float) -> bool:
        """Return whether a score is better than another; NaN is worse than any number."""
        if math.isnan(value):
            return False
        return value > than if self._higher else value < than

    def start(self) -> ValidationTally:
        """Return an empty tally for one team."""
        return ValidationTally(self)

    def condense(self, outputs: Float[Tensor, "run clip class"]) -> Tensor:
        """Return what is kept of the outputs: the likeliest class where that is enough, as there may be thousands."""
        enough = self._points is not None or self.task.metrics[0] == "accuracy"
        return (outputs.argmax(-1) if enough else outputs).cpu()

    def quick(self, outputs: Tensor) -> list[float] | None:
        """Return each run's score of its condensed outputs, or None where the metric is no function of arrays."""
        if self._metric.name == "accuracy":
            return (100.0 * (outputs == self._targets).double().mean(1)).tolist()
        if self._points is not None:
            points, of_points = self._points
            sums = points[self._targets[None], outputs].sum(1)
            return [float(of_points.score(row)) for row in sums.double().numpy()]
        if self._additive is not None and self._additive.of_numbers is not None:
            right, said = (numbers.double().numpy() for numbers in (self._targets, outputs))
            return [float(one) for one in self._additive.score(self._additive.of_numbers(right[None], said).sum(1))]
        if isinstance(self._metric, RankingMetric):
            labels = (self._targets > 0).numpy()
            # Runs with outputs that are not finite are dealt with in `ValidationTally.scores`.
            runs = outputs.nan_to_num().double().numpy()
            return [float(Rankings(labels, run, self.task.classes).macro(self._metric)[0]) for run in runs]
        return None

    def sums(self, predictions: Sequence[Tensor], first: int) -> npt.NDArray[np.float64] | None:
        """Return summed statistics of the clips from number `first` on; None where the metric does not use sums."""
        if self._additive is None:
            return None
        clips = self.clips[first : first + len(predictions)]
        return cast(npt.NDArray[np.float64], statistics_of(self.task, self._additive, clips, predictions).sum(0))

    def of_sums(self, sums: npt.NDArray[np.float64]) -> float:
        """Return the score of summed statistics; an undefined score counts as the worst."""
        metric = cast(AdditiveMetric, self._additive)
        value = float(metric.score(sums))
        return value if value == value else -math.inf if metric.higher_is_better else math.inf

    def slow(self, predictions: Sequence[Tensor]) -> float:
        """Return the score of predictions."""
        return score_main(self.task, self.clips, predictions)


class ValidationTally:
    """Collects a team's outputs of the clips, batch by batch."""

    def __init__(self, scorer: ValidationScorer) -> None:
        self._scorer = scorer
        self._outputs: list[Tensor] = []
        self._answers: list[list[Tensor]] = []
        self._sums: list[npt.NDArray[np.float64]] = []
        self._seen = 0
        self._broken: set[int] = set()

    def add(self, team: HeadTeam, layers: LayerBatch) -> None:
        """Add a team's outputs of some clips."""
        arrays = self._scorer.task.output in ONCE_A_CLIP
        outputs = team.outputs(layers) if arrays else None
        answers = [] if outputs is not None else team.answers(layers)
        if outputs is None and arrays:
            outputs = torch.stack([torch.stack(run) for run in answers])
        if outputs is not None:
            self._broken |= _not_finite(outputs)
            self._outputs.append(self._scorer.condense(outputs))
            return
        # Metrics take arrays on the CPU. Sums are kept where possible, as predictions of frames are large.
        answers = [[answer.cpu() for answer in run] for run in answers]
        self._broken |= {row for row, run in enumerate(answers) if any(_not_finite(one[None]) for one in run)}
        # Metrics take finite numbers only; the scores of these runs are not used.
        answers = [[one.nan_to_num() for one in run] if row in self._broken else run for row, run in enumerate(answers)]
        sums = [self._scorer.sums(run, self._seen) for run in answers]
        self._seen += len(answers[0])
        if all(one is not None for one in sums):
            added = cast(list[npt.NDArray[np.float64]], sums)
            self._sums = [old + new for old, new in zip(self._sums, added, strict=True)] if self._sums else added
            return
        self._answers = self._answers or [[] for _ in answers]
        for old, new in zip(self._answers, answers, strict=True):
            old += new

    def scores(self) -> list[float]:
        """Return each run's score; NaN where an output was not finite."""
        return [math.nan if row in self._broken else value for row, value in enumerate(self._found())]

    def _found(self) -> list[float]:
        if self._sums:
            return [self._scorer.of_sums(run) for run in self._sums]
        if self._outputs:
            outputs = torch.cat(self._outputs, dim=1)
            found = self._scorer.quick(outputs)
            return found if found is not None else [self._scorer.slow(list(run)) for run in outputs]
        return [self._scorer.slow(run) for run in self._answers]


def _points(task: Task) -> tuple[Float[Tensor, "class class column"], AdditiveMetric] | None:
    """Return the main metric's statistics by true and predicted class; None where they are not needed or too many."""
    metric, classes = main_metric(task), task.classes
    if not isinstance(metric, AdditiveMetric) or metric.name == "accuracy" or len(classes) > _MOST_POINTS:
        return None
    rows = [metric.statistics([(reference, answer) for answer in classes]) for reference in classes]
    return torch.stack([torch.from_numpy(row) for row in rows]).float(), metric


def _not_finite(outputs: Float[Tensor, "run ..."]) -> set[int]:
    return set((~outputs.isfinite().flatten(1).all(1)).nonzero()[:, 0].tolist())


def _some_have_it(labels: Bool[Tensor, "clip class"]) -> bool:
    """Return whether some clips have one of the classes and others have not."""
    return bool((labels.any(0) & ~labels.all(0)).any())
