"""How features are written: a safetensors store, a tree of .npy files, or a parquet table.

Each writer knows which clips it has, so that a stopped extraction goes on, and leaves only whole files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from audio_ssl.atomic import atomic_write
from audio_ssl.data.store import StoreWriter

_TABLE_BYTES = 128 << 20


class Writer(Protocol):
    """Takes one array per clip."""

    def done(self, clip_id: str) -> bool:
        """Tell whether the clip was written before."""
        ...

    def add(self, clip_id: str, array: Tensor) -> str:
        """Write a clip's features; return where, relative to the output folder."""
        ...

    def close(self) -> None:
        """Write what is still held."""
        ...


def open_writer(format: str, out: Path, meta: Mapping[str, Any]) -> Writer:
    """Return the writer of a format: safetensors, npy or parquet."""
    if format == "safetensors":
        return SafetensorsWriter(out, meta)
    return NpyWriter(out) if format == "npy" else ParquetWriter(out)


class SafetensorsWriter:
    """An `ArrayStore` whose arrays are named ``features``."""

    def __init__(self, out: Path, meta: Mapping[str, Any]) -> None:
        self._store = StoreWriter(out / "store", meta, resume=True)

    def done(self, clip_id: str) -> bool:
        """Tell whether the clip is in the store."""
        return clip_id in self._store.done

    def add(self, clip_id: str, array: Tensor) -> str:
        """Add a clip to the store."""
        self._store.add(clip_id, {"features": array})
        return "store"

    def close(self) -> None:
        """Seal the last shard."""
        self._store.__exit__(None, None, None)


class NpyWriter:
    """One file a clip, at the audio's relative path with the suffix replaced by ``.npy``.

    Where two files differ in the suffix only, the second keeps its own: ``a.flac.npy``.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._owner: dict[str, str] = {}

    def place(self, clip_id: str) -> str:
        """Return a clip's file, relative to the output folder; the same as long as clips come in the same order."""
        # Rows cut from one file end in #000: the number is no suffix.
        stem, mark, piece = clip_id.partition("#")
        parts = [part for part in Path(stem).parts if part not in ("/", "..")]
        plain = Path(*parts).with_suffix("") if parts else Path("clip")
        short = f"{plain.as_posix()}{mark}{piece}.npy"
        if self._owner.setdefault(short, clip_id) == clip_id:
            return short
        return f"{Path(*parts).as_posix()}{mark}{piece}.npy"

    def done(self, clip_id: str) -> bool:
        """Tell whether the clip's file is there."""
        return (self._out / self.place(clip_id)).exists()

    def add(self, clip_id: str, array: Tensor) -> str:
        """Write the clip's file."""
        name = self.place(clip_id)
        with atomic_write(self._out / name) as partial:
            np.save(partial, array.numpy(), allow_pickle=False)
        return name

    def close(self) -> None:
        """Do nothing: every file is whole already."""


class ParquetWriter:
    """A table in parts: ``id``, ``shape`` and the values in row-major order."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._parts = sorted(out.glob("features-*.parquet"))
        self._done = {name for part in self._parts for name in pq.read_table(part, columns=["id"])["id"].to_pylist()}

    def done(self, clip_id: str) -> bool:
        """Tell whether the clip is in a part."""
        return readable_id(clip_id) in self._done

    def add(self, clip_id: str, array: Tensor) -> str:
        """Hold a row; a part is written when it is large."""
        values = array.numpy()
        row = {"id": readable_id(clip_id), "shape": list(values.shape), "features": values.reshape(-1)}
        self._rows.append(row)
        self._bytes += values.nbytes
        name = f"features-{len(self._parts):05d}.parquet"
        if self._bytes >= _TABLE_BYTES:
            self.close()
        return name

    def close(self) -> None:
        """Write the rows that are held as one more part."""
        if not self._rows:
            return
        part = self._out / f"features-{len(self._parts):05d}.parquet"
        with atomic_write(part) as partial:
            pq.write_table(pa.Table.from_pylist(self._rows), partial)
        self._parts.append(part)
        self._rows, self._bytes = [], 0


def readable_id(clip_id: str) -> str:
    """Return an id as valid UTF-8, with the bytes of a name that is not UTF-8 escaped."""
    return clip_id.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
