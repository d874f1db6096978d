"""Values of attributes as tables spell them: which mean the same, and which mean that nothing is recorded.

Nothing is inferred. What is no known spelling of women, men or unknown stays a group of its own.
"""

from __future__ import annotations

import math
import re

from audio_ssl.data.attributes import is_unknown

PEOPLE = {"F": "women", "M": "men"}
"""Group -> the people in it, for sentences."""

CROSSED = " × "
"""Between the attributes, and the values, of an intersection."""
ALL, UNKNOWN, REST = "all", "unknown", "all others"
"""Rows that are no recorded group: all clips, speakers without a value, and whoever is not in the group beside."""

_WOMEN = (
    "f female female_feminine feminine woman women w weiblich frau femme féminin feminin féminine femenino femenina "
    "mujer feminino feminina mulher femmina femminile donna vrouw vrouwelijk žena"
)
_MEN = (
    "m male male_masculine masculine man men männlich maennlich mann homme masculin masculino hombre homem "
    "maschio maschile uomo mannelijk muž"
)
_GENDERS = {**dict.fromkeys(_WOMEN.split(), "F"), **dict.fromkeys(_MEN.split(), "M")}

_MISSING = frozenset({"", "nan", "none", "null", "<na>", "n/a", "unknown", "<unk>"})

_TENS = ("teens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_DECADES = {name: 10 * (place + 1) for place, name in enumerate(_TENS)} | {"fourties": 40}
_DECADE = re.compile(r"(\d?)0\s*[-–]\s*(?:\1)9")
_OLDEST = 130
_LONGEST = 100
# Steers a terminal, turns the direction of what follows, or may not be in HTML.
_UNSEEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufffe\\uffff]")
_SPACES = "\t\n\v\f\r\x85\u2028\u2029"


def plain(value: object) -> str | None:
    """Return a value of a table as text, None where there is none.

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
        return printable(value).strip() or None
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


def is_missing(text: str | None) -> bool:
    """Return whether a name of a speaker stands for none.

    Examples
    --------
    >>> is_missing("N/A"), is_missing("NA")
    (True, False)
    """
    return text is None or text.lower() in _MISSING


def is_gender(attribute: str) -> bool:
    """Return whether the values of an attribute are read as genders.

    Examples
    --------
    >>> is_gender("sex"), is_gender("speaker_gender"), is_gender("age")
    (True, True, False)
    """
    return attribute in ("gender", "sex") or attribute.endswith(("_gender", "_sex"))


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
        self._merged: set[tuple[str, str]] = set()

    def read(self, value: object) -> str | None:
        """Return the group, None where unknown; TypeError where `value` is a list or an object."""
        # True == 1 == 1.0: the type belongs to the key.
        key = (type(value), value) if isinstance(value, bool | int | float | str | None) else None
        if key is not None and key in self._known:
            return self._known[key]
        said = plain(value)
        group = self._group(said)
        if said is not None and said != group:
            self._merged.add((said[:_LONGEST], group or "unknown"))
        # Ages in days, or any other number, must not fill memory.
        if len(self._known) < 100_000:
            self._known[key] = group
        return group

    def note(self) -> str:
        """Return what was merged, empty where nothing was."""
        if self.attribute == "age" and len(self._merged) > 10:
            return "age: numbers → decades"
        pairs = sorted(self._merged)
        more = f" and {len(pairs) - 20} more" if len(pairs) > 20 else ""
        text = ", ".join(f"{said} → {group}" for said, group in pairs[:20])
        return f"{self.attribute}: {text}{more}" if pairs else ""

    def _group(self, said: str | None) -> str | None:
        if said is None:
            return None
        folded = re.sub(r"[\s-]+", "_", said.casefold())
        if is_unknown(said):
            return None
        if is_gender(self.attribute):
            return _GENDERS.get(folded) or _own_group(said)
        if self.attribute == "age":
            return _decade(said, folded)
        return _own_group(said)


def _own_group(said: str) -> str:
    """Return the name of a group as recorded, unless the report calls something else by it."""
    name = said[:_LONGEST].replace(CROSSED, "×")
    return f"‘{name}’" if name in (ALL, REST) else name


def _decade(said: str, folded: str) -> str | None:
    """Return ``20–29`` of a number, or of the names that Common Voice uses; other text as it is."""
    written = _DECADE.fullmatch(said)
    if folded in _DECADES or written:
        low = _DECADES[folded] if written is None else int(f"{written[1]}0")
        return f"{low}–{low + 9}"
    try:
        years = float(said)
    except ValueError:
        return _own_group(said)
    # Zero and -1 stand for unknown wherever a number had to be given.
    if not 0 < years < _OLDEST:
        return None
    low = 10 * int(years // 10)
    return f"{low}–{low + 9}"
