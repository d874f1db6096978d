"""Reads pickles of tensors and settings without running anything that they name.

A pickle is a program: it names functions and classes, and calls them. Here none of them is called. A few names, from
which tables of tensors are built, stand for functions of this file. Every other name stands for a new class of inert
records, which keep their arguments. So settings that fairseq pickles as ``argparse.Namespace`` or nodes of OmegaConf
can be read as data (`plain`), and a pickle that calls ``os.system`` gives a record of the call.

`torch.load` takes this module as its ``pickle_module``: torch reads the storages, this file everything else.
"""

from __future__ import annotations

import copyreg
import itertools
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, ClassVar

import torch
from torch import Tensor
from torch.storage import TypedStorage

_DEPTH, _ITEMS = 64, 200_000
"""Largest depth and number of a model's settings."""


class InertRecord:
    """An object of a class that was named in the file: its arguments, state and items, and no behaviour."""

    __slots__ = ("args", "items", "kind", "pairs", "state")
    KIND: ClassVar[str] = "?"
    kind: str
    args: tuple[object, ...]
    state: object
    items: list[object]
    pairs: list[tuple[object, object]]

    def __new__(cls, *args: object, **named: object) -> InertRecord:
        """Keep the arguments."""
        record = super().__new__(cls)
        record.kind = cls.KIND
        record.args, record.state = args, dict(named)
        record.items, record.pairs = [], []
        return record

    def __init__(self, *args: object, **named: object) -> None:
        pass

    def __call__(self, *args: object) -> InertRecord:
        """Return a record of the call of what would have been a function."""
        return InertRecord(self, *args)

    def __setstate__(self, state: object) -> None:
        """Keep what pickle would have made attributes of."""
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Keep an entry of a dictionary."""
        self.pairs.append((key, value))

    def append(self, item: object) -> None:
        """Keep an item of a list or set."""
        self.items.append(item)

    add = append

    def extend(self, items: Iterable[object]) -> None:
        """Keep items of a list."""
        self.items.extend(items)


class PickledTable(dict[Any, Any]):
    """An ordered dictionary; what a pickle wants to set on it besides its entries is dropped."""

    def __setstate__(self, state: object) -> None:
        """Drop the state, such as the versions of modules that torch keeps with weights."""


class _Allowed:
    """A callable without attributes that a pickle could set; made anew for every file."""

    __slots__ = ("_call",)
    _call: Callable[..., object]

    def __init__(self, call: Callable[..., object]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: object) -> object:
        return self._call(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("the file changes a function")

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("the file changes a function")


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    if not isinstance(storage, TypedStorage):
        raise pickle.UnpicklingError("a tensor of the file has no storage")
    # Hooks and the wish for gradients, which may follow, are dropped.
    rebuilt: Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)  # type: ignore[no-untyped-call]
    return rebuilt


def _parameter(data: object, *_: object) -> Tensor:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter of the file is not a tensor")
    return data


_CALLABLES: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): lambda sizes=(): tuple(sizes),
    ("collections", "OrderedDict"): lambda *entries: PickledTable(*entries),
}


class WithoutForeignNames:
    """What an interpreter of pickles does with names: mixed into Python's and into C's."""

    _classes: dict[tuple[str, str], Any]

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name of the file means here."""
        key = (str(module), str(name))
        if key not in self._classes:
            self._classes[key] = meaning(*key)
        return self._classes[key]

    def load(self) -> Any:
        """Read the pickle. Extension codes are refused: they stand for real objects of this process."""
        if copyreg._inverted_registry:  # type: ignore[attr-defined]
            raise pickle.UnpicklingError("this process has registered extensions of pickle")
        return super().load()  # type: ignore[misc]


class Unpickler(WithoutForeignNames, pickle.Unpickler):
    """The interpreter of pickles, without foreign names; `torch.load` derives its own from it."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._classes: dict[tuple[str, str], Any] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "persistent_load":
            value = _storages_only(value)
        super().__setattr__(name, value)


def meaning(module: str, name: str) -> Any:
    """Return what a name of a file stands for here: a function of this file, a type of numbers, or inert records."""
    if (module, name) in _CALLABLES:
        return _Allowed(_CALLABLES[module, name])
    if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
        return getattr(torch, name)
    return type("Record", (InertRecord,), {"KIND": f"{module}.{name}", "__slots__": ()})


def _storages_only(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Pass only storages of a known type to torch, which would inspect the source code of other objects."""

    def checked(saved: Any) -> Any:
        usual = isinstance(saved, tuple) and len(saved) >= 5 and saved[0] in ("storage", b"storage")
        if not usual or not isinstance(getattr(saved[1], "dtype", None), torch.dtype):
            raise pickle.UnpicklingError("the file refers to something that is not a tensor")
        if type(saved[2]) not in (str, bytes, int) or type(saved[4]) is not int:
            raise pickle.UnpicklingError("a storage of the file has no key or no size")
        return load(saved)

    return checked


def load(file: IO[bytes], **named: Any) -> Any:
    """Read one pickle."""
    return Unpickler(file, **named).load()


def plain(value: object) -> Any:
    """Return the data in records: dictionaries, lists and scalars; everything else becomes None.

    Supported are ``argparse.Namespace`` and similar classes (their attributes), OmegaConf's nodes of any version (their
    content), enumerations (their value) and dictionaries of any class.

    Raises
    ------
    UnpicklingError
        If the data are larger or deeper than settings are, for example if records contain each other.
    """
    return _plain(value, 0, itertools.count())


def _plain(value: object, depth: int, seen: Iterator[int]) -> Any:
    if depth > _DEPTH or next(seen) > _ITEMS:
        raise pickle.UnpicklingError("the file's settings are larger or deeper than settings are")
    if isinstance(value, InertRecord):
        return _plain(_inside(value), depth + 1, seen)
    if isinstance(value, dict):
        pairs = [(key, item) for key, item in dict.items(value) if isinstance(key, str | int)]
        return {str(key): _plain(item, depth + 1, seen) for key, item in pairs}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1, seen) for item in value]
    return value if isinstance(value, str | int | float | bool) else None


def _inside(record: InertRecord) -> object:
    state = record.state
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0] or {}, dict):
        state = {**(state[0] or {}), **(state[1] if isinstance(state[1], dict) else {})}
    if isinstance(state, dict):
        for key in ("_content", "content", "_val"):
            if key in state:
                return state[key]
        if state:
            return state
    if record.pairs:
        return dict(pair for pair in record.pairs if isinstance(pair[0], str | int))
    if record.items:
        return record.items
    return record.args[0] if len(record.args) == 1 else None
