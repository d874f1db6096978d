"""One file a clip, at the audio's relative path with the suffix replaced by ``.npy``.

Where two files differ in the suffix only, the second keeps its own: ``a.flac.npy``.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audio_ssl.artifacts.features import Extraction, IndexRow
from audio_ssl.base.files import atomic_write
from audio_ssl.features.journal import JOURNALS
from audio_ssl.features.writing import OnWritten, Pieces, WriterTraits, placed, write_long

_TYPES = {torch.float32: np.float32, torch.float16: np.float16}


class NpyWriter:
    """Writes each clip at once."""

    def __init__(self, out: Path, sealed: OnWritten) -> None:
        self._out, self._sealed = out, sealed
        self._work = out / JOURNALS

    def add(self, row: IndexRow, name: str, array: Tensor) -> None:
        """Write the clip's file."""
        with atomic_write(self._out / f"{name}.npy", self._work, array.nbytes) as partial:
            np.save(partial, array.numpy(), allow_pickle=False)
        self._sealed(placed([row], self._out, f"{name}.npy"))

    def add_long(self, row: IndexRow, name: str, shape: tuple[int, ...], dtype: torch.dtype, pieces: Pieces) -> None:
        """Write the clip's file piece by piece."""
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.dtype(_TYPES[dtype]).str, "fortran_order": False, "shape": shape}
        )
        write_long(self._out / f"{name}.npy", self._work, header.getvalue(), shape, dtype, pieces)
        self._sealed(placed([row], self._out, f"{name}.npy"))

    def close(self) -> None:
        """Do nothing: every file is whole already."""


TRAITS = WriterTraits(own_file=".npy")


def build(out: Path, part: str, extraction: Extraction, sealed: OnWritten) -> NpyWriter:
    """Make the writer."""
    return NpyWriter(out, sealed)
