"""Trials of verification: pairs of test clips, the cosine of their vectors, and whether they are the same speaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.metrics.resampling import Interval, bootstrap
from audio_ssl.metrics.verification import SpeakerTrials, eer, min_dcf
from audio_ssl.probing.tasks._base import PairTask, Task

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


def trial_value(metric: str, trials: ScoredTrials) -> float:
    """Return ``eer`` in percent or ``min_dcf``."""
    return _value(metric, trials.scores, trials.same)


def trial_interval(metric: str, trials: ScoredTrials, clips: Sequence[Clip]) -> tuple[Interval, str]:
    """Return a metric with its interval, by drawing speakers; a pair counts as often as both its speakers together.

    A pair of the same speaker counts as often as that speaker. Clips without speakers are drawn themselves.
    """
    known = all(clip.speaker is not None for clip in clips)
    names, index = np.unique([str(clip.speaker) if known else clip.id for clip in clips], return_inverse=True)
    curves = SpeakerTrials(trials.scores, trials.same, index[trials.first], index[trials.second])
    return bootstrap(lambda counts: curves.resampled(metric, counts), len(names)), "speakers" if known else "clips"


def _value(metric: str, scores: Array, same: npt.NDArray[np.bool_]) -> float:
    return eer(scores, same) if metric == "eer" else min_dcf(scores, same)
