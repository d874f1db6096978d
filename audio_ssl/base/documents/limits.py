"""Limits of documents, and the checks for values beyond them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

from audio_ssl.base.errors import UserError, one_line, shown

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""Any plain value."""

JsonObject: TypeAlias = dict[str, Any]
"""An object of keys and plain values; the caller checks the values that it uses."""

T = TypeVar("T")

MAX_BYTES = 64 << 20
"""Maximum size of a JSON document. Reports and model descriptions are much smaller."""

MAX_YAML_BYTES = 1 << 20
"""Maximum size of a YAML document, which is written by hand."""

MAX_LINE_BYTES = 16 << 20
"""Maximum size of a line of JSON Lines."""

MAX_REPEATED = 10_000
"""Maximum number of values that all references of a YAML document stand for."""

MAX_DEPTH = 64
"""Maximum nesting of lists and mappings."""

MAX_DIGITS = 300
"""Maximum digits of an integer, which can still be converted to a finite float."""

_NAMES = {str: "text", int: "an integer", float: "a number", bool: "true or false", list: "a list", dict: "an object"}
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# File names that are not UTF-8 have these, one for each invalid byte.
_NOT_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


class Refused(ValueError):  # noqa: N818 - it becomes a UserError
    """A value that documents must not have. The reader adds its position."""


def key_path(keys: tuple[str | int, ...]) -> str:
    """Return the path of a value for messages.

    Examples
    --------
    >>> key_path(("teachers", 0, "n bins"))
    "$.teachers[0]['n bins']"
    """
    parts = (
        f"[{key}]" if isinstance(key, int) else f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{shown(key, 40)}]"
        for key in keys
    )
    return one_line(f"${''.join(parts)}", 200)


def check_number(value: float | int) -> None:
    """Raise `Refused` for a number that is not finite or has too many digits."""
    if isinstance(value, int) and value.bit_length() > MAX_DIGITS * 3.33:
        raise Refused(f"{shown(value)} is too large; an integer has at most {MAX_DIGITS} digits")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused("the number is not finite; leave it out or write null")


def check_text(value: str) -> None:
    """Raise `Refused` for a text with NUL or a lone surrogate."""
    found = _NOT_TEXT.search(value)
    if found:
        thing = "a NUL character" if found[0] == "\0" else f"half of a surrogate pair (U+{ord(found[0]):04X})"
        raise Refused(f"the text {shown(value, 60)} contains {thing}")


def check_depth(value: Json) -> None:
    """Raise `Refused` if lists and mappings are nested too deep."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(MAX_DEPTH):
        level = [item for one in level for item in _items(one) if isinstance(item, list | dict)]
        if not level:
            return
    raise Refused(f"lists and mappings are nested more than {MAX_DEPTH} deep")


def check_texts(value: Json) -> None:
    """Raise `Refused` for the first invalid text or key. The depth must have been checked before."""
    for text in _texts(value):
        check_text(text)


def as_object(value: object, where: str) -> JsonObject:
    """Return a document that must be an object; UserError if it is something else."""
    if not isinstance(value, dict):
        raise UserError(f"must be an object of keys and values, but is {shown(value)}", where=where)
    return value


def find(data: JsonObject, key: str, kind: type[T], where: str) -> T:
    """Return a required value of an artifact.

    Parameters
    ----------
    data
        Object of the artifact, or one within it.
    key
        Key of the value.
    kind
        Type of the value. Integers are accepted for float; true and false are not integers.
    where
        Name of the file in errors.

    Raises
    ------
    UserError
        If the key is missing or its value has another type.

    Examples
    --------
    >>> find({"seconds": 2}, "seconds", float, "a.json")
    2.0
    >>> find({"ids": 2}, "ids", list, "a.json")
    Traceback (most recent call last):
        ...
    audio_ssl.base.errors.UserError: a.json: `ids` must be a list, but is 2
    """
    if key not in data:
        raise UserError(f"the key `{key}` is missing", where=where)
    value = data[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"`{key}` must be {_NAMES.get(kind, kind.__name__)}, but is {shown(value)}", where=where)
    return value


def _items(value: list[Json] | dict[str, Json]) -> Iterator[Json]:
    return iter(value.values() if isinstance(value, dict) else value)


def _texts(value: Json) -> Iterator[str]:
    rest: list[Json] = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield from one
            rest.extend(one.values())
        elif isinstance(one, list):
            rest.extend(one)
