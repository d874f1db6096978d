"""Values of tables of predictions as texts, groups and numbers; `data/columns.py` says which values mean the same.

Numbers are read as tables write them: ``3.25``; ``3,25`` if commas are decimal; ``1.234,5``. Whether commas are decimal
is decided for the whole column, because ``1,234`` alone may be either.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import ALL, CROSSED, REST
from audio_ssl.base.text import composed, printable
from audio_ssl.data.columns import read_value, spellings_note

_LONGEST = 100


def plain(value: object) -> str | None:
    """Return a value of a table as text in composed letters (NFC), None if it is empty.

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


class Spellings:
    """Reads the values of one attribute, and remembers the spellings it merged.

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
        # True == 1 == 1.0, so the type is part of the key.
        key = (type(value), value) if isinstance(value, bool | int | float | str | None) else None
        if key is not None and key in self._known:
            return self._known[key]
        said = plain(value)
        group = self._group(said)
        if said is not None and said != group:
            self._merged[said[:_LONGEST]] = group
        # Limited, because a column of numbers could fill the memory.
        if len(self._known) < 100_000:
            self._known[key] = group
        return group

    def note(self) -> str:
        """Return a note on merged spellings; empty if there are none."""
        return spellings_note(self.attribute, self._merged)

    def _group(self, said: str | None) -> str | None:
        group = None if said is None else read_value(self.attribute, said)
        return None if group is None else _own_group(group)


def _own_group(said: str) -> str:
    """Return the name of a group as recorded, in quotes if the report uses it for another row."""
    name = said[:_LONGEST].replace(CROSSED, "×")
    return f"‘{name}’" if name in (ALL, REST) else name


_DECIMAL_COMMA = re.compile(r"[-+]?\d{0,3}(?:[.\u00a0\u202f ']?\d{3})*,\d+")
_EITHER = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_SHOWN = 30


class Numbers:
    """Reads a column of numbers, one value per clip.

    Parameters
    ----------
    name
        Of the column.
    positive
        Whether values of 0 or less mean that nothing is recorded.

    Examples
    --------
    >>> seconds = Numbers("seconds")
    >>> for value in ("3,25", 2.0, "", "x"):
    ...     seconds.add(value)
    >>> seconds.values(commas_between=False).tolist()
    [3.25, 2.0, nan, nan]
    >>> seconds.notes(commas_between=False)
    ['`seconds` has decimal commas', '1 value of `seconds` is not a number: x']
    """

    def __init__(self, name: str, positive: bool = False) -> None:
        self.name = name
        self._positive = positive
        self._values = array("d")
        self._either = array("q")
        self._decimal = self._dots = self._unreadable = 0
        self._unreadable_example = ""

    def add(self, value: object) -> None:
        """Append the number of one clip, NaN where there is none."""
        self._values.append(self._read(value))

    def values(self, commas_between: bool) -> npt.NDArray[np.float64]:
        """Return the numbers, ``[clip]``; NaN where there is none.

        Parameters
        ----------
        commas_between
            Whether commas separate the table's cells. Then ``1,234`` is 1234, unless other values show decimal commas.
        """
        found = np.array(self._values, np.float64)
        if not self._commas_are_decimal(commas_between):
            found[np.array(self._either, np.int64)] *= 1000
        return found

    def notes(self, commas_between: bool) -> list[str]:
        """Return notes for the report."""
        found = []
        if self._decimal or (self._either and self._commas_are_decimal(commas_between)):
            found.append(f"`{self.name}` has decimal commas")
        elif self._either:
            found.append(f"`{self.name}` has commas before thousands")
        if self._unreadable:
            values = "1 value" if self._unreadable == 1 else f"{self._unreadable:,} values"
            verb = "is not a number" if self._unreadable == 1 else "are not numbers, the first"
            found.append(f"{values} of `{self.name}` {verb}: {self._unreadable_example}")
        return found

    def _commas_are_decimal(self, commas_between: bool) -> bool:
        return bool(self._decimal) or not (self._dots or commas_between)

    def _read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return math.nan
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = self._written(str(value).strip())
        else:
            self._dots += isinstance(value, str) and "." in value
        return number if math.isfinite(number) and not (self._positive and number <= 0) else math.nan

    def _written(self, text: str) -> float:
        text = text.replace("\u2212", "-")
        if _EITHER.fullmatch(text):
            # The place it is about to have.
            self._either.append(len(self._values))
            return float(text.replace(",", "."))
        if _THOUSANDS.fullmatch(text):
            self._dots += 1
            return float(text.replace(",", ""))
        if _DECIMAL_COMMA.fullmatch(text):
            self._decimal += 1
            whole, _, part = text.partition(",")
            return float(f"{re.sub('[^-+0-9]', '', whole)}.{part}")
        if text:
            self._unreadable += 1
            self._unreadable_example = self._unreadable_example or text[:_SHOWN]
        return math.nan


def notes_of(columns: Sequence[Numbers], commas_between: bool) -> list[str]:
    """Return the notes of several columns."""
    return [note for column in columns for note in column.notes(commas_between)]
