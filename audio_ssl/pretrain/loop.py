"""The training loop, the same for every kind: load, accumulate, update, validate, save."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from audio_ssl.data.loader import Batch, Loader, LoaderSetup, Position
from audio_ssl.errors import StoppedBySignal, UserError
from audio_ssl.pretrain.checkpoint import (
    State,
    best_checkpoint,
    checkpoints,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from audio_ssl.pretrain.learner import Training
from audio_ssl.pretrain.log import MetricsLog
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.stop import StopRequest
from audio_ssl.pretrain.update import Updater
from audio_ssl.progress import Progress

logger = logging.getLogger(__name__)

_MOST_SKIPPED_IN_A_ROW = 100


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


def train(job: Job) -> None:
    """Train until `job.steps`, from the newest checkpoint if there is one.

    Raises
    ------
    StoppedBySignal
        After the state was saved, when SIGTERM, SIGUSR1 or Ctrl-C asked for a stop.
    UserError
        If nothing can be read, or the loss stays without a finite value.
    """
    device = choose_device(job.recipe.device)
    updater = Updater(job.training.learner.to(device), job.recipe, job.steps, device)
    state = State(job.recipe.seed, epoch=0, position=0, step=0)
    found = checkpoints(job.state_folder)
    if found:
        state = load_checkpoint(found[-1], updater.learner, updater.optimizer)
        logger.info("%s: going on after step %d", job.name, state.step)
    if state.step >= job.steps:
        return
    start = Position(state.epoch, state.position)
    with (
        StopRequest() as stop,
        MetricsLog(job.log_folder, state.step, job.step_offset, job.row_extra) as log,
        Progress(job.name, job.steps, initial=state.step) as bar,
        Loader(job.train, start) as loader,
    ):
        run = _Run(job, updater, state, log, bar)
        for item in loader:
            if isinstance(item, Batch):
                updater.add(item, run.state.step)
                continue
            run.finish_update(item.then, stopping=stop.signal_name is not None)
            if run.state.step >= job.steps:
                break
            if stop.signal_name is not None:
                raise StoppedBySignal(
                    f"{stop.signal_name} received; step {run.state.step} of {job.steps} is saved in "
                    f"{job.state_folder}. Run the command again with --resume to go on"
                )


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

    def __init__(self, job: Job, updater: Updater, state: State, log: MetricsLog, bar: Progress) -> None:
        self.state = state
        self._job, self._updater, self._log, self._bar = job, updater, log, bar
        best = best_checkpoint(job.state_folder)
        self._best = read_state(best).valid_loss if best is not None else None
        self._clock = time.perf_counter()

    def finish_update(self, then: Position, stopping: bool) -> None:
        seconds = self._updater.seconds
        row, applied = self._updater.finish(self.state.step)
        self._advance(then, seconds, applied)
        row["audio_seconds_per_second"] = seconds / max(1e-9, time.perf_counter() - self._clock)
        row["audio_seconds"] = self.state.audio_seconds
        row["epoch"] = then.epoch
        row["skipped_steps"] = self.state.skipped_steps
        row.update(self._validate())
        self._log.write(self.state.step, row)
        self._bar.advance(1, loss=row["loss"])
        self._save(stopping)
        self._clock = time.perf_counter()

    def _advance(self, then: Position, seconds: float, applied: bool) -> None:
        old = self.state
        in_a_row = 0 if applied else old.skipped_in_a_row + 1
        if not applied:
            logger.warning("step %d: loss or gradient is not finite; update skipped", old.step + 1)
        if in_a_row >= _MOST_SKIPPED_IN_A_ROW:
            raise UserError(
                f"{in_a_row} updates in a row had no finite loss",
                remedy="resume is of no use; lower optim.lr, or raise optim.warmup_steps, and start again",
            )
        self.state = dataclasses.replace(
            old,
            epoch=then.epoch,
            position=then.update,
            step=old.step + 1,
            skipped_steps=old.skipped_steps + (not applied),
            skipped_in_a_row=in_a_row,
            audio_seconds=old.audio_seconds + seconds,
            valid_loss=None,
        )

    def _validate(self) -> dict[str, float]:
        due = self.state.step % self._job.recipe.checkpoint.valid_every == 0 or self.state.step == self._job.steps
        if self._job.valid is None or not due:
            return {}
        with Loader(self._job.valid, Position(0, 0), epochs=1) as loader:
            values = self._updater.validate(loader)
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
            self._log.sync()
            save_checkpoint(
                self._job.state_folder, self.state, self._updater.learner, self._updater.optimizer, config.keep_last
            )
