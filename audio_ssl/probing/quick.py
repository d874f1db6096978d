"""Scores of many runs at once on the validation clips, where a task's main metric is a function of arrays.

They choose layers, rates and when to stop. What is reported comes from `audio_ssl.probing.score`, by the original
libraries; tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.additive import AdditiveMetric, get_metric
from audio_ssl.probing.features import Layers
from audio_ssl.probing.score import NOT_ADDITIVE, higher_is_better, main_value
from audio_ssl.probing.tasks._base import Task
from audio_ssl.probing.team import Team

ONCE_A_CLIP = ("class", "tags", "values")
"""Tasks whose heads give a row of numbers for a clip."""

_MOST_POINTS = 64
"""Classes up to which a table of what each answer is worth is kept."""


class Scorer:
    """Scores predictions of some clips.

    Parameters
    ----------
    task
        Whose main metric counts.
    clips
        What is predicted, in order.
    targets
        Of the clips.
    """

    def __init__(self, task: Task, clips: Sequence[Clip], targets: Sequence[Tensor]) -> None:
        self.task, self.clips = task, list(clips)
        self._higher = higher_is_better(task.metrics[0])
        self._targets = torch.stack(list(targets)) if task.output in ONCE_A_CLIP else torch.zeros(0)
        self._points = _points(task) if task.output == "class" else None

    def better(self, value: float, than: float) -> bool:
        """Tell whether a score is better than another; what is no number is worse than any."""
        if math.isnan(value):
            return False
        return value > than if self._higher else value < than

    def start(self) -> Tally:
        """Return an empty tally for one team."""
        return Tally(self)

    def condense(self, outputs: Float[Tensor, "run clip class"]) -> Tensor:
        """Return what is kept of the outputs: the likeliest class where that is enough, as thousands may be asked."""
        enough = self._points is not None or self.task.metrics[0] == "accuracy"
        return (outputs.argmax(-1) if enough else outputs).cpu()

    def quick(self, outputs: Tensor) -> list[float] | None:
        """Return each run's score of its condensed outputs, or None where the metric is no function of arrays."""
        metric = self.task.metrics[0]
        if metric == "accuracy":
            return (100.0 * (outputs == self._targets).double().mean(1)).tolist()
        if self._points is not None:
            points, metric_of = self._points
            sums = points[self._targets[None], outputs].sum(1)
            return [float(metric_of.score(row)) for row in sums.double().numpy()]
        if metric == "r2":
            return r_squared(self._targets, outputs).mean(-1).tolist()
        if metric in ("roc_auc", "average_precision"):
            function = roc_auc if metric == "roc_auc" else average_precision
            return function(self._targets > 0, outputs).tolist()
        return None

    def slow(self, predictions: Sequence[Tensor]) -> float:
        """Return the score of predictions."""
        return main_value(self.task, self.clips, predictions)


class Tally:
    """Collects what a team says of the clips, batch by batch."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._outputs: list[Tensor] = []
        self._answers: list[list[Tensor]] = []

    def add(self, team: Team, layers: Layers) -> None:
        """Ask a team about some clips."""
        arrays = self._scorer.task.output in ONCE_A_CLIP
        outputs = team.outputs(layers) if arrays else None
        answers = [] if outputs is not None else team.answers(layers)
        if outputs is None and arrays:
            outputs = torch.stack([torch.stack(run) for run in answers])
        if outputs is not None:
            self._outputs.append(self._scorer.condense(outputs))
            return
        self._answers = [old + new for old, new in zip(self._answers or [[] for _ in answers], answers, strict=True)]

    def scores(self) -> list[float]:
        """Return each run's score."""
        if self._outputs:
            outputs = torch.cat(self._outputs, dim=1)
            found = self._scorer.quick(outputs)
            return found if found is not None else [self._scorer.slow(list(run)) for run in outputs]
        return [self._scorer.slow(run) for run in self._answers]


def _points(task: Task) -> tuple[Float[Tensor, "class class column"], AdditiveMetric] | None:
    """Return what an answer is worth, by the class that is right and the one that was given."""
    name, classes = task.metrics[0], task.classes
    if name in (*NOT_ADDITIVE, "accuracy") or len(classes) > _MOST_POINTS:
        return None
    metric = get_metric(name, classes)
    rows = [metric.statistics([(reference, answer) for answer in classes]) for reference in classes]
    return torch.stack([torch.from_numpy(row) for row in rows]).float(), metric


def r_squared(
    targets: Float[Tensor, "clip value"], outputs: Float[Tensor, "run clip value"]
) -> Float[Tensor, "run value"]:
    """Return the coefficient of determination, in percent."""
    residual = (outputs.double() - targets).square().sum(1)
    spread = (targets.double() - targets.double().mean(0)).square().sum(0)
    return 100.0 * (1.0 - residual / spread)


def roc_auc(labels: Bool[Tensor, "clip class"], outputs: Float[Tensor, "run clip class"]) -> Float[Tensor, " run"]:
    """Return the macro ROC-AUC in percent: the share of pairs in the right order, ties by half (Mann and Whitney)."""
    values = []
    for column in _usable(labels):
        scores = outputs[..., column].contiguous()
        ordered = scores.sort(dim=1).values
        left = torch.searchsorted(ordered, scores)
        right = torch.searchsorted(ordered, scores, right=True)
        ranks = (left + right + 1).double() / 2
        positive = labels[:, column]
        count = int(positive.sum())
        wins = ranks[:, positive].sum(1) - count * (count + 1) / 2
        values.append(wins / (count * (len(labels) - count)))
    return 100.0 * torch.stack(values).mean(0) if values else torch.full((len(outputs),), math.nan)


def average_precision(
    labels: Bool[Tensor, "clip class"], outputs: Float[Tensor, "run clip class"]
) -> Float[Tensor, " run"]:
    """Return the macro average precision in percent: the mean over positive clips of the precision at their score."""
    values = []
    for column in _usable(labels):
        scores = outputs[..., column].contiguous()
        positive = scores[:, labels[:, column]].contiguous()
        found = [
            (group.shape[1] - torch.searchsorted(group.sort(dim=1).values, positive)).double()
            for group in (positive, scores)
        ]
        values.append((found[0] / found[1]).mean(1))
    return 100.0 * torch.stack(values).mean(0) if values else torch.full((len(outputs),), math.nan)


def _usable(labels: Bool[Tensor, "clip class"]) -> Int[Tensor, " usable"]:
    count = labels.sum(0)
    return ((count > 0) & (count < len(labels))).nonzero()[:, 0]
