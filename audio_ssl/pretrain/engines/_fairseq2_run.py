"""A job trained by fairseq2's trainer.

The trainer is given a learner whose updates are those of `Updater`, bit for bit, and is asked to end by its own request
to stop, as it does not listen to any while it counts steps itself. Its checkpoints are committed one step late, after
the row of metrics was written, so they are never ahead of the log.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import torch
from fairseq2.checkpoint import NOOP_HG_EXPORTER, CheckpointError, CheckpointNotFoundError, StandardCheckpointManager
from fairseq2.early_stopper import NOOP_EARLY_STOPPER
from fairseq2.file_system import NativeLocalFileSystem
from fairseq2.gang import Gangs
from fairseq2.nn.data_parallel import set_data_parallel_facade
from fairseq2.profilers import NOOP_PROFILER
from fairseq2.task import TaskStopException
from fairseq2.trainer import Trainer
from fairseq2.utils.device_stat import NOOP_DEVICE_STAT_TRACKER
from fairseq2.utils.gc import NOOP_GARBAGE_COLLECTOR
from fairseq2.utils.progress import NOOP_PROGRESS_REPORTER
from fairseq2.utils.stopwatch import Stopwatch
from fairseq2.validator import NOOP_VALIDATOR

from audio_ssl.errors import UserError
from audio_ssl.pretrain.engines._fairseq2_course import Course, Parts, Records, Steps, Unit, Validates
from audio_ssl.pretrain.engines._fairseq2_parts import Facade, OneThread, PlainFiles, Reader, Runs, Schedule, gangs_of
from audio_ssl.pretrain.loop import TrainingJob, choose_device, compile_blocks, open_log, stopped_by
from audio_ssl.pretrain.parallel import Team
from audio_ssl.pretrain.profile import profiled
from audio_ssl.pretrain.stop import TIME_IS_UP, StopRequest
from audio_ssl.pretrain.update import Updater
from audio_ssl.progress import Progress

logger = logging.getLogger(__name__)


def train(job: TrainingJob, team: Team) -> int:
    """Train until `job.steps`; see `audio_ssl.pretrain.engines.fairseq2.train`."""
    device = team.device(choose_device(job.recipe.device).type)
    learner = job.training.learner.to(device)
    if job.recipe.compile:
        compile_blocks(learner)
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
    steps = [int(path.name[5:]) for path in job.state_folder.glob("step_*") if re.fullmatch(r"step_\d+", path.name)]
    if not steps:
        return 0
    folder = job.state_folder / f"step_{max(steps)}"
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
    logger.info("%s: going on after step %d", job.name, max(steps))
    return max(steps)


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
        raise team.own(stopped_by(course.asked, course.state.step, job))
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
    """Let fairseq2 say warnings only; its running commentary would tear our progress bar."""
    theirs = logging.getLogger("fairseq2")
    level = theirs.level
    theirs.setLevel(logging.WARNING)
    try:
        yield
    finally:
        theirs.setLevel(level)
