"""The training loop, the same for every kind: load, accumulate, update, validate, save."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audio_ssl.data.loader import Batch, EndOfUpdate, Loader, LoaderSetup, Position, nothing_usable
from audio_ssl.errors import StoppedBySignal, UserError
from audio_ssl.pretrain.checkpoint import (
    State,
    best_checkpoint,
    load_checkpoint,
    newest_whole,
    read_state,
    save_checkpoint,
)
from audio_ssl.pretrain.guards import Watch
from audio_ssl.pretrain.learner import Training
from audio_ssl.pretrain.log import MetricsLog, NoLog
from audio_ssl.pretrain.parallel import ALONE, Team
from audio_ssl.pretrain.profile import profiled
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.replicas import blocks, make_whole
from audio_ssl.pretrain.stop import TIME_IS_UP, StopRequest
from audio_ssl.pretrain.update import Applied, Updater
from audio_ssl.progress import Progress

logger = logging.getLogger(__name__)

_SPEED_UPDATES = 20
"""Updates that the speed is shown of."""


@dataclass(frozen=True)
class TrainingJob:
    """One uninterrupted stretch of training: a whole run, or one of its iterations."""

    name: str
    """Shown beside the progress bar."""
    recipe: Recipe
    steps: int
    """Updates of this stretch."""
    training: Training
    train: LoaderSetup
    valid: LoaderSetup | None
    state_folder: Path
    """Checkpoints go here; training goes on from the newest."""
    log_folder: Path
    """``metrics.jsonl`` and ``tensorboard/`` go here."""
    step_offset: int = 0
    """Steps of earlier iterations in the same log."""
    row_extra: Mapping[str, Any] = field(default_factory=dict)
    """Put into every row of metrics."""
    deadline: float | None = None
    """By `time.monotonic`, when training ends after the update in work; None: never."""


def train(job: TrainingJob, team: Team = ALONE) -> int:
    """Train until `job.steps`, from the newest checkpoint if there is one; every process of the team calls it.

    At the end the learner holds plain weights, the average where the recipe asks for it, ready to be saved.

    Returns
    -------
    The updates that are done: `job.steps`, or fewer where the time was over first.

    Raises
    ------
    StoppedBySignal
        After the state was saved, when SIGTERM, SIGUSR1 or Ctrl-C asked any process for a stop.
    UserError
        If nothing can be read, the loss stays without a finite value, or a guard stops the run.
    """
    device = team.device(choose_device(job.recipe.device).type)
    learner = job.training.learner.to(device)
    if job.recipe.compile:
        compile_blocks(learner)
    updater = Updater(learner, job.recipe, job.steps, device, team)
    state = State(job.recipe.seed, epoch=0, position=0, step=0)
    found: Path | None = None
    with team.together():
        if team.leads:
            found = newest_whole(job.state_folder)
    # All go on from the checkpoint that the leader sees.
    newest = team.gather_text(found.name if found else "")[0]
    if newest:
        state = load_checkpoint(job.state_folder / newest, learner, updater.optimizer, updater.average)
        logger.info("%s: going on after step %d", job.name, state.step)
    done = state.step
    if done < job.steps:
        done = _train_from(job, updater, state, team)
    if updater.average is not None:
        updater.average.put_into_module()
    make_whole(learner)
    return done


def _train_from(job: TrainingJob, updater: Updater, state: State, team: Team) -> int:
    start = Position(state.epoch, state.position)
    with (
        StopRequest(job.deadline) as stop,
        open_log(job, state, team) as log,
        Progress(job.name, job.steps, initial=state.step, silent=not team.leads) as bar,
        Loader(job.train, start, None, team.rank, team.world_size) as loader,
        profiled(job.recipe.profile if team.leads else None, job.log_folder / "profile") as profiled_update,
    ):
        run = _LoopState(job, updater, state, log, bar, team)
        for item, asked in agreed(loader, team, stop):
            if isinstance(item, Batch):
                updater.add(item, run.state.step)
                continue
            run.finish_update(item.then, stopping=asked != 0)
            profiled_update()
            if run.state.step >= job.steps or asked == TIME_IS_UP:
                break
            if asked:
                raise team.own(stopped_by(asked, run.state.step, job))
        return run.state.step


def stopped_by(number: int, step: int, job: TrainingJob) -> StoppedBySignal:
    """Return what ends a job that a signal has stopped after a step."""
    where = f"step {step} of {job.steps} is saved in {job.state_folder}"
    name = signal.Signals(number).name
    return StoppedBySignal(f"{name} received; {where}. Run the command again with --resume to go on")


def open_log(job: TrainingJob, state: State, team: Team) -> MetricsLog | NoLog:
    """Return the log of a job that goes on from `state`; the leader's alone writes.

    Raises
    ------
    UserError
        In all processes, if the leader cannot open it.
    """
    log: MetricsLog | NoLog = NoLog()
    with team.together():
        if team.leads:
            log = MetricsLog(job.log_folder, state.step, job.step_offset, job.row_extra, job.recipe.wandb)
    return log


def agreed(
    items: Iterable[Batch | EndOfUpdate], team: Team, stop: StopRequest | None = None
) -> Iterator[tuple[Batch | EndOfUpdate, int]]:
    """Yield each item with what asks any process for a stop (`StopRequest.asked`), when all have come to it.

    An error of one loader ends all processes here, before they meet in the item's collectives.

    Raises
    ------
    UserError
        If a loader fails, or the processes do not read the same.
    """
    iterator = iter(items)
    while True:
        item: Batch | EndOfUpdate | None = None
        error: UserError | None = None
        try:
            item = next(iterator, None)
        except UserError as raised:
            if team.world_size == 1:
                raise
            error = raised
        if team.world_size > 1:
            kind = {Batch: 1, EndOfUpdate: 2}.get(type(item), 0)
            mine = stop.asked() if stop else 0
            failed, most, least, asked = team.most([int(error is not None), kind, -kind, mine])
            if failed:
                team.agree(error)
            if most != -least:
                raise team.own(
                    UserError(
                        "the processes do not find the same clips", remedy="see that all of them read the same files"
                    )
                )
        else:
            asked = stop.asked() if stop else 0
        if item is None:
            return
        yield item, asked


def advance(state: State, then: Position, done: Applied) -> State:
    """Return the state after an update, from where it goes on."""
    if not done.changed:
        logger.warning("step %d: loss or gradient is not finite; update skipped", state.step + 1)
    return dataclasses.replace(
        state,
        epoch=then.epoch,
        position=then.update,
        step=state.step + 1,
        skipped_steps=state.skipped_steps + (not done.changed),
        skipped_in_a_row=0 if done.changed else state.skipped_in_a_row + 1,
        audio_seconds=state.audio_seconds + done.seconds,
        valid_loss=None,
    )


def row_of(state: State, done: Applied, seconds: float) -> dict[str, float]:
    """Return the row of metrics of an update that took `seconds` and led to `state`."""
    return {
        **done.row,
        "audio_seconds_per_second": done.seconds / max(1e-9, seconds),
        "audio_seconds": state.audio_seconds,
        "epoch": state.epoch,
        "skipped_steps": state.skipped_steps,
    }


class Speed:
    """Audio seconds a second over the last updates, for the progress shown; the first ones of a run are slow."""

    def __init__(self) -> None:
        self._updates: deque[tuple[float, float]] = deque(maxlen=_SPEED_UPDATES)

    def over(self, audio_seconds: float, seconds: float) -> str:
        """Return the speed after one more update, in words."""
        self._updates.append((audio_seconds, seconds))
        audio, spent = (sum(values) for values in zip(*self._updates, strict=True))
        return f"{audio / max(1e-9, spent):.3g} s of audio a second"


def validation_due(job: TrainingJob, step: int) -> bool:
    """Return whether a job validates after a step."""
    return job.valid is not None and (step % job.recipe.checkpoint.valid_every == 0 or step == job.steps)


def validate(job: TrainingJob, updater: Updater, team: Team) -> dict[str, float]:
    """Return the metrics of the validation clips."""
    assert job.valid is not None, "asked by `validation_due`"
    with Loader(job.valid, Position(0, 0), 1, team.rank, team.world_size) as loader:
        return updater.validate(item for item, _ in agreed(loader, team))


def compile_blocks(learner: nn.Module) -> None:
    """Compile the encoder's blocks, which all share one compilation, or else the encoder.

    Raises
    ------
    UserError
        If the learner has no encoder.
    """
    encoder = getattr(getattr(learner, "model", None), "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise UserError("`compile` is for models with an encoder", where="$.compile", remedy="give compile=false")
    for module in list(blocks(learner)) or [encoder]:
        module.compile()  # type: ignore[no-untyped-call]


def choose_device(name: str) -> torch.device:
    """Return the device a recipe asks for.

    Raises
    ------
    UserError
        If it asks for a GPU and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("`device` is cuda, but no GPU can be used", where="$.device", remedy="give device=cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


class _LoopState:
    """The part of the loop's state that changes at the end of each update."""

    def __init__(
        self, job: TrainingJob, updater: Updater, state: State, log: MetricsLog | NoLog, bar: Progress, team: Team
    ) -> None:
        self.state = state
        self._job, self._updater, self._log, self._bar, self._team = job, updater, log, bar, team
        self._watch = Watch(job.recipe.guards, job.steps)
        self._usable = state.position > 0
        best = best_checkpoint(job.state_folder)
        mine = read_state(best).valid_loss if best is not None else None
        # Whether a state is the best decides whether all processes meet to save it, so all go by the leader's.
        self._best: float | None = json.loads(team.gather_text(json.dumps(mine))[0])
        self._speed = Speed()
        self._clock = time.perf_counter()

    def finish_update(self, then: Position, stopping: bool) -> None:
        """Apply the update and tell of it; save where that is due or the run is about to end.

        Raises
        ------
        UserError
            If a guard stops the run, after the state was saved, or an epoch had nothing to train on.
        """
        done = self._updater.finish(self.state.step)
        if not self._any_usable(then, done is not None):
            raise self._team.own(nothing_usable(self._job.train))
        if done is None:
            if stopping:
                self._save(True)
            return
        self.state = advance(self.state, then, done)
        spent = time.perf_counter() - self._clock
        row = {**row_of(self.state, done, spent), **self._validate()}
        error = self._watch.too_many_skipped(self.state.skipped_in_a_row) or self._watch.look(self.state.step, row)
        with self._team.together():
            self._log.write(self.state.step, row)
        self._bar.advance(1, loss=row["loss"], speed=self._speed.over(done.seconds, spent))
        self._save(stopping or error is not None)
        if error is not None:
            raise self._team.own(error)
        self._clock = time.perf_counter()

    def _any_usable(self, then: Position, usable: bool) -> bool:
        """Tell whether the epoch had something to train on, so far or in all."""
        self._usable = self._usable or usable
        if then.update > 0 or self._usable:
            self._usable = self._usable and then.update > 0
            return True
        return False

    def _validate(self) -> dict[str, float]:
        if not validation_due(self._job, self.state.step):
            return {}
        values = validate(self._job, self._updater, self._team)
        loss = values.get("valid_loss", math.nan)
        self.state = dataclasses.replace(self.state, valid_loss=loss if math.isfinite(loss) else None)
        return values

    def _save(self, stopping: bool) -> None:
        valid_loss, config = self.state.valid_loss, self._job.recipe.checkpoint
        is_best = valid_loss is not None and (self._best is None or valid_loss < self._best)
        if is_best:
            self._best = valid_loss
        due = self.state.step % config.every == 0 or self.state.step == self._job.steps
        if due or is_best or stopping:
            with self._team.together():
                self._log.sync()
            error: UserError | None = None
            try:
                save_checkpoint(
                    self._job.state_folder,
                    self.state,
                    self._updater.learner,
                    self._updater.optimizer,
                    config.keep_last,
                    self._updater.average,
                    self._team,
                )
            except UserError as refused:
                error = refused
            # None leaves while the leader writes: launchers end all processes when one has left.
            self._team.agree(error)
