"""The training loop, the same for every kind: load, accumulate, update, validate, save."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import signal
import time
from collections import deque
from pathlib import Path

from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.loader import Batch, Loader, Position, nothing_usable
from audio_ssl.pretrain.checkpoint import (
    TrainingState,
    best_checkpoint,
    load_checkpoint,
    newest_whole,
    read_state,
    save_checkpoint,
)
from audio_ssl.pretrain.distributed import ALONE, Team, agreed, choose_device
from audio_ssl.pretrain.guards import TIME_IS_UP, GuardWatch, StopRequest
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.log import MetricsLog, NoLog, open_log, profiled
from audio_ssl.pretrain.replicas import compile_layers, gather_weights
from audio_ssl.pretrain.update import Updater, UpdateResult

logger = logging.getLogger(__name__)

_SPEED_UPDATES = 20
"""Updates that the speed is shown of."""


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
        compile_layers(learner)
    updater = Updater(learner, job.recipe, job.steps, device, team)
    state = TrainingState(job.recipe.seed, epoch=0, position=0, step=0)
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
    gather_weights(learner)
    return done


def _train_from(job: TrainingJob, updater: Updater, state: TrainingState, team: Team) -> int:
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


def advance(state: TrainingState, then: Position, done: UpdateResult) -> TrainingState:
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


def row_of(state: TrainingState, done: UpdateResult, seconds: float) -> dict[str, float]:
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


class _LoopState:
    """The part of the loop's state that changes at the end of each update."""

    def __init__(
        self,
        job: TrainingJob,
        updater: Updater,
        state: TrainingState,
        log: MetricsLog | NoLog,
        bar: Progress,
        team: Team,
    ) -> None:
        self.state = state
        self._job, self._updater, self._log, self._bar, self._team = job, updater, log, bar, team
        self._watch = GuardWatch(job.recipe.guards, job.steps)
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
