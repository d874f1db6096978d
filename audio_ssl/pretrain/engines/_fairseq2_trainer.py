"""Trains a job by fairseq2's trainer: log, guards, signals and validation after each update.

What becomes of each update of fairseq2's trainer: the row, guards, signals, validation.

A job trained by fairseq2's trainer.

The trainer is given a learner whose updates are those of `Updater`, bit for bit, and is asked to end by its own request
to stop, as it does not listen to any while it counts steps itself. Its checkpoints are committed one step late, after
the row of metrics was written, so they are never ahead of the log.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import closing, contextmanager

import torch
from fairseq2.checkpoint import NOOP_HG_EXPORTER, CheckpointError, CheckpointNotFoundError, StandardCheckpointManager
from fairseq2.early_stopper import NOOP_EARLY_STOPPER
from fairseq2.file_system import NativeLocalFileSystem
from fairseq2.gang import Gangs
from fairseq2.metrics import MetricBag
from fairseq2.metrics.recorders import MetricRecorder
from fairseq2.nn.data_parallel import set_data_parallel_facade
from fairseq2.optim.fp16_loss_scaler import Float16LossScaler, Float16LossScaleResult
from fairseq2.profilers import NOOP_PROFILER
from fairseq2.task import TaskStopException
from fairseq2.trainer import Trainer, TrainUnit
from fairseq2.utils.device_stat import NOOP_DEVICE_STAT_TRACKER
from fairseq2.utils.gc import NOOP_GARBAGE_COLLECTOR
from fairseq2.utils.progress import NOOP_PROGRESS_REPORTER
from fairseq2.utils.stopwatch import Stopwatch
from fairseq2.validator import NOOP_VALIDATOR, Validator
from torch import Tensor

from audio_ssl.artifacts.run import checkpoint_folders, checkpoint_step
from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.pretrain.checkpoint import TrainingState
from audio_ssl.pretrain.distributed import Team, choose_device
from audio_ssl.pretrain.engines._fairseq2_parts import (
    Carried,
    Facade,
    OneThread,
    PlainFiles,
    Reader,
    Runs,
    Schedule,
    gangs_of,
)
from audio_ssl.pretrain.guards import TIME_IS_UP, GuardWatch, StopRequest, stopped_by
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.log import MetricsLog, NoLog, Speed, open_log, profiled
from audio_ssl.pretrain.loop import advance, row_of
from audio_ssl.pretrain.replicas import compile_layers
from audio_ssl.pretrain.update import Updater, UpdateSums
from audio_ssl.pretrain.validation import validate, validation_due

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a trainer is made of."""

    updater: Updater
    runs: Runs
    facade: Facade
    reader: Reader
    manager: StandardCheckpointManager


class Course:
    """How far the run is, and what comes of each update; the same in all processes."""

    def __init__(self, job: TrainingJob, team: Team, parts: Parts, log: MetricsLog | NoLog, stop: StopRequest) -> None:
        self.parts = parts
        self.error: UserError | None = None
        """Why a guard stopped the run."""
        self.asked = 0
        """The request to stop: a signal, or the time (`StopRequest.asked`)."""
        self.after_update: Callable[[float, str], None] = lambda loss, speed: None
        self._job, self._team, self._log, self._stop = job, team, log, stop
        self._watch = GuardWatch(job.recipe.guards, job.steps)
        self._sums = UpdateSums()
        self._row: dict[str, float] = {}
        self._speed = Speed()
        self._clock = time.perf_counter()

    @property
    def state(self) -> TrainingState:
        """Where the run stands."""
        return self.parts.reader.state

    @property
    def ends(self) -> bool:
        """Whether the run ends with the update just made."""
        return self.state.step >= self._job.steps or self.error is not None or self.asked != 0

    def add(self, batch: Carried) -> Tensor:
        """Run a micro-batch forwards and return its loss, a sum."""
        self.parts.updater.add(batch.batch, self.state.step)
        return self.parts.runs.take_loss()

    def gather(self) -> None:
        """Turn the gradients of all micro-batches and processes into those of the mean loss."""
        self._sums = self.parts.updater.gather()

    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the update of clipped gradients, and look at what came of it."""
        lr = float(optimizer.param_groups[0]["lr"])
        done = self.parts.updater.apply(self.state.step, self._sums, lr, self.parts.facade.norm)
        state = advance(self.state, self.parts.reader.then, done)
        self.parts.reader.state = state
        spent = time.perf_counter() - self._clock
        self._row = row_of(state, done, spent)
        self.error = self._watch.too_many_skipped(state.skipped_in_a_row) or self._watch.look(state.step, self._row)
        if not done.changed:
            # There are no gradients any more, so this changes nothing; the schedule warns if it never saw a step.
            optimizer.step()
        self.asked = self._team.most([self._stop.asked()])[0]
        self.after_update(self._row["loss"], self._speed.over(done.seconds, spent))

    def publish(self) -> None:
        """Write the row of the update, unless a validation is to be added to it."""
        if not validation_due(self._job, self.state.step):
            self._write()

    def validate(self) -> float | None:
        """Validate where it is due, and return the score: higher is better."""
        if not validation_due(self._job, self.state.step):
            return None
        values = validate(self._job, self.parts.updater, self._team)
        self._row.update(values)
        self._watch.validated(self.state.step, values)
        loss = values.get("valid_loss", math.nan)
        self._write()
        return -loss if math.isfinite(loss) else None

    def _write(self) -> None:
        self._log.write(self.state.step, self._row)
        if self.ends or self.state.step % self._job.recipe.checkpoint.every == 0:
            self._log.sync()
        self._clock = time.perf_counter()


class Unit(TrainUnit):  # type: ignore[misc]
    """Turns micro-batches into losses."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        """Add nothing: our metrics are known by name only when they come."""

    def process_batch(self, batch: Carried, metric_bag: MetricBag) -> tuple[Tensor, int]:
        """Return the loss, a sum, and no count: gradients are divided by the exact one, which may be no integer."""
        return self._course.add(batch), 0


class Steps(Float16LossScaler):  # type: ignore[misc]
    """The part of the trainer that stands around the optimiser's step; it scales nothing.

    An update that is not finite is left out and counted, as with our own loop; fairseq2 alone would go on with broken
    weights in float32 and bfloat16.
    """

    scale_window = 1

    def __init__(self, course: Course) -> None:
        self._course = course

    def backward(self, loss: Tensor) -> None:
        """Run a loss backwards."""
        # Our own fast layers compute their gradients in the precision around them, as in our own loop.
        with self._course.parts.updater.precision():
            loss.backward()  # type: ignore[no-untyped-call]

    def unscale_grads_(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the update's count."""
        self._course.gather()

    def run_optimizer_step(self, optimizer: torch.optim.Optimizer, closure: None = None) -> Float16LossScaleResult:
        """Make the update."""
        self._course.apply(optimizer)
        return Float16LossScaleResult(old_scale=1.0, new_scale=1.0)

    def state_dict(self) -> dict[str, object]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, object]) -> None:
        """Do nothing."""


class Validates(Validator):  # type: ignore[misc]
    """Validates as our own loop does."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def run(self, train_step_nr: int) -> float | None:
        """Return the score, or None where no validation is due."""
        return self._course.validate()

    def reset(self) -> None:
        """Do nothing."""


class Records(MetricRecorder):  # type: ignore[misc]
    """Writes the run's own log; the trainer asks the leader only."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def record_metric_values(
        self, category: str, values: MutableMapping[str, object], step_nr: int | None = None
    ) -> None:
        """Write a row."""
        self._course.publish()

    def close(self) -> None:
        """Do nothing: the log is closed where it was opened."""


def train(job: TrainingJob, team: Team) -> int:
    """Train until `job.steps`; see `audio_ssl.pretrain.engines.fairseq2.train`."""
    device = team.device(choose_device(job.recipe.device).type)
    learner = job.training.learner.to(device)
    if job.recipe.compile:
        compile_layers(learner)
    gangs = gangs_of(team, device)
    with _quiet(), closing(OneThread()) as thread, closing(Reader(job, team)) as reader:
        runs = Runs(learner, gangs)
        facade = Facade(learner, runs.module)
        set_data_parallel_facade(runs.module, facade)
        files = PlainFiles()
        manager = StandardCheckpointManager(
            job.state_folder, gangs, NativeLocalFileSystem(), files, files, thread, job.state_folder
        )
        with team.together():
            done = _newest(job, team)
        try:
            if done >= job.steps:
                manager.load_model_state(done, facade)
                return done
            updater = Updater(learner, job.recipe, job.steps, device, team, runs)
            return _train(job, team, gangs, Parts(updater, runs, facade, reader, manager), done)
        except (CheckpointError, CheckpointNotFoundError) as error:
            raise UserError(
                f"the checkpoint cannot be used: {error}",
                where=str(job.state_folder / f"step_{done}"),
                remedy="remove it to go on from the one before",
            ) from error


def _newest(job: TrainingJob, team: Team) -> int:
    """Return the step of the newest checkpoint, or 0.

    Raises
    ------
    UserError
        If it was saved by another number of processes or by another engine.
    """
    saved = checkpoint_folders(job.state_folder)
    if not saved:
        return 0
    folder, step = saved[-1], checkpoint_step(saved[-1]) or 0
    processes = len(list(folder.glob("data_reader/dp_*.pt")))
    if processes == 0:
        raise UserError("the checkpoint is none of fairseq2's trainer", where=str(folder))
    if processes != team.world_size:
        raise UserError(
            f"engine `fairseq2` goes on with as many processes as the checkpoint was saved by: {processes}, "
            f"but there are {team.world_size}",
            where=str(folder),
            remedy=f"start {processes}; engine=torch can change their number",
        )
    logger.info("%s: continuing after step %d", job.name, step)
    return step


def _train(job: TrainingJob, team: Team, gangs: Gangs, parts: Parts, done: int) -> int:
    state = dataclasses.replace(parts.reader.state, step=done)
    with (
        StopRequest(job.deadline) as stop,
        open_log(job, state, team) as log,
        Progress(job.name, job.steps, initial=done, silent=not team.leads) as bar,
        profiled(job.recipe.profile if team.leads else None, job.log_folder / "profile") as profiled_update,
    ):
        course = Course(job, team, parts, log, stop)
        trainer = _make_trainer(job, gangs, parts, course)

        def after_update(loss: float, speed: str) -> None:
            bar.advance(1, loss=loss, speed=speed)
            profiled_update()
            if course.ends:
                trainer.request_stop()

        course.after_update = after_update
        try:
            trainer.run()
        except TaskStopException:
            pass
        finally:
            trainer.close()
    if course.error is not None:
        raise team.own(course.error)
    if course.asked > TIME_IS_UP and course.state.step < job.steps:
        raise team.own(stopped_by(course.asked, course.state.step, job.steps, job.state_folder))
    return course.state.step


def _make_trainer(job: TrainingJob, gangs: Gangs, parts: Parts, course: Course) -> Trainer:
    config = job.recipe.checkpoint
    validates = job.valid is not None
    # fairseq2 knows the score of a checkpoint only where both fall on the same step.
    keeps_best = validates and config.every % config.valid_every == 0
    return Trainer(
        model=parts.runs.module,
        unit=Unit(course),
        data_reader=parts.reader,
        gangs=gangs,
        # `Updater` runs the learner in the recipe's precision.
        amp=False,
        amp_dtype=torch.float32,
        optimizer=parts.updater.optimizer,
        lr_scheduler=Schedule(parts.updater.optimizer, job.recipe.optim, job.steps),
        fp16_loss_scaler=Steps(course),
        no_sync_grad_accumulation=True,
        max_grad_norm=job.recipe.optim.clip_norm,
        validator=Validates(course) if validates else NOOP_VALIDATOR,
        early_stopper=NOOP_EARLY_STOPPER,
        checkpoint_manager=parts.manager,
        hg_exporter=NOOP_HG_EXPORTER,
        metric_recorder=Records(course),
        garbage_collector=NOOP_GARBAGE_COLLECTOR,
        profiler=NOOP_PROFILER,
        device_stat_tracker=NOOP_DEVICE_STAT_TRACKER,
        wall_watch=Stopwatch(),
        progress_reporter=NOOP_PROGRESS_REPORTER,
        # Everything random is drawn from seeds of its own; this is what is left over.
        seed=job.recipe.seed % 2**31,
        validate_every_n_steps=config.valid_every if validates else None,
        checkpoint_every_n_steps=config.every,
        keep_last_n_checkpoints=config.keep_last,
        keep_best_n_checkpoints=1 if keeps_best else None,
        publish_metrics_every_n_steps=1,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Let fairseq2 log warnings only; its other messages would break our progress bar."""
    theirs = logging.getLogger("fairseq2")
    level = theirs.level
    theirs.setLevel(logging.WARNING)
    try:
        yield
    finally:
        theirs.setLevel(level)
