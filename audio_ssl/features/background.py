"""Writing in a thread, so that the model does not wait for the disk; what fails there is raised to the caller."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import torch
from torch import Tensor

from audio_ssl.errors import UserError
from audio_ssl.features.index import Row
from audio_ssl.features.writers._base import Writer

_AHEAD = 4
"""Clips that wait for the disk before the model waits, too."""


class BackgroundWriter:
    """Hands clips to a writer one by one."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._pool = writer, ThreadPoolExecutor(1)
        self._pending: list[Future[None]] = []
        self.seconds = 0.0
        """Of audio that were given."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._settle(0)
        finally:
            # What is whole is worth keeping also when the work was interrupted.
            self._pool.shutdown(wait=True)
            self._writer.close()

    def add(self, row: Row, name: str, array: Tensor) -> None:
        """Write a clip."""
        self._settle(_AHEAD)
        self.seconds += row["seconds"]
        self._pending.append(self._pool.submit(self._writer.add, row, name, array))

    def add_long(
        self, row: Row, name: str, shape: tuple[int, ...], dtype: torch.dtype, pieces: Iterator[Tensor]
    ) -> None:
        """Write a clip in pieces, which are computed as they are written."""
        self._settle(0)
        self.seconds += row["seconds"]
        self._writer.add_long(row, name, shape, dtype, pieces)

    def _settle(self, left: int) -> None:
        while len(self._pending) > left:
            future = self._pending.pop(0)
            try:
                future.result()
            except OSError as error:
                raise UserError(f"features cannot be written: {error.strerror or error}") from error
