"""What a writer of features must do, and what writers share.

A thread writes, so that the model does not wait for the disk. Its errors are raised to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor

from audio_ssl.artifacts.features import IndexRow
from audio_ssl.base.checksums import seal
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write

OnWritten = Callable[[list[IndexRow]], None]
"""Called with rows of the index when their features are safely on the disk."""

Pieces = Iterable[Tensor]
"""Consecutive frames of a clip, ``[frame, dim]`` or ``[layer, frame, dim]``."""


@dataclass(frozen=True)
class WriterTraits:
    """What the file of a format says of it."""

    bfloat16: bool = False
    """The format can hold bfloat16."""

    own_file: str | None = None
    """Suffix of the file that each clip has alone; None: clips share files."""


class Writer(Protocol):
    """Writes the features of clips; only whole files get their final name."""

    def add(self, row: IndexRow, name: str, array: Tensor) -> None:
        """Write a clip.

        Parameters
        ----------
        row
            Of the index; the writer adds ``file``.
        name
            Of the clip, for files of its own.
        array
            Its features.
        """
        ...

    def add_long(self, row: IndexRow, name: str, shape: tuple[int, ...], dtype: torch.dtype, pieces: Pieces) -> None:
        """Write a clip whose frames come in pieces, of which one is held."""
        ...

    def close(self) -> None:
        """Write what is still held."""
        ...


def next_number(folder: Path, prefix: str, suffix: str) -> int:
    """Return the number of the next file ``{prefix}{number:05d}{suffix}``, after all that are there."""
    found = [path.name[len(prefix) : -len(suffix)] for path in folder.glob(f"{prefix}[0-9]*{suffix}")]
    return max((int(text) for text in found if text.isdigit()), default=-1) + 1


def placed(rows: Sequence[IndexRow], out: Path, file: str) -> list[IndexRow]:
    """Return rows of the index with the file, just written, that holds their features, its length and its hash."""
    told = seal(out / file)
    return [replace(row, file=file, bytes=told.bytes, sha256=told.sha256) for row in rows]


def bytes_of(array: Tensor) -> bytes:
    """Return a tensor's bytes in row-major order, whatever its type."""
    return array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def write_long(
    path: Path, work: Path, header: bytes, shape: tuple[int, ...], dtype: torch.dtype, pieces: Pieces
) -> None:
    """Write a header and an array ``[frame, dim]`` or ``[layer, frame, dim]`` whose frames come in pieces."""
    frames, dim = shape[-2:]
    width = dim * dtype.itemsize
    with atomic_write(path, work, len(header) + dtype.itemsize * torch.Size(shape).numel()) as partial:
        with partial.open("r+b") as file:
            file.write(header)
            first = 0
            for piece in pieces:
                layers = piece if piece.ndim == 3 else piece[None]
                for number, layer in enumerate(layers):
                    file.seek(len(header) + (number * frames + first) * width)
                    file.write(bytes_of(layer))
                first += layers.shape[1]
        # With a piece missing or extra, the header would give the wrong shape.
        assert first == frames, f"{first} frames came of {frames}"


_AHEAD = 4
"""Clips that may wait for the disk before the model has to wait."""


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
            # After an interruption, too, the complete features are written.
            self._pool.shutdown(wait=True)
            self._writer.close()

    def add(self, row: IndexRow, name: str, array: Tensor) -> None:
        """Write a clip."""
        self._settle(_AHEAD)
        self.seconds += row.seconds or 0.0
        self._pending.append(self._pool.submit(self._writer.add, row, name, array))

    def add_long(
        self, row: IndexRow, name: str, shape: tuple[int, ...], dtype: torch.dtype, pieces: Iterator[Tensor]
    ) -> None:
        """Write a clip in pieces, which are computed as they are written."""
        self._settle(0)
        self.seconds += row.seconds or 0.0
        self._writer.add_long(row, name, shape, dtype, pieces)

    def _settle(self, left: int) -> None:
        while len(self._pending) > left:
            future = self._pending.pop(0)
            try:
                future.result()
            except OSError as error:
                raise UserError(f"features cannot be written: {error.strerror or error}") from error
