"""The log of a run: one row per step in ``metrics.jsonl``, the same in TensorBoard and, if asked, Weights & Biases.

`TensorBoardFile` writes scalars in TensorBoard's format, in the caller's own thread. TensorBoard's own writer works in
a thread of its own, so an error of the disk reaches the training some updates later, or never.

`profiled` traces a few updates by torch's profiler, in Chrome's format: open the trace at ui.perfetto.dev.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import math
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.profiler import ProfilerActivity

from audio_ssl.artifacts.run import METRICS_FILE, UpdateRow, read_updates
from audio_ssl.base.disk import DiskError
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import append, atomic_write, flush
from audio_ssl.pretrain.checkpoint import TrainingState
from audio_ssl.pretrain.distributed import Team
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.recipe import ProfileConfig


class MetricsLog:
    """Appends rows to ``metrics.jsonl`` and TensorBoard.

    Parameters
    ----------
    folder
        The run's folder.
    first_step
        Rows after this step are left from an interrupted run and dropped, so there is one row per step.
    offset
        Added to the steps of the rows; iterations of one run share a log.
    iteration
        Put into every row, where a run has several.
    wandb
        Log to Weights & Biases, too: one of its runs per folder.

    Raises
    ------
    UserError
        If wandb is asked for, and not installed or not ready.
    """

    def __init__(
        self,
        folder: Path,
        first_step: int = 0,
        offset: int = 0,
        iteration: int | None = None,
        wandb: bool = False,
    ) -> None:
        self._wandb = _open_wandb(folder) if wandb else None
        self._offset, self._iteration = offset, iteration
        self._path = folder / METRICS_FILE
        truncate(folder, first_step + offset)
        append(self._path, b"")
        self._board = TensorBoardFile(folder / "tensorboard", first_step + offset + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # After an error of the disk nothing more is written, so that the first error is the one shown.
            if not isinstance(error, DiskError):
                self._board.flush()
        finally:
            if self._wandb is not None:
                self._wandb.finish(exit_code=0 if kind is None else 1)

    def write(self, step: int, values: Mapping[str, float | int]) -> None:
        """Write the row of a step; numbers that are not finite become null."""
        row = UpdateRow(step + self._offset, values, self._iteration)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for name, value in finite.items():
            self._board.add_scalar(name, value, row.step)
        append(self._path, f"{row.line()}\n".encode("ascii"))
        if self._wandb is not None:
            where = {"step": row.step} | ({} if row.iteration is None else {"iteration": row.iteration})
            self._wandb.log({**where, **finite}, step=row.step)

    def sync(self) -> None:
        """Write the rows to the disk; a checkpoint is never ahead of its metrics."""
        flush(self._path)
        self._board.flush()


class NoLog:
    """Stands in for `MetricsLog` in the processes that write nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def write(self, step: int, values: Mapping[str, float | int]) -> None:
        """Do nothing."""

    def sync(self) -> None:
        """Do nothing."""


class Speed:
    """Audio seconds a second over the last updates, for the progress shown; the first ones of a run are slow."""

    def __init__(self) -> None:
        self._updates: deque[tuple[float, float]] = deque(maxlen=20)

    def over(self, audio_seconds: float, seconds: float) -> str:
        """Return the speed after one more update, in words."""
        self._updates.append((audio_seconds, seconds))
        audio, spent = (sum(values) for values in zip(*self._updates, strict=True))
        return f"{audio / max(1e-9, spent):.3g} s of audio a second"


def require_wandb() -> Any:
    """Return the package wandb.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise UserError(
            "`wandb` is true, but the package wandb cannot be imported", where="$.wandb", remedy="pip install wandb"
        ) from error


def check_wandb() -> None:
    """Raise UserError unless Weights & Biases can be used; nothing is sent.

    Raises
    ------
    UserError
        If the package is not installed, or nobody is logged in and it is not set to stay offline.
    """
    wandb = require_wandb()
    if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False, verify=False):
        raise UserError(
            "`wandb` is true, but nobody is logged in to Weights & Biases",
            where="$.wandb",
            remedy="`wandb login` logs in; `wandb offline` keeps the log on this disk; wandb=false does without",
        )


def _open_wandb(folder: Path) -> Any:
    wandb = require_wandb()
    name = folder.resolve().name
    # The folder's path names the run, so that a resumed run continues the same one.
    identity = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    try:
        return wandb.init(project="audio-ssl", name=name, id=identity, resume="allow", dir=str(folder))
    except wandb.errors.Error as error:
        raise UserError(
            f"Weights & Biases cannot be used: {str(error).partition(chr(10))[0]}",
            where="$.wandb",
            remedy="`wandb offline` keeps the log on this disk; wandb=false does without",
        ) from error


def truncate(run: Path, last_step: int) -> None:
    """Drop the rows of a run's metrics that lie after `last_step`, and a last line cut by a kill."""
    path = run / METRICS_FILE
    if not path.is_file():
        return
    kept = [f"{row.line()}\n" for row in read_updates(run, strict=False) if row.step <= last_step]
    with atomic_write(path) as partial:
        partial.write_text("".join(kept), encoding="ascii")


_FLUSH_SECONDS = 30.0


class TensorBoardFile:
    """Appends to an event file of its own; values reach the disk within half a minute, or at `flush`.

    Parameters
    ----------
    folder
        Of the event files of a run.
    first_step
        Viewers forget what earlier files say of this step and later ones.

    Raises
    ------
    DiskError
        If the disk is full or refuses otherwise; so do the methods.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{os.getpid()}.{time.monotonic_ns()}"
        self._path = folder / name
        self._buffer, self._flushed = io.BytesIO(), time.monotonic()
        self._put(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._put(Event(wall_time=time.time(), step=first_step, session_log=start))
        self.flush()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a value."""
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._put(Event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was added to the disk."""
        self._flushed = time.monotonic()
        if data := self._buffer.getvalue():
            append(self._path, data)
        self._buffer = io.BytesIO()

    def _put(self, event: Event) -> None:
        RecordWriter(self._buffer).write(event.SerializeToString())


@contextmanager
def profiled(config: ProfileConfig | None, folder: Path) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each update; ``folder/trace.json`` appears when the profiled ones are done."""
    if config is None:
        yield lambda: None
        return
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    # The update before the first is recorded and thrown away, as the profiler itself has to start.
    wait, warmup = max(0, config.first_update - 2), min(1, config.first_update - 1)

    def write(profiler: torch.profiler.profile) -> None:
        with atomic_write(folder / "trace.json") as partial:
            profiler.export_chrome_trace(str(partial))

    with torch.profiler.profile(
        activities=activities,
        schedule=torch.profiler.schedule(wait=wait, warmup=warmup, active=config.updates, repeat=1),
        on_trace_ready=write,
        record_shapes=True,
    ) as profiler:
        yield profiler.step


def open_log(job: TrainingJob, state: TrainingState, team: Team) -> MetricsLog | NoLog:
    """Return the log of a job that continues from `state`; only the leader's writes.

    Raises
    ------
    UserError
        In all processes, if the leader cannot open it.
    """
    log: MetricsLog | NoLog = NoLog()
    with team.together():
        if team.leads:
            # A run that begins has no rows; one that began from a trained model has written that of step 0 if it was
            # ended before its first checkpoint.
            done = state.step if state.step + job.step_offset > 0 else -1
            log = MetricsLog(job.log_folder, done, job.step_offset, job.iteration, job.recipe.wandb)
    return log
