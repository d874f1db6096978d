"""ArrayStore: arrays by clip id in sharded safetensors, for targets and features alike.

A shard is written under a temporary name, flushed and renamed; its ids are in the shard's own header. A killed writer
loses at most the shard it was filling, and a resumed one goes on after the last sealed shard. Readers map the files
into memory and can read a slice of frames without the rest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.atomic import atomic_write, write_json
from audio_ssl.documents import as_written, parse_json, read_object
from audio_ssl.errors import UserError
from audio_ssl.integrity import fault, put_seals, read_seals, require_whole, write_seals

META_FILE = "meta.json"
_SHARD = "shard-{:05d}.safetensors"
_AGAIN = "run the command that made it again: it makes what is missing or damaged"

logger = logging.getLogger(__name__)


class StoreWriter:
    """Writes a store; leaving the ``with`` block normally or by an exception seals what was added.

    Parameters
    ----------
    folder
        Of the store.
    meta
        What the store says about itself; must be equal when a store is resumed.
    shard_bytes
        A shard is sealed when its arrays reach this size.
    resume
        Go on with a store that exists.

    Raises
    ------
    UserError
        If the folder holds a store and `resume` is False, or a store with other `meta`.
    """

    def __init__(
        self, folder: Path, meta: Mapping[str, Any], shard_bytes: int = 256 << 20, resume: bool = False
    ) -> None:
        self.folder, self._shard_bytes = folder, shard_bytes
        self._pending: dict[str, dict[str, Tensor]] = {}
        self._pending_bytes = 0
        meta_path = folder / META_FILE
        if meta_path.exists():
            _check_resumable(meta_path, meta, resume)
        else:
            write_json(meta_path, dict(meta))
        self._done: set[str] = set()
        self._number = 0
        for shard in _whole_shards(folder):
            self._done.update(read_ids(shard))
            self._number = int(shard.stem.removeprefix("shard-")) + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whole arrays are worth keeping also when the work was interrupted.
        self._seal()

    @property
    def done(self) -> set[str]:
        """Ids that are stored or about to be."""
        return self._done | self._pending.keys()

    def add(self, clip_id: str, arrays: Mapping[str, Tensor]) -> None:
        """Add the arrays of one clip; ValueError if the clip is there already."""
        if clip_id in self._done or clip_id in self._pending:
            raise ValueError(f"the clip `{clip_id}` is in the store already")
        self._pending[clip_id] = {name: value.detach().cpu().contiguous() for name, value in arrays.items()}
        self._pending_bytes += sum(value.nbytes for value in arrays.values())
        if self._pending_bytes >= self._shard_bytes:
            self._seal()

    def _seal(self) -> None:
        if not self._pending:
            return
        name = _SHARD.format(self._number)
        write_shard(self.folder / name, self._pending)
        write_seals(self.folder, [name])
        self._done.update(self._pending)
        self._number += 1
        self._pending, self._pending_bytes = {}, 0


def write_shard(path: Path, arrays: Mapping[str, Mapping[str, Tensor]], work: Path | None = None) -> None:
    """Write one shard: the arrays of each clip by its id; `work` is that of `atomic_write`."""
    tensors = {f"{row}/{name}": v.contiguous() for row, own in enumerate(arrays.values()) for name, v in own.items()}
    size = sum(tensor.nbytes for tensor in tensors.values())
    with atomic_write(path, work, size) as partial:
        save_file(tensors, partial, metadata=shard_metadata(list(arrays)))


def shard_metadata(ids: Sequence[str]) -> dict[str, str]:
    """Return what a shard's header says about its clips."""
    # ASCII JSON carries any id, also one that is not valid UTF-8.
    return {"ids": json.dumps(list(ids), ensure_ascii=True)}


class ArrayStore:
    """Reads a store.

    Parameters
    ----------
    folder
        Of the store.

    Raises
    ------
    UserError
        If the folder is no store, or a shard is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / META_FILE).is_file():
            raise UserError(f"not an array store: {META_FILE} is missing", where=str(folder))
        self.meta = read_object(folder / META_FILE, remedy="make the store again")
        require_whole(folder, _AGAIN)
        self._place: dict[str, tuple[Path, int]] = {}
        self._names: dict[Path, dict[int, list[str]]] = {}
        self._open: dict[Path, Any] = {}
        for shard in _shards(folder):
            for row, clip_id in enumerate(read_ids(shard)):
                self._place[clip_id] = (shard, row)

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
        """Return frames `start_frame` to `stop_frame` (the first axis) of one array; only those are read."""
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


def _whole_shards(folder: Path) -> Iterator[Path]:
    """Yield the shards of a store that is written to; a damaged one is removed, so that its clips come again."""
    seals = read_seals(folder)
    for shard in _shards(folder):
        wrong = fault(shard, seals.get(shard.name))
        if wrong is None:
            yield shard
        else:
            logger.warning("%s %s: its clips are computed again", shard, wrong)
            shard.unlink()
    if seals:
        put_seals(folder, {})


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
    # Through JSON and back: tuples become lists, as in the file.
    new = as_written(dict(meta))
    if old != new:
        keys = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
        changes = "; ".join(f"`{k}` is {old.get(k)!r} there, {new.get(k)!r} here" for k in keys)
        raise UserError(f"the store was made otherwise: {changes}", where=str(meta_path.parent))
