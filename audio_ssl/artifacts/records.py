"""Records: what a stage writes as JSON for another, each a frozen dataclass with one reader and one writer.

A file of today must open in the next release, and one of the next release in this one. So a missing key takes its
field's default, an unknown key is kept in the field ``more`` of a record that has one and is written back, and keys are
written in the order of the fields.

JSON has no number for what is not defined. It is ``null`` in the file; in a field of type ``float`` it is read as NaN,
in a field of type ``float | None`` as None.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn

from audio_ssl.base.config import explained
from audio_ssl.base.documents import JsonObject, read_object
from audio_ssl.base.errors import UserError, either, shown
from audio_ssl.base.files import write_json

T = TypeVar("T")

_ABSENT = "absent"
_MORE = "more"


def absent(default: Any) -> Any:
    """Return a dataclass field whose key is left out of the file where the value is `default`.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Row:
    ...     valid: float
    ...     fold: int | None = absent(None)
    >>> to_json(Row(0.5)), to_json(Row(float("nan"), fold=2))
    ({'valid': 0.5}, {'valid': None, 'fold': 2})
    """
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata={_ABSENT: True})
    return dataclasses.field(default=default, metadata={_ABSENT: True})


def read_record(cls: type[T], path: Path, remedy: str | None = None) -> T:
    """Read a record from a JSON file.

    Raises
    ------
    UserError
        Where the file cannot be read or a value has the wrong type; the text has the file and the key's path, and
        `remedy` says how the file is made again.
    """
    return from_json(cls, read_object(path, remedy=remedy), str(path), remedy)


def write_record(path: Path, record: Any) -> None:
    """Write a record as a JSON file, whole or not at all."""
    write_json(path, to_json(record))


def from_json(cls: type[T], data: object, where: str, remedy: str | None = None) -> T:
    """Return the record that plain data describes; `where` names the file in errors.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Score:
    ...     value: float
    ...     unit: str = "%"
    ...     more: dict[str, object] = dataclasses.field(default_factory=dict)
    >>> from_json(Score, {"value": None, "shape": "new"}, "scores.json")
    Score(value=nan, unit='%', more={'shape': 'new'})
    """
    try:
        return _CONVERTER.structure(data, cls)
    except Exception as error:
        found = explained(error, "")
        key = (found.where or "").lstrip(".")
        text = f"`{key}` {found.what}" if found.what.startswith("must") else f"{found.what} in `{key}`"
        text = text if key else found.what
        raise UserError(text, where=where, remedy=remedy or found.remedy) from error


def to_json(record: Any, text: Callable[[str], str] = str) -> JsonObject:
    """Return a record as plain data, keys in the order of its fields; `text` is applied to every value that is text."""
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name == _MORE or (field.metadata.get(_ABSENT) and value == _default(field)):
            continue
        found[field.name] = _plain(value, text)
    return {**found, **_plain(getattr(record, _MORE, {}), text)}


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _plain(value: Any, text: Callable[[str], str]) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value, text)
    if isinstance(value, Mapping):
        return {str(key): _plain(one, text) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one, text) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str | Path):
        return text(str(value))
    return value


# --- reading ----------------------------------------------------------------------------------------------------------


def _number(value: Any, _: type) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"must be a number, but is {shown(value)}")
    return float(value)


def _scalar(value: Any, cls: type) -> Any:
    if type(value) is not cls:
        kind = {int: "an integer", str: "text", bool: "true or false"}[cls]
        raise UserError(f"must be {kind}, but is {shown(value)}")
    return value


def _choice(value: Any, annotation: Any) -> Any:
    known = typing.get_args(annotation)
    if value not in known:
        raise UserError(f"must be {either(known)}, but is {shown(value)}")
    return value


def _member(value: Any, cls: type[StrEnum]) -> StrEnum:
    known = [one.value for one in cls]
    if value not in known:
        raise UserError(f"must be {either(known)}, but is {shown(value)}")
    return cls(value)


def _union(value: Any, annotation: Any) -> Any:
    """Take the first member that fits."""
    members = typing.get_args(annotation)
    if value is None and type(None) in members:
        return None
    problems = []
    for member in (one for one in members if one is not type(None)):
        try:
            return _CONVERTER.structure(value, member)
        except Exception as error:
            problems.append(error)
    raise explained(problems[0], "")


def _list(value: Any, annotation: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise UserError(f"must be a list, but is {shown(value)}")
    of: Any = types.GenericAlias(list, typing.get_args(annotation)[:1])
    return list(_CONVERTER.structure(list(value), of))


def _rows(value: Any, annotation: Any) -> Any:
    return tuple(_list(value, annotation))


def _origin(annotation: Any) -> Any:
    return typing.get_origin(annotation)


def _is_rows(annotation: Any) -> bool:
    members = typing.get_args(annotation)
    return _origin(annotation) is tuple and len(members) == 2 and members[1] is Ellipsis


def _record(cls: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    names = {field.name for field in fields(cls)}
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=False)

    def hook(value: Any, annotation: Any) -> Any:
        if not isinstance(value, Mapping):
            raise UserError(f"must be a mapping of keys to values, but is {shown(value)}")
        if _MORE in names:
            known = {key: one for key, one in value.items() if key in names and key != _MORE}
            value = {**known, _MORE: {key: one for key, one in value.items() if key not in known}}
        return read(value, annotation)

    return hook


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(float, _number)
    for scalar in (int, str, bool):
        converter.register_structure_hook(scalar, _scalar)
    converter.register_structure_hook(StrEnum, _member)
    converter.register_structure_hook_factory(
        lambda cls: isinstance(cls, type) and dataclasses.is_dataclass(cls), lambda cls: _record(cls, converter)
    )
    converter.register_structure_hook_func(lambda kind: _origin(kind) is typing.Literal, _choice)
    converter.register_structure_hook_func(lambda kind: _origin(kind) in (typing.Union, types.UnionType), _union)
    converter.register_structure_hook_func(_is_rows, _rows)
    converter.register_structure_hook_func(lambda kind: kind is Any or kind is object, lambda value, _: value)
    return converter


_CONVERTER = _make_converter()
