"""JSON documents and JSON Lines.

Python's parser is used, with hooks that refuse what JSON does not allow (NaN, infinite numbers, a key twice). The
position of such a value is found by a second, permissive parse, which is needed only if there is one.

JSON Lines have the same checks at the speed of a plain loop over `json.loads`: brackets and escapes are counted in a
block of lines at once, and a line with a key twice has more colons than its object has keys.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, cast

from audio_ssl.base.documents.limits import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_LINE_BYTES,
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
from audio_ssl.base.documents.text import cannot_read, decode_text, read_text
from audio_ssl.base.errors import UserError, shown


def read_json(path: Path, most_bytes: int = MAX_BYTES, remedy: str | None = None) -> Json:
    """Return the value of a JSON file.

    Parameters
    ----------
    path
        Path of the file.
    most_bytes
        Maximum size.
    remedy
        Remedy in error messages, if there is a better one than repairing the file.

    Raises
    ------
    UserError
        If the file cannot be read, is not UTF-8 or not JSON, or has a value that documents must not have. The message
        has the line and column, or the path of the key.
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
        Text or UTF-8 bytes.
    where
        Name of the file in errors.
    nan_is_null
        Read NaN and infinite numbers as missing, instead of refusing them.
    any_text
        Accept NUL and lone surrogates.

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
    audio_ssl.base.errors.UserError: a.json: `$.a[1]`: the number is not finite; leave it out or write null
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
    """Return plain data as it would be read from a JSON file: tuples as lists, keys as text."""
    return parse_json(json.dumps(value), "value")


def may_be_deep(text: str) -> bool:
    """Whether the text has enough brackets to be too deep."""
    return text.count("[") + text.count("{") > MAX_DEPTH


def has_odd_escape(text: str) -> bool:
    r"""Whether the text may have ``\u0000`` or a lone surrogate."""
    return "\\u" in text and ("\\u0000" in text or "\\ud" in text or "\\uD" in text)


def finite_float(text: str) -> float:
    """Read a float; too large ones are refused."""
    value = float(text)
    if value - value:
        raise Refused("the number is not finite; leave it out or write null")
    return value


def bounded_integer(text: str) -> int:
    """Read an integer; one with too many digits is refused."""
    if len(text) > MAX_DIGITS:
        raise Refused(f"a number of some {len(text)} digits is too large; an integer has at most {MAX_DIGITS}")
    return int(text)


def float_or_null(text: str) -> float | None:
    """Read a float; too large ones are read as missing."""
    value = float(text)
    return None if value - value else value


def constant_as_null(text: str) -> None:
    """Read NaN and Infinity as missing."""


def refuse_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's parser accepts."""
    raise Refused("the number is not finite; leave it out or write null")


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of key-value pairs; a key twice is refused."""
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
        Refuse a key that appears twice.
    nan_is_null
        Read numbers that are not finite as missing.
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
        # Python caches this property of a text.
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _not_json(error: json.JSONDecodeError, where: str) -> UserError:
    if not error.doc.strip():
        return UserError("the file is empty, but must hold JSON", where=where)
    return UserError(f"not JSON: {error.msg}", where=f"{where}:{error.lineno}:{error.colno}")


def _placed(text: str, refused: Refused) -> str:
    """Return the error with the path of the value."""
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
    """The text of a number."""


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys, including repeated ones."""


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


_BLOCK_BYTES = 1 << 17
_SCANNERS = [
    (decoder(True, nan_is_null).scan_once, decoder(False, nan_is_null).scan_once) for nan_is_null in (False, True)
]
"""Parsers that check every key, and that do not."""


def iterate_json_lines(
    path: Path, torn_end: bool = False, nan_is_null: bool = False
) -> Iterator[tuple[int, JsonObject]]:
    """Yield the number and the object of each line; empty lines are skipped.

    Parameters
    ----------
    path
        File in UTF-8, with or without a byte order mark, with any line ends; gzipped if its name ends in ``.gz``.
    torn_end
        Leave out a last line without a line break that cannot be read, as in the log of a killed process.
    nan_is_null
        Read NaN and infinite numbers, which other programs write, as missing, instead of refusing them.

    Raises
    ------
    UserError
        If the file cannot be read, is not UTF-8, or has a line that is not a JSON object, is longer than 16 MiB, or has
        a value that documents must not have. The message has the line number.
    """
    number, strict, scan = 0, *_SCANNERS[nan_is_null]
    for text, torn in _blocks(path, torn_end):
        lines = text.split("\n")
        # Most files have the same number of brackets and escapes in every row, so single lines need no check.
        deep = text.count("{") + text.count("[") > len(lines) + MAX_DEPTH
        odd = has_odd_escape(text)
        for line in lines:
            number += 1
            try:
                row, end = scan(line, 0)
            except (ValueError, StopIteration, RecursionError):
                row, end = None, -1
            if (
                end == len(line)
                and row.__class__ is dict
                and not ((deep and line.count("{") + line.count("[") > MAX_DEPTH) or (odd and "\\u" in line))
            ):
                if scan is strict or line.count(":") == len(row):
                    yield number, row
                    continue
                # Inner objects, colons in texts, or a key twice: from here on every key is checked.
                scan = strict
            elif not line or line.isspace():
                continue
            try:
                row = parse_line(line, path, number, nan_is_null)
            except UserError:
                if torn and torn_end:
                    return
                raise
            yield number, row


def readable_rows(path: Path) -> Iterator[JsonObject]:
    """Yield the readable rows of a log of this program; none if there is no such file.

    A line that was left unfinished by a killed process or a full disk is skipped, as it is written again on resume.
    """
    try:
        with path.open("rb") as file:
            for line in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
                with suppress(UserError):
                    yield parse_object(line, str(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_read(path, error) from error


def parse_line(
    line: str, path: Path | str, number: int, nan_is_null: bool = False, any_text: bool = False
) -> JsonObject:
    """Return the object of one line; errors have the line number.

    Raises
    ------
    UserError
        As `iterate_json_lines`.
    """
    where = f"{path}:{number}"
    try:
        row = parse_json(line.rstrip(), "row", nan_is_null, any_text)
    except UserError as error:
        # To the parser, the line is a whole document, so only the column of its position is of use.
        column = (error.where or "").removeprefix("row").rpartition(":")[-1]
        raise UserError(error.what, where=f"{where}:{column}" if column else where, remedy=error.remedy) from None
    if not isinstance(row, dict):
        raise UserError(f"a row must be a JSON object, but is {shown(row)}", where=where)
    return row


def _blocks(path: Path, torn_end: bool) -> Iterator[tuple[str, bool]]:
    """Yield blocks of whole lines without the last line break, and whether a block is one line without a break."""
    rest, first = b"", 1
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
                if cut:
                    text = _text(rest + block[:cut], path, first)
                    yield text[:-1], False
                    first += text.count("\n")
                    rest = block[cut:]
                else:
                    rest += block
                if len(rest) > MAX_LINE_BYTES:
                    raise UserError(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB", where=f"{path}:{first}")
    except (EOFError, zlib.error) as error:
        raise UserError(f"cannot be unpacked: {error}", where=str(path)) from error
    except OSError as error:
        raise cannot_read(path, error) from error
    try:
        whole, end, last = _text(rest, path, first).rpartition("\n")
    except UserError:
        if torn_end:
            return
        raise
    if end:
        yield whole, False
    yield last, True


def _text(data: bytes, path: Path, first: int) -> str:
    text = decode_text(data, path, first)
    if "\r" in text:
        # Line breaks within texts are always escaped, so this one ends a row.
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text
