"""Converts frozen dataclasses to YAML and back by cattrs. Errors have the path of the key.

A *part* (a frontend, a teacher, a head ...) is written ``{kind: cqt, n_bins: 84}``. The kind is a file in the folder
named by `PartOf`, and the ``Config`` dataclass of that file has the other keys. Nothing in a YAML file is imported by
path, called or evaluated.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from audio_ssl.base import documents
from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.documents.limits import MAX_DEPTH
from audio_ssl.base.errors import UserError, either, shown, unknown_name

T = TypeVar("T")

_MAX_INT = 2**63
"""Integers of torch and numpy are smaller."""


@dataclass(frozen=True)
class PartOf:
    """Marks a field as a part: ``frontend: Annotated[object, PartOf("frontends")]``."""

    folder: str
    """The package folder, ``frontends`` or ``probing/heads``."""


def structure(cls: type[T], data: Mapping[str, Any], where: str = "$") -> T:
    """Build a config dataclass from plain data.

    Raises
    ------
    UserError
        For an unknown key or kind, a missing key, or a value of the wrong type. The message has the path of the key and
        the known names.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"must be a mapping of keys to values, but is {shown(data)}", where=where)
    try:
        return _CONVERTER.structure(data, cls)
    except Exception as error:
        raise explained(error, where) from error


def unstructure(config: Any) -> dict[str, Any]:
    """Return the plain data of a config, in which parts have their ``kind``; the inverse of `structure`."""
    return cast(dict[str, Any], _plain(config))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping. An empty file is an empty mapping; UserError for anything else."""
    data = documents.read_yaml(path)
    return {} if data is None else documents.as_object(data, str(path))


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `data` with ``key=value`` settings applied. Values are read as YAML.

    Examples
    --------
    >>> apply_overrides({"teachers": [{"kind": "cqt"}]}, ["steps=2", "teachers.0.n_bins=84"])
    {'teachers': [{'kind': 'cqt', 'n_bins': 84}], 'steps': 2}
    """
    result: dict[str, Any] = _plain(data)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"`{shown(override)[1:-1]}` is not of the form key=value", remedy="for example steps=100")
        keys = key.split(".")
        if len(keys) > MAX_DEPTH:
            raise UserError(f"`{shown(key)[1:-1]}` has {len(keys)} parts; a key has at most {MAX_DEPTH}")
        _set(result, keys, _scalar(text, key), key)
    return result


def load(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read a YAML file into a config dataclass, with overrides applied."""
    return structure(cls, apply_overrides(read_yaml(path), overrides))


def dump_yaml(config: Any) -> str:
    """Return a config as YAML text, from which `load` returns an equal config."""
    return documents.dump_yaml(unstructure(config))


def kind_of(config: Any) -> str:
    """Return the kind of a part's config: the name of the module that defines it."""
    return type(config).__module__.rsplit(".", 1)[-1]


def traits_of(config: object, cls: type[T]) -> T:
    """Return what a part, given by its config, says of itself: the ``TRAITS`` of its file, which are a `cls`."""
    return module_traits(import_module(type(config).__module__), cls)


def module_traits(module: types.ModuleType, cls: type[T]) -> T:
    """Return the ``TRAITS`` of a part's module; TypeError if they are not a `cls`."""
    found = vars(module).get("TRAITS")
    if not isinstance(found, cls):
        raise TypeError(f"{module.__name__} has no TRAITS = {cls.__name__}(...)")
    return found


def build(config: Any, *args: Any, **deps: Any) -> Any:
    """Return the part that a config describes, built by the ``build`` function of the config's module."""
    return import_module(type(config).__module__).build(config, *args, **deps)


def _scalar(text: str, key: str) -> Any:
    try:
        return _exponent_float(documents.parse_yaml(text, ""))
    except UserError as error:
        raise UserError(f"the value {shown(text)} cannot be read: {error.what}", where=f"$.{key}") from error


def _exponent_float(value: Any) -> Any:
    """Convert texts such as 1e-4, which YAML 1.1 does not read as numbers."""
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _set(node: Any, keys: list[str], value: Any, full: str) -> None:
    for key, following in pairwise(keys):
        if isinstance(node, list):
            node = node[_index(node, key, full)]
        else:
            if node.get(key) is None:
                node[key] = [] if following.isdigit() else {}
            node = node[key]
        if not isinstance(node, dict | list):
            raise UserError(f"`{key}` is a plain value, so it has no keys below it", where=f"$.{full}")
    if isinstance(node, list):
        node[_index(node, keys[-1], full)] = value
    else:
        node[keys[-1]] = value


def _index(node: list[Any], key: str, full: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise UserError(f"`{key}` must be an index below {len(node)}", where=f"$.{full}")
    return int(key)


# --- structuring ------------------------------------------------------------------------------------------------------


def part_of(annotation: Any) -> PartOf | None:
    """Return the `PartOf` of an annotation, or None."""
    if typing.get_origin(annotation) is typing.Annotated:
        for note in typing.get_args(annotation)[1:]:
            if isinstance(note, PartOf):
                return note
    return None


def _structure_part(value: Any, annotation: Any) -> Any:
    folder = cast(PartOf, part_of(annotation)).folder
    known = parts(folder)
    thing = folder.rsplit("/", 1)[-1].removesuffix("s")
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise UserError(f"must be a mapping with a `kind`, one of: {', '.join(known)}; got {shown(value)}")
    kind = value["kind"]
    if kind not in known:
        raise unknown_name(thing, kind, known)
    module = load_part(folder, kind)
    rest = {k: v for k, v in value.items() if k != "kind"}
    return _CONVERTER.structure(rest, module.Config)


def _strict_scalar(value: Any, cls: type) -> Any:
    value = _exponent_float(value) if cls is float else value
    if cls is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not cls:
        raise UserError(f"must be {_article(cls)}, but is {shown(value)}")
    too_large = isinstance(value, int) and abs(value) >= _MAX_INT
    if too_large or (isinstance(value, float) and not math.isfinite(value)):
        raise UserError(f"must be finite and fit into 64 bits, but is {shown(value)}")
    return value


def _article(cls: type) -> str:
    return {int: "an integer", float: "a number", str: "text", bool: "true or false"}[cls]


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for scalar in (int, float, str, bool):
        converter.register_structure_hook(scalar, _strict_scalar)
    converter.register_structure_hook_factory(
        lambda cls: isinstance(cls, type) and dataclasses.is_dataclass(cls), lambda cls: _dataclass_hook(cls, converter)
    )
    converter.register_structure_hook_func(_is_choice, _structure_choice)
    converter.register_structure_hook_func(_is_union, lambda v, t: _structure_union(v, t))
    converter.register_structure_hook_func(lambda t: t is Any or t is object, lambda v, _: v)
    converter.register_structure_hook_func(_is_sequence, lambda v, t: _structure_sequence(v, t))
    converter.register_structure_hook_func(lambda t: part_of(t) is not None, _structure_part)
    return converter


def _dataclass_hook(cls: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    # cattrs resolves text annotations without their Annotated metadata, which marks parts.
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        field.type = hints[field.name]
    from_mapping: Callable[[Any, Any], Any] = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)

    def hook(value: Any, annotation: Any) -> Any:
        if not isinstance(value, Mapping):
            raise UserError(f"must be a mapping of keys to values, but is {shown(value)}")
        return from_mapping(value, annotation)

    return hook


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _structure_union(value: Any, annotation: Any) -> Any:
    """Return the value as the first member of a union that fits; None only if the union has it."""
    members = typing.get_args(annotation)
    if value is None and type(None) in members:
        return None
    rest = [m for m in members if m is not type(None)]
    if len(rest) == 1:
        return _CONVERTER.structure(value, rest[0])
    problems = []
    for member in rest:
        try:
            return _CONVERTER.structure(value, member)
        except Exception as error:
            problems.append(explained(error, "").what)
    raise UserError(f"{' or '.join(dict.fromkeys(problems))}")


def _is_choice(annotation: Any) -> bool:
    origin: Any = typing.get_origin(annotation)
    return origin is typing.Literal


def _structure_choice(value: Any, annotation: Any) -> Any:
    """Return one of the values of a Literal, of the same type, as 1 equals true."""
    known = typing.get_args(annotation)
    if not any(type(value) is type(one) and value == one for one in known):
        raise UserError(f"must be {either(known)}, but is {shown(value)}")
    return value


def _is_sequence(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple


def _structure_sequence(value: Any, annotation: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise UserError(f"must be a list, but is {shown(value)}")
    members = typing.get_args(annotation)
    variadic = len(members) == 2 and members[1] is Ellipsis
    if not variadic and len(value) != len(members):
        raise UserError(f"must be a list of {len(members)} values, but has {len(value)}")
    kinds = [members[0]] * len(value) if variadic else list(members)
    out = []
    for index, (item, kind) in enumerate(zip(value, kinds, strict=True)):
        try:
            out.append(_CONVERTER.structure(item, kind))
        except Exception as error:
            raise explained(error, f"[{index}]") from error
    return tuple(out)


def explained(error: BaseException, where: str) -> UserError:
    """Return the nested errors of cattrs as one UserError with the path of the first wrong key, below `where`."""
    if isinstance(error, UserError):
        inner = error.where or ""
        return UserError(error.what, where=_join(where, inner), remedy=error.remedy)
    if isinstance(error, ForbiddenExtraKeysError):
        known = [f.name for f in dataclasses.fields(error.cl)]
        return unknown_name("key", sorted(map(str, error.extra_fields))[0], known, where)
    if isinstance(error, ClassValidationError | IterableValidationError):
        first = error.exceptions[0]
        for note in getattr(first, "__notes__", []):
            if isinstance(note, AttributeValidationNote):
                return explained(first, f"{where}.{note.name}")
            if isinstance(note, IterableValidationNote):
                return explained(first, f"{where}[{note.index}]")
        return explained(first, where)
    if isinstance(error, KeyError):
        return UserError(f"the key `{error.args[0]}` is missing", where=where)
    return UserError(str(error), where=where)


def _join(outer: str, inner: str) -> str:
    if inner.startswith("$"):
        inner = inner[1:]
    return f"{outer}{inner}"


# --- unstructuring ----------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain_dataclass(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Path):
        return str(value)
    return value


def _plain_dataclass(config: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(type(config), include_extras=True)
    data: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        data[field.name] = _plain_part(value, hints[field.name])
    return data


def _plain_part(value: Any, annotation: Any) -> Any:
    if value is None:
        return None
    if part_of(annotation) is not None:
        return {"kind": kind_of(value), **_plain_dataclass(value)}
    if _is_union(annotation):
        for member in typing.get_args(annotation):
            if part_of(member) is not None:
                return _plain_part(value, member)
    if isinstance(value, tuple | list):
        members = typing.get_args(annotation)
        if members and part_of(members[0]) is not None:
            return [_plain_part(v, members[0]) for v in value]
    return _plain(value)


_CONVERTER = _make_converter()
