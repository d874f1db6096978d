"""What a run tells: one row per step in ``metrics.jsonl``, the same numbers in TensorBoard, and a progress bar."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from audio_ssl.atomic import atomic_write

_open_board: Any = SummaryWriter  # it has no types


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
    extra
        Put into every row.
    """

    def __init__(
        self, folder: Path, first_step: int = 0, offset: int = 0, extra: Mapping[str, Any] | None = None
    ) -> None:
        self._offset, self._extra = offset, dict(extra or {})
        self._path = folder / "metrics.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        truncate(self._path, first_step + offset)
        self._file = self._path.open("a", encoding="ascii")
        self._board: Any = _open_board(str(folder / "tensorboard"), purge_step=first_step + offset + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()

    def write(self, step: int, values: Mapping[str, float | int]) -> None:
        """Write the row of a step; numbers that are not finite become null."""
        row = {"step": step + self._offset, **self._extra}
        for name, value in values.items():
            row[name] = value if math.isfinite(value) else None
            if math.isfinite(value):
                self._board.add_scalar(name, value, step + self._offset)
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Put the rows on the disk; a checkpoint never is ahead of its metrics."""
        os.fsync(self._file.fileno())


def truncate(path: Path, last_step: int) -> None:
    """Drop the rows of a metrics file that lie after `last_step`, and a last line cut by a kill."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="ascii").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] <= last_step:
            kept.append(line + "\n")
    with atomic_write(path) as partial:
        partial.write_text("".join(kept), encoding="ascii")
