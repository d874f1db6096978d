"""Scalars in TensorBoard's format, written by the caller's own thread.

TensorBoard's own writer works in a thread; what the disk refuses there ends in that thread's traceback and is told to
the training some updates later, or never.
"""

from __future__ import annotations

import io
import os
import platform
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from audio_ssl.atomic import append

_FLUSH_SECONDS = 30.0


class Board:
    """Appends to an event file of its own; rows are on the disk half a minute later, or at `flush`.

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
        """Put what was added on the disk."""
        self._flushed = time.monotonic()
        if data := self._buffer.getvalue():
            append(self._path, data)
        self._buffer = io.BytesIO()

    def _put(self, event: Event) -> None:
        RecordWriter(self._buffer).write(event.SerializeToString())
