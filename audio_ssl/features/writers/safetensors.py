"""An `ArrayStore`: shards of many clips, whose arrays are named ``features``; a long clip is a shard of its own."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from audio_ssl.artifacts.features import STORE, Extraction, IndexRow
from audio_ssl.artifacts.records import to_json, write_record
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.data.store import META_FILE, Waiting, shard_metadata, write_shard
from audio_ssl.features.journal import JOURNALS
from audio_ssl.features.writing import OnWritten, Pieces, WriterTraits, next_number, placed, write_long

_TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32"}


class SafetensorsWriter:
    """Holds clips until a shard is full."""

    def __init__(self, out: Path, part: str, extraction: Extraction, sealed: OnWritten) -> None:
        self._out, self._folder, self._part, self._sealed = out, out / STORE, part, sealed
        self._work = out / JOURNALS
        if not _says(self._folder / META_FILE, extraction):
            write_record(self._folder / META_FILE, extraction)
        self._number = next_number(self._folder, f"shard-{part}", ".safetensors")
        self._held: list[tuple[IndexRow, Tensor]] = []
        self._waiting = Waiting()

    def add(self, row: IndexRow, name: str, array: Tensor) -> None:
        """Hold a clip; write a shard if it is full."""
        # A view of a batch would keep the whole batch.
        self._held.append((row, array.clone() if array._base is not None else array))
        if self._waiting.add(array.nbytes):
            self.close()

    def add_long(self, row: IndexRow, name: str, shape: tuple[int, ...], dtype: torch.dtype, pieces: Pieces) -> None:
        """Write a shard of one clip."""
        size = dtype.itemsize * torch.Size(shape).numel()
        table = {
            "__metadata__": shard_metadata([row.id]),
            "0/features": {"dtype": _TYPES[dtype], "shape": list(shape), "data_offsets": [0, size]},
        }
        text = json.dumps(table).encode("ascii")
        # The data begin at a multiple of 8; the format allows spaces at the end of its table.
        text += b" " * (-len(text) % 8)
        file = self._next()
        write_long(self._folder / file, self._work, len(text).to_bytes(8, "little") + text, shape, dtype, pieces)
        self._sealed(placed([row], self._out, f"{STORE}/{file}"))

    def close(self) -> None:
        """Write the clips that are held as a shard."""
        if not self._held:
            return
        file = self._next()
        arrays = {row.id: {"features": array} for row, array in self._held}
        write_shard(self._folder / file, arrays, self._work)
        self._sealed(placed([row for row, _ in self._held], self._out, f"{STORE}/{file}"))
        self._held = []
        self._waiting.clear()

    def _next(self) -> str:
        self._number += 1
        return f"shard-{self._part}{self._number - 1:05d}.safetensors"


def _says(meta: Path, extraction: Extraction) -> bool:
    """Tell whether the record of a store is there, whole, and of this extraction."""
    try:
        found = read_object(meta) if meta.exists() else {}
    except UserError:
        return False
    return bool(found) and all(found.get(key) == value for key, value in to_json(extraction).items())


TRAITS = WriterTraits(bfloat16=True)


def build(out: Path, part: str, extraction: Extraction, sealed: OnWritten) -> SafetensorsWriter:
    """Make the writer."""
    return SafetensorsWriter(out, part, extraction, sealed)
