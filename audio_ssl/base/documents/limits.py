"""What a document may hold: the limits, and the checks that name what exceeds them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

from audio_ssl.base.errors import UserError, one_line, shown

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""Any plain value."""

JsonObject: TypeAlias = dict[str, Any]
"""Keys and plain values, which the caller checks as it takes them."""

T = TypeVar("T")

MAX_BYTES = 64 << 20
"""Of a JSON document. Reports and model descriptions are far below."""

MAX_YAML_BYTES = 1 << 20
"""Of a YAML document: people write recipes by hand."""

MAX_LINE_BYTES = 16 << 20
"""Of a line of JSON Lines."""

MAX_REPEATED = 10_000
"""Values that references in a YAML document may stand for, all together."""

MAX_DEPTH = 64
"""Nesting of lists and mappings."""

MAX_DIGITS = 300
"""Of an integer: it still converts to a finite float."""

_NAMES = {str: "text", int: "an integer", float: "a number", bool: "true or false", list: "a list", dict: "an object"}
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# A file name that is not UTF-8 is written with these: one for each byte that does not fit.
_NOT_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


class Refused(ValueError):  # noqa: N818 - it becomes a UserError
    """A value that no document may hold; the text says which, and the reader adds where."""


def key_path(keys: tuple[str | int, ...]) -> str:
    """Return the path of a value as messages name it.

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
    """Raise `Refused` for a number that is not finite or has more digits than any measurement."""
    if isinstance(value, int) and value.bit_length() > MAX_DIGITS * 3.33:
        raise Refused(f"{shown(value)} is too large; an integer has at most {MAX_DIGITS} digits")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused("the number is not finite; leave it out or write null")


def check_text(value: str) -> None:
    """Raise `Refused` for a text with NUL or half of a surrogate pair."""
    found = _NOT_TEXT.search(value)
    if found:
        thing = "a NUL character" if found[0] == "\0" else f"half of a surrogate pair (U+{ord(found[0]):04X})"
        raise Refused(f"the text {shown(value, 60)} contains {thing}")


def check_depth(value: Json) -> None:
    """Raise `Refused` where lists and mappings are nested too deep."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(MAX_DEPTH):
        level = [item for one in level for item in _items(one) if isinstance(item, list | dict)]
        if not level:
            return
    raise Refused(f"lists and mappings are nested more than {MAX_DEPTH} deep")


def check_texts(value: Json) -> None:
    """Raise `Refused` for the first text or key that is not valid text; depth must have been checked."""
    for text in _texts(value):
        check_text(text)


def as_object(value: object, where: str) -> JsonObject:
    """Return a document that must be an object; UserError where it is something else."""
    if not isinstance(value, dict):
        raise UserError(f"must be an object of keys and values, but is {shown(value)}", where=where)
    return value


def find(data: JsonObject, key: str, kind: type[T], where: str) -> T:
    """Return a value that an artifact must have.

    Parameters
    ----------
    data
        The artifact's object, or one inside it.
    key
        Of the value.
    kind
        Its type. Integers pass for float; true and false are no integers.
    where
        The file, for errors.

    Raises
    ------
    UserError
        If the key is missing or its value is of another type.

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
