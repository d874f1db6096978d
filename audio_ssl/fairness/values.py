"""Values of tables of predictions as text to show and as groups; `data/spellings.py` says what means what."""

from __future__ import annotations

import math
import re

from audio_ssl.data.spellings import read_value, spellings_note
from audio_ssl.letters import composed

PEOPLE = {"F": "women", "M": "men"}
"""Group -> the people in it, for sentences."""

CROSSED = " × "
"""Between the attributes, and the values, of an intersection."""
ALL, UNKNOWN, REST = "all", "unknown", "all others"
"""Rows that are no recorded group: all clips, speakers without a value, and whoever is not in the group beside."""

_LONGEST = 100
# Steers a terminal, turns the direction of what follows, or may not be in HTML.
_UNSEEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufffe\\uffff]")
_SPACES = "\t\n\v\f\r\x85\u2028\u2029"


def plain(value: object) -> str | None:
    """Return a value of a table as text in composed letters, None where there is none.

    Raises
    ------
    TypeError
        If it is a list, an object or bytes.

    Examples
    --------
    >>> plain(3.0), plain(True), plain(" a "), plain(float("nan")), plain("")
    ('3', 'true', 'a', None, None)
    """
    if value is None:
        return None
    if isinstance(value, str):
        return printable(composed(value)).strip() or None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, int):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no plain value")


def printable(text: str) -> str:
    r"""Return text that can be shown anywhere, on one line.

    Half of a surrogate pair, which JSON can escape, becomes ``?``; what is no sign but steers how others are shown
    becomes a picture of it, or U+FFFD.

    Examples
    --------
    >>> printable("a\n\x1b[2J\u202eb")
    'a ␛[2J�b'
    """
    if text.isprintable():
        return text
    return _UNSEEN.sub(_picture, text.encode("utf-8", "replace").decode("utf-8"))


def _picture(found: re.Match[str]) -> str:
    sign = found[0]
    if sign in _SPACES:
        return " "
    return chr(0x2400 + ord(sign)) if sign < " " else "␡" if sign == "\x7f" else "\ufffd"


class Spellings:
    """Reads the values of one attribute, and remembers which spellings it took for the same.

    Parameters
    ----------
    attribute
        Its name: ``gender`` (or ``sex``) and ``age`` have rules of their own.

    Examples
    --------
    >>> gender = Spellings("gender")
    >>> [gender.read(value) for value in ("female", "F", "divers", "n/a")]
    ['F', 'F', 'divers', None]
    >>> gender.note()
    'gender: female → F, n/a → unknown'
    """

    def __init__(self, attribute: str) -> None:
        self.attribute = attribute
        self._known: dict[object, str | None] = {}
        self._merged: dict[str, str | None] = {}

    def read(self, value: object) -> str | None:
        """Return the group, None where unknown; TypeError where `value` is a list or an object."""
        # True == 1 == 1.0: the type belongs to the key.
        key = (type(value), value) if isinstance(value, bool | int | float | str | None) else None
        if key is not None and key in self._known:
            return self._known[key]
        said = plain(value)
        group = self._group(said)
        if said is not None and said != group:
            self._merged[said[:_LONGEST]] = group
        # Ages in days, or any other number, must not fill memory.
        if len(self._known) < 100_000:
            self._known[key] = group
        return group

    def note(self) -> str:
        """Return what was merged, empty where nothing was."""
        return spellings_note(self.attribute, self._merged)

    def _group(self, said: str | None) -> str | None:
        group = None if said is None else read_value(self.attribute, said)
        return None if group is None else _own_group(group)


def _own_group(said: str) -> str:
    """Return the name of a group as recorded, unless the report calls something else by it."""
    name = said[:_LONGEST].replace(CROSSED, "×")
    return f"‘{name}’" if name in (ALL, REST) else name
