"""Scores of predictions with intervals over speakers, tracks or a column of the probe.

Trials of verification: pairs of test clips, the cosine of their vectors, and whether they are the same speaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audio_ssl.artifacts.result import MetricResult
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.families.ranking import Rankings
from audio_ssl.metrics.families.verification import SpeakerTrials
from audio_ssl.metrics.metric import AdditiveMetric, RankingMetric, TrialMetric
from audio_ssl.metrics.registry import find_metric, get_metric, metrics_of
from audio_ssl.metrics.resampling import (
    RANKING_REPLICATES,
    Interval,
    bootstrap,
    bootstrap_sums,
    choose_clusters,
    cluster_sums,
)
from audio_ssl.probing.task import Answer, PairTask, Task

Scored = AdditiveMetric | RankingMetric | TrialMetric
"""Metrics of a head's predictions."""


def metric_of(task: Task, name: str) -> Scored:
    """Return one of a task's metrics, for its classes and its tokeniser."""
    known = find_metric(name)
    if isinstance(known, RankingMetric | TrialMetric):
        return known
    return get_metric(name, task.classes, task.tokenizer)


def main_metric(task: Task) -> Scored:
    """Return the metric that selects layers, learning rates and when to stop."""
    return metric_of(task, task.metrics[0])


def measured_by(task: Task) -> list[Scored]:
    """Return the metrics of a task's results: those that it names, then those that name it."""
    return [metric_of(task, name) for name in dict.fromkeys([*task.metrics, *metrics_of(task.kind)])]


def score_main(task: Task, clips: Sequence[Clip], predictions: Sequence[Tensor]) -> float:
    """Return the task's main metric; NaN counts as the worst."""
    metric = main_metric(task)
    if isinstance(metric, RankingMetric):
        value = float(_rankings(task, clips, predictions).macro(metric)[0])
    elif isinstance(metric, TrialMetric):
        value = trial_value(metric, score_trials(task, clips, predictions))
    else:
        value = float(metric.score(statistics_of(task, metric, clips, predictions).sum(0)))
    if value != value:
        return -np.inf if metric.higher_is_better else np.inf
    return value


def score_test(
    task: Task, clips: Sequence[Clip], predictions: Sequence[Tensor], cluster: str | None = None
) -> tuple[dict[str, MetricResult], str, list[str]]:
    """Return the scores of every metric, what the intervals are over, and what was left out of a mean.

    Clips of one value of the column `cluster` are drawn together; None: those of one speaker, else of one track.
    """
    rows = [clip.row() for clip in clips]
    chosen = choose_clusters([clip.id for clip in clips], lambda name: [row.get(name) for row in rows], cluster)
    clusters = chosen.names
    unit = f"{chosen.noun}s" + (f" (only {chosen.few})" if chosen.few else "")
    scores: dict[str, MetricResult] = {}
    notes: list[str] = []
    # Decoding of frames and scoring of trials are slow, so both are done once for all metrics.
    metrics = measured_by(task)
    additive = any(isinstance(metric, AdditiveMetric) for metric in metrics)
    pairs = pairs_of(task, clips, predictions) if additive else []
    trials = score_trials(task, clips, predictions) if task.output == "embedding" else None
    ranked = any(isinstance(metric, RankingMetric) for metric in metrics)
    rankings = _rankings(task, clips, predictions, clusters) if ranked else None
    for metric in metrics:
        if isinstance(metric, RankingMetric):
            assert rankings is not None
            interval = _ranking_interval(rankings, metric, len(set(clusters)))
            left_out = rankings.excluded.items()
            notes += [f"{metric.name}: tag `{tag}` left out, {why} in the test clips" for tag, why in left_out]
        elif isinstance(metric, TrialMetric):
            assert trials is not None, f"{metric.name} is of tasks whose heads give a vector to compare"
            interval, unit = trial_interval(metric, trials, clips)
        else:
            sums, _ = cluster_sums(statistics_of(task, metric, clips, predictions, pairs), clusters)
            interval = bootstrap_sums(sums, metric.score)
        scores[metric.name] = MetricResult(*interval, metric.higher_is_better, metric.unit)
    return scores, unit, notes


def pairs_of(task: Task, clips: Sequence[Clip], predictions: Sequence[Tensor]) -> list[tuple[Answer, Answer]]:
    """Return reference and hypothesis of some clips."""
    pairs = zip(clips, predictions, strict=True)
    return [(task.reference(clip), task.hypothesis(prediction)) for clip, prediction in pairs]


def statistics_of(
    task: Task,
    metric: AdditiveMetric,
    clips: Sequence[Clip],
    predictions: Sequence[Tensor],
    pairs: Sequence[tuple[Answer, Answer]] | None = None,
) -> npt.NDArray[np.float64]:
    """Return a metric's statistics ``[clip, column]``: of activations where the task has them, else of the answers.

    Parameters
    ----------
    task, metric, clips, predictions
        Whose statistics.
    pairs
        Of `pairs_of`, where they have been made already.
    """
    found = [task.statistics(metric.name, *pair) for pair in zip(clips, predictions, strict=True)]
    rows = [row for row in found if row is not None]
    if rows:
        return np.stack(rows)
    return metric.statistics(pairs_of(task, clips, predictions) if pairs is None else pairs)


def _rankings(
    task: Task, clips: Sequence[Clip], predictions: Sequence[Tensor], clusters: Sequence[str] | None = None
) -> Rankings:
    """Return how the clips are ranked by each tag, grouped by cluster."""
    labels = torch.stack([task.target(clip) for clip in clips]).numpy() > 0
    scores = torch.stack(list(predictions)).double().numpy()
    groups = None if clusters is None else np.unique(clusters, return_inverse=True)[1]
    return Rankings(labels, scores, task.classes, groups)


def _ranking_interval(rankings: Rankings, metric: RankingMetric, clusters: int) -> Interval:
    return bootstrap(lambda counts: rankings.macro(metric, counts), clusters, RANKING_REPLICATES, width=rankings.width)


Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoredTrials:
    """Scored pairs of clips."""

    first: list[int]
    """Positions of clips."""
    second: list[int]
    """Of the clips they are compared with."""
    scores: Array
    """Cosines."""
    same: npt.NDArray[np.bool_]
    """Whether they are the same."""


def score_trials(task: Task, clips: Sequence[Clip], vectors: Sequence[Tensor]) -> ScoredTrials:
    """Return the trials of some clips.

    Raises
    ------
    UserError
        If there is no pair of the same, or none of different speakers.
    """
    pairs = cast(PairTask, task).trials(clips)
    same = np.array([one for *_, one in pairs], dtype=bool)
    if not same.any() or same.all():
        raise UserError(f"{int(same.sum())} of {len(pairs)} trials are of the same speaker: both kinds are needed")
    first, second = [i for i, _, _ in pairs], [j for _, j, _ in pairs]
    unit = torch.nn.functional.normalize(torch.stack(list(vectors)).double(), dim=1)
    cosines = (unit[first] * unit[second]).sum(1)
    return ScoredTrials(first, second, cosines.numpy(), same)


def trial_value(metric: TrialMetric, trials: ScoredTrials) -> float:
    """Return a metric of unweighted trials."""
    # All trials belong to one speaker with the weight 1.
    nobody = np.zeros(len(trials.scores), np.intp)
    once = SpeakerTrials(trials.scores, trials.same, nobody, nobody)
    return float(once.resampled(metric, np.ones((1, 1)))[0])


def trial_interval(metric: TrialMetric, trials: ScoredTrials, clips: Sequence[Clip]) -> tuple[Interval, str]:
    """Return a metric with its interval by resampling speakers; a pair's weight is the product of its speakers' counts.

    The weight of a same-speaker pair is the speaker's count, not its square. Clips without speakers are resampled
    themselves.
    """
    known = all(clip.speaker is not None for clip in clips)
    names, index = np.unique([str(clip.speaker) if known else clip.id for clip in clips], return_inverse=True)
    curves = SpeakerTrials(trials.scores, trials.same, index[trials.first], index[trials.second])
    return bootstrap(lambda counts: curves.resampled(metric, counts), len(names)), "speakers" if known else "clips"
