"""The head for new files of a probe in folds: one more training, on all clips.

Folds give a score for every clip, and a head each that has not seen some of them. For new files there is no reason to
leave clips out, so one more head is trained on all. Layer, rate and whitening are those with the best mean over the
folds' validation scores; nothing is left to stop it early, so it takes as many updates as the folds' best heads did on
average, with the same schedule; a rate that follows the validation clips falls as it did in the folds on average. No
score is of it, and the folds' scores stay as they are.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from audio_ssl.artifacts.result import FinalHead
from audio_ssl.base.config import build
from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource
from audio_ssl.probing.clips import evenly
from audio_ssl.probing.features import BankCache, Refuse
from audio_ssl.probing.head import Decoder
from audio_ssl.probing.layer_heads import HeadRun, LayerHead, LayerStatistics, State, form_teams
from audio_ssl.probing.live import TunedBank
from audio_ssl.probing.probe import HeadTraining, Probe
from audio_ssl.probing.quick import ONCE_A_CLIP
from audio_ssl.probing.score import main_metric
from audio_ssl.probing.sweep import Outcome, SystemTraining, choose_run, fitting, make_head, open_bank
from audio_ssl.probing.task import Task
from audio_ssl.probing.train import Examples, HeadCourse, TrainedHead, averaged


@dataclass(frozen=True)
class FinalOutcome:
    """The head for new files."""

    record: FinalHead
    system: LayerHead
    """The head with the layer mix."""
    tuned: TunedBank | None
    """Its model, where that was fine-tuned."""
    files: dict[str, bytes]
    """Files of the search, name to content."""


def train_final(
    question: Probe,
    task: Task,
    source: FeatureSource,
    outcomes: Sequence[Outcome],
    folder: Path,
    cache: BankCache,
    refuse: Refuse,
) -> FinalOutcome:
    """Train the head for new files of a probe in folds.

    Parameters
    ----------
    question, task, source, folder, cache, refuse
        As of `sweep`.
    outcomes
        Of the folds.

    Raises
    ------
    UserError
        If its weights become NaN or infinite.
    """
    started = time.monotonic()
    clips = evenly([clip for one in outcomes for clip in one.parts["test"]], question.data.max_train_clips)
    head = make_head(question, source, task)
    pooled = not head.needs_frames and task.output in ONCE_A_CLIP
    bank = open_bank(question, source, pooled, {"train": clips}, folder, cache, refuse)
    heard = [clip for clip in clips if clip in bank]
    train, _ = fitting(task, heard, bank, source, head, question.data.balance)
    fitted = [one for outcome in outcomes for one in outcome.fitted]
    chosen = replace(choose_run(fitted, main_metric(task).higher_is_better).run, seed=question.seeds[0])
    best = [outcome.chosen for outcome in outcomes]
    steps = steps_of(best, question.optim)
    training = SystemTraining(question, task, source, bank)
    training.measure(train.clips, [chosen.whiten])
    own = training.tuned(chosen.seed)
    examples = train if own is None else replace(train, bank=own)
    statistics = training.statistics[chosen.whiten]
    state = _train_to_step(training.make, chosen, statistics, examples, question.optim, steps, best, own)
    system, tuned = training.restore(TrainedHead(chosen, state=state))
    if tuned is not None:
        tuned.model.cpu()
    record = FinalHead(**vars(chosen), steps=steps, clips=len(train.clips), seconds=time.monotonic() - started)
    return FinalOutcome(record, system, tuned, _search_files(question, task, clips))


def steps_of(best: Sequence[TrainedHead], optim: HeadTraining) -> int:
    """Return the updates of the final head: the mean over the folds' best heads, at least one.

    A fold's number is that of the update whose weights were kept; where the last weights are averaged, that of its end.
    """
    found = []
    for one in best:
        kept = [point.step for point in one.history if point.valid == one.valid] if optim.average_last == 1 else []
        found.append(kept[0] if kept else one.steps)
    return max(1, round(sum(found) / len(found)))


def falls_at(best: Sequence[TrainedHead], step: int) -> float:
    """Return how often the rate has fallen at an update, as the mean over the folds' best heads."""
    found = [next((one.falls for one in head.history if one.step >= step), head.history[-1].falls) for head in best]
    return sum(found) / len(found)


def _search_files(question: Probe, task: Task, clips: Sequence[Clip]) -> dict[str, bytes]:
    """Return what the search learns from the transcripts of all clips."""
    if question.decode is None:
        return {}
    decoder = cast(Decoder, build(question.decode))
    decoder.start(task, clips)
    return decoder.files()


def _train_to_step(
    make: Callable[[HeadRun], LayerHead],
    run: HeadRun,
    statistics: LayerStatistics,
    train: Examples,
    optim: HeadTraining,
    steps: int,
    best: Sequence[TrainedHead],
    tuned: TunedBank | None = None,
) -> State:
    """Train one run for a given number of updates, without validation, and return its weights."""
    with torch.random.fork_rng(devices=[]), Progress("final head", total=steps) as progress:
        torch.manual_seed(run.seed)
        teams = form_teams([run], make)
        torch.manual_seed(run.seed)
        course = HeadCourse(teams, statistics, train, train, None, optim, tuned)
        recent: deque[State] = deque(maxlen=optim.average_last)
        for step in range(1, steps + 1):
            course.lower(falls_at(best, step))
            progress.advance(1, loss=course.update(step))
            if step % optim.eval_every == 0 or step == steps:
                recent.append(course.state())
    state = averaged(recent)
    if not all(bool(value.isfinite().all()) for value in state.values() if value.is_floating_point()):
        raise UserError("the weights of the final head became NaN or infinite", remedy="lower optim.lrs")
    return state
