"""The training loop, the same for every kind: load, accumulate, update, validate, save."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import signal
import time
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
    checkpoints,
    load_checkpoint,
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
from audio_ssl.pretrain.stop import StopRequest
from audio_ssl.pretrain.update import Applied, Updater
from audio_ssl.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
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


def train(job: Job, team: Team = ALONE) -> None:
    """Train until `job.steps`, from the newest checkpoint if there is one; every process of the team calls it.

    At the end the learner holds plain weights, the average where the recipe asks for it, ready to be saved.

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
    found = checkpoints(job.state_folder)
    # All go on from the checkpoint that the leader sees.
    newest = team.gather_text(found[-1].name if found else "")[0]
    if newest:
        state = load_checkpoint(job.state_folder / newest, learner, updater.optimizer, updater.average)
        logger.info("%s: going on after step %d", job.name, state.step)
    if state.step < job.steps:
        _train_from(job, updater, state, team)
    if updater.average is not None:
        updater.average.put_into_module()
    make_whole(learner)


def _train_from(job: Job, updater: Updater, state: State, team: Team) -> None:
    start = Position(state.epoch, state.position)
    with (
        StopRequest() as stop,
        open_log(job, state, team) as log,
        Progress(job.name, job.steps, initial=state.step, silent=not team.leads) as bar,
        Loader(job.train, start, None, team.rank, team.world_size) as loader,
        profiled(job.recipe.profile if team.leads else None, job.log_folder / "profile") as profiled_update,
    ):
        run = _Run(job, updater, state, log, bar, team)
        for item, signal_name in agreed(loader, team, stop):
            if isinstance(item, Batch):
                updater.add(item, run.state.step)
                continue
            run.finish_update(item.then, stopping=signal_name is not None)
            profiled_update()
            if run.state.step >= job.steps:
                break
            if signal_name is not None:
                where = f"step {run.state.step} of {job.steps} is saved in {job.state_folder}"
                raise team.own(
                    StoppedBySignal(f"{signal_name} received; {where}. Run the command again with --resume to go on")
                )


def open_log(job: Job, state: State, team: Team) -> MetricsLog | NoLog:
    """Return the log of a job that goes on from `state`; the leader's alone writes."""
    if not team.leads:
        return NoLog()
    return MetricsLog(job.log_folder, state.step, job.step_offset, job.row_extra, job.recipe.wandb)


def agreed(
    items: Iterable[Batch | EndOfUpdate], team: Team, stop: StopRequest | None = None
) -> Iterator[tuple[Batch | EndOfUpdate, str | None]]:
    """Yield each item with the name of a signal that any process was sent, when all processes have come to it.

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
            signal_number = signal.Signals[stop.signal_name].value if stop and stop.signal_name else 0
            failed, most, least, received = team.most([int(error is not None), kind, -kind, signal_number])
            if failed:
                team.agree(error)
            if most != -least:
                raise team.own(
                    UserError(
                        "the processes do not find the same clips", remedy="see that all of them read the same files"
                    )
                )
            name = signal.Signals(received).name if received else None
        else:
            name = stop.signal_name if stop else None
        if item is None:
            return
        yield item, name


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


def validation_due(job: Job, step: int) -> bool:
    """Return whether a job validates after a step."""
    return job.valid is not None and (step % job.recipe.checkpoint.valid_every == 0 or step == job.steps)


def validate(job: Job, updater: Updater, team: Team) -> dict[str, float]:
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


class _Run:
    """The part of the loop's state that changes at the end of each update."""

    def __init__(
        self, job: Job, updater: Updater, state: State, log: MetricsLog | NoLog, bar: Progress, team: Team
    ) -> None:
        self.state = state
        self._job, self._updater, self._log, self._bar, self._team = job, updater, log, bar, team
        self._watch = Watch(job.recipe.guards, job.steps)
        self._usable = state.position > 0
        best = best_checkpoint(job.state_folder)
        mine = read_state(best).valid_loss if best is not None else None
        # Whether a state is the best decides whether all processes meet to save it, so all go by the leader's.
        self._best: float | None = json.loads(team.gather_text(json.dumps(mine))[0])
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
        row = {**row_of(self.state, done, time.perf_counter() - self._clock), **self._validate()}
        error = self._watch.too_many_skipped(self.state.skipped_in_a_row) or self._watch.look(self.state.step, row)
        with self._team.together():
            self._log.write(self.state.step, row)
        self._bar.advance(1, loss=row["loss"])
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
