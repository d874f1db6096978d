"""One JSON document, or one line of JSON Lines.

Python's parser does the work; it is stopped where it would give more than JSON allows (NaN, infinite numbers, a key
twice). The place of such a value is looked for only when there is one, by a second reading that takes everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

from audio_ssl.documents.limits import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_DIGITS,
    Json,
    JsonObject,
    Refused,
    as_object,
    check_depth,
    check_number,
    check_text,
    check_texts,
    key_path,
)
from audio_ssl.documents.text import decode_text, read_text
from audio_ssl.errors import UserError, shown


def read_json(path: Path, most_bytes: int = MAX_BYTES, remedy: str | None = None) -> Json:
    """Return the value of a JSON file.

    Parameters
    ----------
    path
        Of the file.
    most_bytes
        A larger file is refused.
    remedy
        What to do where the file cannot be used, if there is something better than mending the file.

    Raises
    ------
    UserError
        If the file cannot be read, is not UTF-8 or not JSON, or holds what no document may hold; with line and column,
        or with the key's path.
    """
    with advised(remedy):
        return parse_json(read_text(path, most_bytes), str(path))


def read_object(path: Path, most_bytes: int = MAX_BYTES, remedy: str | None = None) -> JsonObject:
    """Return the object of a JSON file; otherwise as `read_json`."""
    with advised(remedy):
        return as_object(read_json(path, most_bytes), str(path))


@contextmanager
def advised(remedy: str | None) -> Iterator[None]:
    """Add a remedy to errors about an artifact."""
    try:
        yield
    except UserError as error:
        if remedy is None:
            raise
        raise UserError(error.what, where=error.where, remedy=remedy) from error


def parse_json(text: str | bytes, where: str, nan_is_null: bool = False, any_text: bool = False) -> Json:
    """Return the value of a JSON text.

    Parameters
    ----------
    text
        All of it; bytes must be UTF-8.
    where
        The file, for errors.
    nan_is_null
        Take NaN and infinite numbers for missing ones, where they are not refused.
    any_text
        Leave NUL and halves of surrogate pairs to the caller.

    Raises
    ------
    UserError
        As `read_json`.

    Examples
    --------
    >>> parse_json('{"a": [1, 2.5, null]}', "a.json")
    {'a': [1, 2.5, None]}
    >>> parse_json('{"a": [1, NaN]}', "a.json")
    Traceback (most recent call last):
        ...
    audio_ssl.errors.UserError: a.json: `$.a[1]`: the number is not finite; leave it out or write null
    """
    if isinstance(text, bytes):
        text = decode_text(text, where)
    try:
        value = cast(Json, (_NAN_IS_NULL if nan_is_null else _STRICT).decode(text))
        if may_be_deep(text):
            check_depth(value)
        if not any_text and (has_odd_escape(text) or not _encodes(text)):
            check_texts(value)
    except json.JSONDecodeError as error:
        raise _not_json(error, where) from None
    except Refused as error:
        raise UserError(_placed(text, error), where=where) from None
    except RecursionError:
        raise UserError(f"lists and objects are nested more than {MAX_DEPTH} deep", where=where) from None
    return value


def parse_object(text: str | bytes, where: str) -> JsonObject:
    """Return the object of a JSON text; otherwise as `parse_json`."""
    return as_object(parse_json(text, where), where)


def as_written(value: Any) -> Any:
    """Return plain data as a JSON file gives it back: tuples as lists, keys as text."""
    return parse_json(json.dumps(value), "value")


def may_be_deep(text: str) -> bool:
    """Whether the text has enough brackets for it."""
    return text.count("[") + text.count("{") > MAX_DEPTH


def has_odd_escape(text: str) -> bool:
    r"""Whether the text may hold ``\u0000`` or half of a surrogate pair."""
    return "\\u" in text and ("\\u0000" in text or "\\ud" in text or "\\uD" in text)


def finite_float(text: str) -> float:
    """Read a number with a point or an exponent; too large ones are refused."""
    value = float(text)
    if value - value:
        raise Refused("the number is not finite; leave it out or write null")
    return value


def bounded_integer(text: str) -> int:
    """Read an integer; one of very many digits is refused."""
    if len(text) > MAX_DIGITS:
        raise Refused(f"a number of some {len(text)} digits is too large; an integer has at most {MAX_DIGITS}")
    return int(text)


def float_or_null(text: str) -> float | None:
    """Read a number with a point or an exponent; too large ones are missing."""
    value = float(text)
    return None if value - value else value


def constant_as_null(text: str) -> None:
    """Read NaN and Infinity as a missing number."""


def refuse_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's parser takes for numbers."""
    raise Refused("the number is not finite; leave it out or write null")


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; a key twice is refused."""
    row = dict(pairs)
    if len(row) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Refused(f"the key `{shown(twice, 40)[1:-1]}` appears twice")
    return row


def decoder(distinct_keys: bool = True, nan_is_null: bool = False) -> Any:
    """Return a parser of JSON that stops at the first value that is refused.

    Parameters
    ----------
    distinct_keys
        Refuse a key that is there twice.
    nan_is_null
        Take a number that is not finite for one that is missing.
    """
    return json.JSONDecoder(
        parse_float=float_or_null if nan_is_null else finite_float,
        parse_int=bounded_integer,
        parse_constant=constant_as_null if nan_is_null else refuse_constant,
        object_pairs_hook=distinct if distinct_keys else None,
    )


_STRICT = decoder()
_NAN_IS_NULL = decoder(nan_is_null=True)


def _encodes(text: str) -> bool:
    try:
        # A flag that Python keeps with the text.
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _not_json(error: json.JSONDecodeError, where: str) -> UserError:
    if not error.doc.strip():
        return UserError("the file is empty, but must hold JSON", where=where)
    return UserError(f"not JSON: {error.msg}", where=f"{where}:{error.lineno}:{error.colno}")


def _placed(text: str, refused: Refused) -> str:
    """Return the complaint with the path of the value it is about."""
    lenient = json.JSONDecoder(
        parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_Pairs, strict=False
    )
    try:
        for keys, complaint in _complaints(lenient.decode(text), ()):
            return f"`{key_path(keys)}`: {complaint}"
    except (ValueError, RecursionError):
        pass
    return str(refused)


class _Number(str):
    """A number that nobody has converted."""


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys."""


def _complaints(value: Any, keys: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    try:
        _check_one(value)
    except Refused as error:
        yield keys, str(error)
    if isinstance(value, _Pairs):
        for name, item in value:
            yield from _complaints(item, (*keys, name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _complaints(item, (*keys, place))


def _check_one(value: Any) -> None:
    if isinstance(value, _Pairs):
        distinct(value)
        for name, _ in value:
            check_text(name)
    elif isinstance(value, _Number):
        if len(value) > MAX_DIGITS and value.lstrip("-").isdecimal():
            bounded_integer(value)
        check_number(float(value))
    elif isinstance(value, str):
        check_text(value)
