"""The training loop, the same for every kind of training: load, add up, update, log, validate, save."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time

from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.loader import Batch, Loader, Position, nothing_usable
from audio_ssl.pretrain.checkpoint import TrainingState, best_checkpoint, read_state, resume, save_checkpoint
from audio_ssl.pretrain.distributed import ALONE, Team, agreed, choose_device
from audio_ssl.pretrain.guards import TIME_IS_UP, GuardWatch, StopRequest, stopped_by
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.log import MetricsLog, NoLog, Speed, open_log, profiled
from audio_ssl.pretrain.replicas import compile_layers, gather_weights
from audio_ssl.pretrain.update import Updater, UpdateResult
from audio_ssl.pretrain.validation import validate, validate_before, validation_due

logger = logging.getLogger(__name__)


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
    state = resume(job.state_folder, learner, updater.optimizer, updater.average, team)
    if state is None:
        state = TrainingState(job.recipe.seed, epoch=0, position=0, step=0)
    else:
        logger.info("%s: continuing after step %d", job.name, state.step)
    if state.step < job.steps:
        state = _train_from(state, job, updater, team)
    if updater.average is not None:
        updater.average.put_into_module()
    gather_weights(learner)
    return state.step


def _train_from(state: TrainingState, job: TrainingJob, updater: Updater, team: Team) -> TrainingState:
    """Make one update after the other; return where that ends."""
    start = Position(state.epoch, state.position)
    with (
        StopRequest(job.deadline) as stop,
        open_log(job, state, team) as log,
        Progress(job.name, job.steps, initial=state.step, silent=not team.leads) as bar,
        Loader(job.train, start, None, team.rank, team.world_size) as loader,
        profiled(job.recipe.profile if team.leads else None, job.log_folder / "profile") as profiled_update,
    ):
        validate_before(job, updater, state, log, team)
        run = _Run(job, updater, state, log, bar, team)
        for item, asked in agreed(loader, team, stop):
            if isinstance(item, Batch):
                updater.add(item, run.state.step)
                continue
            run.finish_update(item.then, stopping=asked != 0)
            profiled_update()
            if run.state.step >= job.steps or asked == TIME_IS_UP:
                break
            if asked:
                raise team.own(stopped_by(asked, run.state.step, job.steps, job.state_folder))
        return run.state


class _Run:
    """What changes at the end of each update: where the run stands, and what guards, log and checkpoints know of it."""

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
        """Apply the update and log it; save where that is due or the run is about to end.

        Raises
        ------
        UserError
            If a guard stops the run, after the state was saved, or an epoch had nothing to train on.
        """
        done = self._updater.finish(self.state.step)
        self._check_usable(then, done is not None)
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

    def _check_usable(self, then: Position, usable: bool) -> None:
        """Raise UserError at the end of an epoch that had nothing to train on."""
        self._usable = self._usable or usable
        if then.update == 0:
            if not self._usable:
                raise self._team.own(nothing_usable(self._job.train))
            self._usable = False

    def _validate(self) -> dict[str, float]:
        """Return the metrics of the validation clips, where a validation is due, and note its loss in the state."""
        if not validation_due(self._job, self.state.step):
            return {}
        values = validate(self._job, self._updater, self._team)
        loss = values.get("valid_loss", math.nan)
        self.state = dataclasses.replace(self.state, valid_loss=loss if math.isfinite(loss) else None)
        return values

    def _save(self, stopping: bool) -> None:
        """Write a checkpoint where one is due, the state is the best so far, or the run is about to end."""
        valid_loss, config = self.state.valid_loss, self._job.recipe.checkpoint
        is_best = valid_loss is not None and (self._best is None or valid_loss < self._best)
        if is_best:
            self._best = valid_loss
        due = self.state.step % config.every == 0 or self.state.step == self._job.steps
        if not (due or is_best or stopping):
            return
        with self._team.together():
            self._log.sync()
        folder, updater, error = self._job.state_folder, self._updater, None
        try:
            kept = (updater.learner, updater.optimizer, config.keep_last, updater.average)
            save_checkpoint(folder, self.state, *kept, self._team)
        except UserError as refused:
            error = refused
        # No process leaves while the leader writes: launchers end all processes when one has left.
        self._team.agree(error)


def advance(state: TrainingState, then: Position, done: UpdateResult) -> TrainingState:
    """Return the state after an update, with the position from which the run continues."""
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
