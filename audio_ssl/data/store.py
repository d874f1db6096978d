"""ArrayStore: arrays by clip id in sharded safetensors, for targets and features alike.

A shard is written under a temporary name, flushed and renamed. Its header has the ids of its clips. Parts of the next
shard lie below ``.unfinished`` and are written every two minutes, so a killed writer loses at most that. A resumed
writer continues with the same shard, so a store has the same bytes however often its writer was stopped. Readers map
the files into memory and can read a slice of frames alone.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from audio_ssl.base.checksums import fault, put_seals, read_seals, require_whole, seal, write_seals
from audio_ssl.base.documents import as_written, parse_json, read_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write, remove_folder, write_json

logger = logging.getLogger(__name__)

META_FILE = "meta.json"
_PARTS = ".unfinished"
_SHARD = "shard-{:05d}.safetensors"
_AGAIN = "run the command that made it again: it makes what is missing or damaged"

SEAL_BYTES = 256 << 20


class StoreWriter:
    """Writes a store. Leaving the ``with`` block seals the last shard; after an exception it stays in parts.

    Parameters
    ----------
    folder
        Folder of the store.
    meta
        Description of the store. It must be equal when a store is resumed.
    shard_bytes
        Size of its arrays at which a shard is sealed.
    resume
        Continue an existing store.

    Raises
    ------
    UserError
        If the folder holds a store and `resume` is False, or a store with other `meta`.
    """

    def __init__(
        self, folder: Path, meta: Mapping[str, Any], shard_bytes: int = SEAL_BYTES, resume: bool = False
    ) -> None:
        self.folder, self._shard_bytes = folder, shard_bytes
        meta_path = folder / META_FILE
        if meta_path.exists():
            _check_resumable(meta_path, meta, resume)
        else:
            write_json(meta_path, dict(meta))
        self._done: set[str] = set()
        self._number = 0
        for shard in _whole_shards(folder):
            self._done.update(read_ids(shard))
            self._number = _number(shard) + 1
        self._pending: dict[str, dict[str, Tensor]] = {}
        self._parts, self._waiting = 0, Waiting()
        for part in _whole_shards(folder / _PARTS, full=True):
            self._pending |= {name: own for name, own in _read_shard(part).items() if name not in self._done}
            self._parts = _number(part) + 1
        self._pending_bytes = sum(_bytes(arrays) for arrays in self._pending.values())
        # The first of the pending clips are already written in parts.
        self._kept = len(self._pending)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Complete arrays are kept when the work is interrupted.
        if kind is None:
            self._seal()
        else:
            self._keep()

    @property
    def done(self) -> set[str]:
        """Ids that are stored or pending."""
        return self._done | self._pending.keys()

    def add(self, clip_id: str, arrays: Mapping[str, Tensor]) -> None:
        """Add the arrays of one clip; ValueError if the clip is already there."""
        if clip_id in self._done or clip_id in self._pending:
            raise ValueError(f"the clip `{clip_id}` is in the store already")
        self._pending[clip_id] = {name: value.detach().cpu().contiguous() for name, value in arrays.items()}
        size = _bytes(arrays)
        self._pending_bytes += size
        if self._pending_bytes >= self._shard_bytes:
            self._seal()
        elif self._waiting.add(size):
            self._keep()

    def _keep(self) -> None:
        """Write the clips in memory as a part of the next shard."""
        arrays = dict(islice(self._pending.items(), self._kept, None))
        if arrays:
            name = _SHARD.format(self._parts)
            write_shard(self.folder / _PARTS / name, arrays)
            write_seals(self.folder / _PARTS, [name])
            self._parts += 1
            self._kept = len(self._pending)
        self._waiting.clear()

    def _seal(self) -> None:
        """Write the next shard and delete its parts."""
        if self._pending:
            name = _SHARD.format(self._number)
            write_shard(self.folder / name, self._pending)
            write_seals(self.folder, [name])
            self._done.update(self._pending)
            self._number += 1
            self._pending, self._pending_bytes, self._kept = {}, 0, 0
        remove_folder(self.folder / _PARTS)
        self._parts = 0
        self._waiting.clear()


def write_shard(path: Path, arrays: Mapping[str, Mapping[str, Tensor]], work: Path | None = None) -> None:
    """Write one shard with the arrays of each clip by id; `work` is that of `atomic_write`."""
    tensors = {f"{row}/{name}": v.contiguous() for row, own in enumerate(arrays.values()) for name, v in own.items()}
    size = sum(tensor.nbytes for tensor in tensors.values())
    with atomic_write(path, work, size) as partial:
        save_file(tensors, partial, metadata=shard_metadata(list(arrays)))


def shard_metadata(ids: Sequence[str]) -> dict[str, str]:
    """Return the header of a shard, with the ids of its clips."""
    # ASCII JSON can hold any id, even one that is not valid UTF-8.
    return {"ids": json.dumps(list(ids), ensure_ascii=True)}


class ArrayStore:
    """Reads a store.

    Parameters
    ----------
    folder
        Folder of the store.

    Raises
    ------
    UserError
        If the folder is not a store, or a shard is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / META_FILE).is_file():
            raise UserError(f"not an array store: {META_FILE} is missing", where=str(folder))
        self.meta = read_object(folder / META_FILE, remedy="make the store again")
        for part in (folder, folder / _PARTS):
            require_whole(part, _AGAIN)
        self._place: dict[str, tuple[Path, int]] = {}
        self._names: dict[Path, dict[int, list[str]]] = {}
        self._open: dict[Path, Any] = {}
        for shard in (*_shards(folder), *_shards(folder / _PARTS)):
            for row, clip_id in enumerate(read_ids(shard)):
                self._place.setdefault(clip_id, (shard, row))

    @property
    def ids(self) -> list[str]:
        """Ids of all clips, in the order they were added."""
        return list(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._place

    def __getitem__(self, clip_id: str) -> dict[str, Tensor]:
        """Return all arrays of a clip."""
        shard, row = self._find(clip_id)
        handle = self._handle(shard)
        return {name: handle.get_tensor(f"{row}/{name}") for name in self._names[shard][row]}

    def get(self, clip_id: str, name: str, start_frame: int = 0, stop_frame: int | None = None) -> Tensor:
        """Return frames `start_frame` to `stop_frame` (first axis) of one array. Only these are read."""
        shard, row = self._find(clip_id)
        handle = self._handle(shard)
        if name not in self._names[shard][row]:
            raise KeyError(f"the clip `{clip_id}` has no array `{name}`, but {', '.join(self._names[shard][row])}")
        part: Tensor = handle.get_slice(f"{row}/{name}")[start_frame:stop_frame]
        return part

    def _find(self, clip_id: str) -> tuple[Path, int]:
        if clip_id not in self._place:
            raise KeyError(f"the store {self.folder} has no clip `{clip_id}`")
        return self._place[clip_id]

    def _handle(self, shard: Path) -> Any:
        if shard not in self._open:
            handle = safe_open(shard, framework="pt")
            names: dict[int, list[str]] = {}
            for key in cast(list[str], handle.keys()):  # type: ignore[no-untyped-call]
                row, _, name = key.partition("/")
                names.setdefault(int(row), []).append(name)
            self._open[shard], self._names[shard] = handle, names
        return self._open[shard]


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.safetensors"))


def _number(shard: Path) -> int:
    return int(shard.stem.removeprefix("shard-"))


def _bytes(arrays: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in arrays.values())


def _whole_shards(folder: Path, full: bool = False) -> Iterator[Path]:
    """Yield the shards of a store that is being written. Damaged ones are removed, so their clips are computed again.

    With `full`, contents are compared and not only lengths, as parts are written and sealed anew.
    """
    seals, unknown = read_seals(folder), []
    for shard in _shards(folder):
        wrong = fault(shard, seals.get(shard.name), full)
        if wrong is None:
            yield shard
            # The writer was killed before it recorded the shard.
            unknown += [shard.name] if shard.name not in seals else []
        else:
            logger.warning("%s %s: its clips are computed again", shard, wrong)
            shard.unlink()
    if seals or unknown:
        put_seals(folder, {name: seal(folder / name) for name in unknown})


def _read_shard(path: Path) -> dict[str, dict[str, Tensor]]:
    """Return the arrays of each clip of a shard by its id."""
    arrays: dict[str, dict[str, Tensor]] = {name: {} for name in read_ids(path)}
    ids = list(arrays)
    for key, value in load_file(path).items():
        row, _, name = key.partition("/")
        arrays[ids[int(row)]][name] = value
    return arrays


def read_ids(shard: Path) -> list[str]:
    """Return the ids of a shard's clips; UserError if it is damaged."""
    try:
        with safe_open(shard, framework="pt") as handle:
            ids = parse_json(handle.metadata()["ids"], str(shard))
            if isinstance(ids, list) and all(isinstance(clip_id, str) for clip_id in ids):
                return cast(list[str], ids)
            raise UserError("damaged shard: `ids` must be a list of names", where=str(shard), remedy=_AGAIN)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"damaged shard: {error}", where=str(shard), remedy=_AGAIN) from error


def _check_resumable(meta_path: Path, meta: Mapping[str, Any], resume: bool) -> None:
    if not resume:
        raise UserError(
            "the folder holds a store already", where=str(meta_path.parent), remedy="choose another `--out`"
        )
    old = read_object(meta_path, remedy="choose another `--out`, or delete the folder to make the store again")
    # As in the file, where tuples are lists.
    new = as_written(dict(meta))
    if old != new:
        keys = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
        changes = "; ".join(f"`{k}` is {old.get(k)!r} there, {new.get(k)!r} here" for k in keys)
        raise UserError(f"the store was made with other settings: {changes}", where=str(meta_path.parent))


SEAL_SECONDS = 120.0
"""Size, and seconds since its first clip, at which a part is written."""


class Waiting:
    """Decides when pending clips are written: by their size, or by the age of the first.

    So a killed process loses two minutes of work at most, and a fast one does not write thousands of small files.
    """

    def __init__(self) -> None:
        self._bytes, self._since = 0, time.monotonic()

    def add(self, size: int) -> bool:
        """Add bytes; return whether it is time to write."""
        if not self._bytes:
            self._since = time.monotonic()
        self._bytes += size
        return self._bytes >= SEAL_BYTES or time.monotonic() - self._since > SEAL_SECONDS

    def clear(self) -> None:
        """Start again from zero."""
        self._bytes = 0
