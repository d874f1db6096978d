"""Numbers of a column as tables write them: ``3.25``, ``3,25`` where commas are decimal, ``1.234,5``.

Which of the two is meant is a matter of the column, not of a value: ``1,234`` alone may be either.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_DECIMAL_COMMA = re.compile(r"[-+]?\d{0,3}(?:[.\u00a0\u202f ']?\d{3})*,\d+")
_EITHER = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_SHOWN = 30


class Numbers:
    """Takes one value a clip.

    Parameters
    ----------
    name
        Of the column.
    positive
        Whether values from 0 down say that nothing is recorded.

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
            Whether commas lie between the table's cells: then ``1,234`` is a thousand, where nothing else tells.
        """
        found = np.array(self._values, np.float64)
        if not self._commas_are_decimal(commas_between):
            found[np.array(self._either, np.int64)] *= 1000
        return found

    def notes(self, commas_between: bool) -> list[str]:
        """Return what the report should say."""
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
    """Return what the report should say of several columns."""
    return [note for column in columns for note in column.notes(commas_between)]
