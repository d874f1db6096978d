"""What happens to files: cut, overwritten, shuffled, saved in another encoding, edited by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]


def _place(data: bytes, rng: random.Random) -> int:
    """Return a place, half of the time near the start, where headers are."""
    end = min(len(data), 512) if rng.random() < 0.5 else len(data)
    return rng.randrange(max(1, end))


def cut(data: bytes, rng: random.Random) -> bytes:
    """Keep the beginning."""
    return data[: _place(data, rng)]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Change up to eight bits."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if out:
            out[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def zero(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a stretch with zeros, as a disk that lost a block does."""
    start, length = _place(data, rng), rng.choice((1, 16, 512, 4096))
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def remove(data: bytes, rng: random.Random) -> bytes:
    """Leave a stretch out."""
    start = _place(data, rng)
    return data[:start] + data[start + rng.choice((1, 3, 64, 1024)) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """Have a stretch twice."""
    start = _place(data, rng)
    return data[:start] + data[start : start + rng.choice((1, 3, 64, 1024))] + data[start:]


def noise(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a stretch with random bytes."""
    start = _place(data, rng)
    length = min(rng.choice((1, 4, 64, 1024)), len(data) - start)
    return data[:start] + rng.randbytes(length) + data[start + length :]


def empty(data: bytes, rng: random.Random) -> bytes:
    """Leave nothing."""
    return b""


_OTHERS = (b"<html><body>404 Not Found</body></html>\n", b"PK\x03\x04" + bytes(60), b"\x89PNG\r\n\x1a\n", b"null")


def another_kind(data: bytes, rng: random.Random) -> bytes:
    """Put something else under the name."""
    return rng.choice(_OTHERS)


BYTES: tuple[Damage, ...] = (cut, cut, flip, flip, zero, remove, repeat, noise, empty, another_kind)
"""For files of any kind."""


def latin1(data: bytes, rng: random.Random) -> bytes:
    """Save with an umlaut, in Latin-1."""
    place = _place(data, rng)
    return data[:place] + "é".encode("latin-1") + data[place:]


def utf16(data: bytes, rng: random.Random) -> bytes:
    """Save in UTF-16, as spreadsheets call Unicode."""
    return data.decode("utf-8", "replace").encode("utf-16")


def bom(data: bytes, rng: random.Random) -> bytes:
    """Put a byte order mark before the text."""
    return b"\xef\xbb\xbf" + data


def windows_lines(data: bytes, rng: random.Random) -> bytes:
    """End lines as Windows does."""
    return data.replace(b"\n", b"\r\n")


ODD = (
    b'"', b"'", b"\t", b",", b";", b"\\", b"\n", b"\r", b"\x00", b"\\ud800", b"\\u0000",
    "é".encode(), "e\u0301".encode(), b"NaN", b"-Infinity", b"9" * 400, b"1e999", b"-1", b"0", b"null", b"true",
    b"[" * 3000, b"{" * 3000, b"x" * 200_000,
    b"&a [*a]", b"!!python/object:os.system", b"2020-01-01", b"!!binary aGk=", b"? x",
)  # fmt: skip


def insert_odd(data: bytes, rng: random.Random) -> bytes:
    """Put something that readers stumble over into the text."""
    place = _place(data, rng)
    return data[:place] + rng.choice(ODD) + data[place:]


def exchange_value(data: bytes, rng: random.Random) -> bytes:
    """Put something odd in the place of a value: what stands between a colon, a comma or a tab and the next."""
    marks = [i for i, byte in enumerate(data[:20_000]) if byte in b":,\t"]
    if not marks:
        return insert_odd(data, rng)
    start = rng.choice(marks) + 1
    end = next((i for i in range(start, len(data)) if data[i] in b",\t\n}]"), len(data))
    return data[:start] + b" " + rng.choice(ODD) + data[end:]


def swap_lines(data: bytes, rng: random.Random) -> bytes:
    """Have a line twice, or leave it out."""
    lines = data.splitlines(keepends=True)
    if lines:
        place = rng.randrange(len(lines))
        lines[place : place + 1] = [lines[place]] * rng.choice((0, 2))
    return b"".join(lines)


def alias_bomb(data: bytes, rng: random.Random) -> bytes:
    """Put a YAML text in the place that grows to billions of nodes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(lines).encode()


TEXT: tuple[Damage, ...] = (
    *BYTES, latin1, utf16, bom, windows_lines, swap_lines,
    insert_odd, insert_odd, insert_odd, exchange_value, exchange_value, exchange_value,
)  # fmt: skip
"""For JSON, JSON Lines and tables."""

YAML: tuple[Damage, ...] = (*TEXT, alias_bomb)
"""For recipes and probes."""


_VALUES = (None, True, -1, 0, 1e300, "", "x" * 5000, [], {}, [[]], "\x00", "../../../etc/passwd")


def json_values(data: bytes, rng: random.Random) -> bytes:
    """Exchange one value anywhere in a JSON document for one of another type."""
    try:
        document = json.loads(data)
    except ValueError:
        return flip(data, rng)
    places: list[tuple[Any, Any]] = []
    todo = [document]
    while todo:
        node = todo.pop()
        keys: Any = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            todo.append(node[key])
    if not places:
        return b"[]"
    node, key = rng.choice(places)
    node[key] = rng.choice(_VALUES)
    return json.dumps(document).encode()


JSON: tuple[Damage, ...] = (*TEXT, json_values, json_values, json_values, json_values)
"""For documents of JSON."""
