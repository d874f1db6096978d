"""New keys of recipes, and what recipes meant before a key existed. Old recipes, stores and models keep their meaning.

A new key states what runs did before it existed: ``decay: str = added("all", earlier="matrices")``. The recipe of an
older run is then read as ``matrices``, and a recipe written by hand today as ``all``. A hash leaves out a key with its
earlier value, so it equals the hash from before the key existed.

`VERSION` is the version of recipes. A resolved recipe (``RUN/recipe.yaml``, ``--show``) has it. Recipes of version 1 do
not; they are recognised by having all keys that runs wrote then.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.config import part_of, unstructure
from audio_ssl.base.errors import UserError, shown

T = TypeVar("T")

VERSION = 2
"""Version of the recipes that this release writes."""

_ALL_OF_VERSION_1 = frozenset(
    (
        *("kind", "seed", "steps", "precision", "device", "data", "optim", "checkpoint", "guards", "parallel"),
        *("weights_ema", "compile", "profile", "wandb"),
    )
)
"""Top-level keys of every resolved recipe of version 1. Recipes written by hand do not have all of them."""

_SINCE, _EARLIER = "since", "earlier"
_MISSING: Any = object()


def added(default: T, *, earlier: T = _MISSING, since: int = 2) -> T:
    """Return the dataclass field of a key that earlier versions did not have.

    Parameters
    ----------
    default
        Value in recipes that do not have the key.
    earlier
        Value that describes runs from before the key existed (default: `default`). Settings of models (frontends,
        encoders) never give it, as the ``config.json`` of a saved model has no version.
    since
        Version that introduced the key. The default stays 2 when `VERSION` grows, as keys without it came then.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Optim:
    ...     lr: float
    ...     decay: str = added("all", earlier="matrices")
    >>> Optim(0.1)
    Optim(lr=0.1, decay='all')
    >>> fill_in(Optim, {"lr": 0.1}, version=1)
    {'lr': 0.1, 'decay': 'matrices'}
    >>> hashed(Optim(0.1, "matrices"))
    {'lr': 0.1}
    """
    before = default if earlier is _MISSING else earlier
    found: T = dataclasses.field(default=default, metadata={_SINCE: since, _EARLIER: before})
    return found


def dated(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with its `version`: the written one, else 1 for a recipe of a run of version 1, else `VERSION`.

    Raises
    ------
    UserError
        If the version is not a whole number above zero, or is newer than this release.
    """
    version = data.get("version", 1 if data.keys() >= _ALL_OF_VERSION_1 else VERSION)
    if type(version) is not int or version < 1:
        raise UserError(f"`version` must be a whole number above 0, but is {shown(version)}", where="$.version")
    if version > VERSION:
        raise UserError(
            f"`version` must be at most {VERSION}, the newest that this release knows, but is {version}",
            where="$.version",
            remedy="read the recipe with the release that wrote it, or a later one: pip install --upgrade audio-ssl",
        )
    return {**data, "version": version}


def fill_in(cls: type, data: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Add the earlier value of each missing key that is newer than `version` to the plain data of a config.

    Existing keys stay as they are. Unknown ones are refused by `config.structure`.
    """
    hints, filled = typing.get_type_hints(cls, include_extras=True), dict(data)
    for field in dataclasses.fields(cls):
        if field.name in filled:
            filled[field.name] = _filled(hints[field.name], filled[field.name], version)
        elif field.metadata.get(_SINCE, 0) > version:
            filled[field.name] = _plain(field.metadata[_EARLIER])
    return filled


def hashed(config: Any) -> dict[str, Any]:
    """Return the plain data of a config for its hash, without added keys that have their earlier value."""
    return _without(type(config), unstructure(config))


def _filled(annotation: Any, value: Any, version: int) -> Any:
    if isinstance(value, Mapping):
        cls = _config_class(annotation, value)
        return value if cls is None else fill_in(cls, value, version)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_filled(annotation, one, version) for one in value]
    return value


def _without(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    kept: dict[str, Any] = {}
    for key, value in data.items():
        if key not in fields:
            kept[key] = value
        elif _SINCE not in fields[key].metadata or value != _plain(fields[key].metadata[_EARLIER]):
            kept[key] = _reduced(hints[key], value)
    return kept


def _reduced(annotation: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        cls = _config_class(annotation, value)
        return value if cls is None else _without(cls, value)
    return [_reduced(annotation, one) for one in value] if isinstance(value, list) else value


def _config_class(annotation: Any, value: Mapping[str, Any]) -> type | None:
    """Return the config dataclass of a mapping by the annotation: itself, or within a union or a tuple."""
    part = part_of(annotation)
    if part is not None:
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in parts(part.folder):
            return None
        found: type = load_part(part.folder, kind).Config
        return found
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return annotation
    inner = (_config_class(one, value) for one in typing.get_args(annotation))
    return next((cls for cls in inner if cls is not None), None)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return unstructure(value)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
