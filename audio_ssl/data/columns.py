"""Normalises the values of manifest columns: which spellings mean the same group, and which mean "not recorded".

Readers of corpora, manifests and tables, audits, balances, studies, releases and the fairness audit use this module, so
a manifest has the same groups everywhere. Nothing is inferred. A word that is not a known spelling of a gender, a
language or "unknown" is a group of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import UserError
from audio_ssl.base.text import composed
from audio_ssl.data.manifest import Clip

_NOT_RECORDED = ("unknown", "unk", "<unk>", "none", "null", "nan", "n/a", "<na>", "?", "not_specified", "unspecified")
_NOT_SAID = ("undefined", "do_not_wish_to_say", "prefer_not_to_say")
_UNKNOWN = frozenset((*_NOT_RECORDED, *_NOT_SAID))

_WOMEN = (
    "f female female_feminine feminine woman women w weiblich frau femme féminin feminin féminine femenino femenina "
    "mujer feminino feminina mulher femmina femminile donna vrouw vrouwelijk žena"
)
_MEN = (
    "m male male_masculine masculine man men männlich maennlich mann homme masculin masculino hombre homem "
    "maschio maschile uomo mannelijk muž"
)
_GENDERS = {**dict.fromkeys(_WOMEN.split(), "F"), **dict.fromkeys(_MEN.split(), "M")}

_CODES_AND_NAMES = (
    "ar ara arabic|bg bul bulgarian|ca cat catalan català|cs ces cze czech čeština|da dan danish dansk|"
    "de deu ger german deutsch|el ell gre greek|en eng english|es spa spanish español castellano|et est estonian|"
    "eu eus baq basque euskara|fa fas per persian farsi|fi fin finnish suomi|fr fra fre french français|"
    "he heb hebrew|hi hin hindi|hr hrv croatian hrvatski|hu hun hungarian magyar|id ind indonesian|"
    "it ita italian italiano|ja jpn japanese|ka kat geo georgian|ko kor korean|lt lit lithuanian|lv lav latvian|"
    "nl nld dut dutch nederlands|no nor norwegian norsk|pl pol polish polski|pt por portuguese português|"
    "ro ron rum romanian română|ru rus russian|sk slk slo slovak|sl slv slovenian slovene|sv swe swedish svenska|"
    "sw swa swahili|ta tam tamil|th tha thai|tr tur turkish türkçe|uk ukr ukrainian|vi vie vietnamese|"
    "zh zho chi chinese"
)
_LANGUAGES = {said: line.split()[0] for line in _CODES_AND_NAMES.split("|") for said in line.split()}
_CODE = re.compile(r"[a-z]{2,3}")
_REGION = re.compile(r"[a-z]{2}|\d{3}")

_TENS = ("teens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_DECADES = {name: 10 * (place + 1) for place, name in enumerate(_TENS)} | {"fourties": 40}
_DECADE = re.compile(r"(\d?)0\s*[-–]\s*(?:\1)9")
_NUMBER = re.compile(r"(\d{1,15})(?:–\d{1,15})?")
_OLDEST = 130
_MANY = 10
_NAMED = 20
_LONGEST = 100
_NOT_KNOWN = "unknown"


def is_unknown(written: str) -> bool:
    """Return whether a value means "not recorded" or "not said".

    Examples
    --------
    >>> [is_unknown(value) for value in ("", "N/A", "prefer not to say", "NA", "other")]
    [True, True, True, False, False]
    """
    folded = _folded(written)
    return not folded or folded in _UNKNOWN


def is_gender(attribute: str) -> bool:
    """Return whether the values of an attribute are normalised as genders.

    Examples
    --------
    >>> is_gender("sex"), is_gender("speaker_gender"), is_gender("age")
    (True, True, False)
    """
    return attribute in ("gender", "sex") or attribute.endswith(("_gender", "_sex"))


@lru_cache(maxsize=1 << 14)
def read_value(attribute: str, written: str) -> str | None:
    """Return the group of a recorded value; None if it means "unknown".

    Genders become ``F`` and ``M``, ages become decades, languages become codes, with the region if one is named. Any
    other value is only stripped.

    Parameters
    ----------
    attribute
        Name of the column. ``gender``, ``sex``, ``language`` (and names that end with these) and ``age`` have their own
        rules.
    written
        The value.

    Examples
    --------
    >>> [read_value("gender", said) for said in ("female_feminine", "Mann", "divers", "n/a")]
    ['F', 'M', 'divers', None]
    >>> [read_value("age", said) for said in ("31", "twenties", "adult", "-1")]
    ['30–39', '20–29', 'adult', None]
    >>> [read_value("language", said) for said in ("English", "EN", "fr_fr", "deu", "Klingon")]
    ['en', 'en', 'fr-FR', 'de', 'Klingon']
    """
    said = composed(written.strip())
    if is_unknown(said):
        return None
    if is_gender(attribute):
        return _GENDERS.get(_folded(said), said)
    if attribute == "language" or attribute.endswith("_language"):
        return _language(said)
    return _decade(said) if attribute == "age" else said


def by_number(group: str) -> tuple[float, str]:
    """Return a sort key of groups: years, ages and decades as numbers, before words.

    Examples
    --------
    >>> sorted(["M", "F", "100–109", "20–29"], key=by_number)
    ['20–29', '100–109', 'F', 'M']
    """
    found = _NUMBER.fullmatch(group)
    return (int(found[1]) if found else math.inf, group)


def spellings_note(attribute: str, merged: Mapping[str, str | None]) -> str:
    """Describe which recorded values were read as which group; empty if none was changed.

    Parameters
    ----------
    attribute
        Name of the column.
    merged
        Recorded value to its group (None for unknown), for values that differ from their group.

    Examples
    --------
    >>> spellings_note("gender", {"female_feminine": "F", "n/a": None})
    'gender: female_feminine → F, n/a → unknown'
    """
    pairs = sorted(
        (said[:_LONGEST], group or _NOT_KNOWN) for said, group in merged.items() if (group or _NOT_KNOWN) != said
    )
    if attribute == "age" and len(pairs) > _MANY:
        return "age: numbers → decades"
    more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    text = ", ".join(f"{said} → {group}" for said, group in pairs[:_NAMED])
    return f"{attribute}: {text}{more}" if pairs else ""


def _folded(said: str) -> str:
    return re.sub(r"[\s-]+", "_", said.strip().casefold())


def _language(said: str) -> str:
    """Return the code of a language with its region; an unknown name is returned unchanged."""
    first, *more = re.split(r"[-_]", said.casefold())
    if first not in _LANGUAGES and not _CODE.fullmatch(first):
        return said
    parts = (part.upper() if _REGION.fullmatch(part) else part for part in more)
    return "-".join((_LANGUAGES.get(first, first), *parts))


def _decade(said: str) -> str | None:
    """Return the decade, such as ``20–29``, of a number or of a name of Common Voice; other text unchanged."""
    folded = _folded(said)
    written = _DECADE.fullmatch(said)
    if folded in _DECADES or written:
        low = _DECADES[folded] if written is None else int(f"{written[1]}0")
        return f"{low}–{low + 9}"
    try:
        years = float(said)
    except ValueError:
        return said
    # Zero and -1 stand for unknown wherever a number had to be given.
    if not 0 < years < _OLDEST:
        return None
    low = 10 * int(years // 10)
    return f"{low}–{low + 9}"


_OWN = ("text", "translation", "label", "speaker", "gender", "language", "split")
_NO_GROUP = ("id", "path", "start", "seconds", "tags")


def value_text(value: object) -> str:
    """Return a value of a row as text: integers without a decimal point, ``true`` and ``false``.

    Examples
    --------
    >>> value_text(31.0), value_text(" a "), value_text(True)
    ('31', 'a', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def recorded(clip: Clip, column: str) -> str | None:
    """Return the value of a column as the manifest has it; None if it is empty.

    Examples
    --------
    >>> recorded(Clip("a", "a.wav", 0.0, 1.0, 16000, gender="female_feminine"), "gender")
    'female_feminine'
    """
    value = getattr(clip, column) if column in _OWN or column == "sample_rate" else clip.extra.get(column)
    return None if value is None else value_text(value) or None


def attribute(clip: Clip, column: str) -> str | None:
    """Return the group of a clip by a column; None if the value is empty or means "unknown".

    Examples
    --------
    >>> clip = Clip("a", "a.wav", 0.0, 1.0, 16000, gender="female", extra={"age": 31.0, "accent": "Unknown"})
    >>> attribute(clip, "gender"), attribute(clip, "age"), attribute(clip, "accent"), attribute(clip, "language")
    ('F', '30–39', None, None)
    """
    written = recorded(clip, column)
    return None if written is None else read_value(column, written)


def check_names_groups(column: str) -> None:
    """Raise UserError if `column` cannot name groups."""
    if column in _NO_GROUP:
        raise UserError(
            f"`{column}` cannot name groups of clips", remedy="give a column such as gender, language or age"
        )


Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Codes:
    """A column of groups."""

    names: list[str]
    index: Indices
    """Index into `names`, ``[clip]``; −1 where unknown."""

    merged: Mapping[str, str | None] = field(default_factory=dict)
    """Recorded value to its group (None for unknown), for values that differ from their group."""


def code_groups(attribute: str, written: Sequence[str], index: Indices) -> Codes:
    """Return a column of recorded values as groups: all spellings of a group get the same code.

    Parameters
    ----------
    attribute
        Name of the column.
    written
        Different values, as recorded.
    index
        Index into `written`, ``[clip]``; −1 where empty.
    """
    groups = [read_value(attribute, value) for value in written]
    names = sorted({group for group in groups if group is not None}, key=by_number)
    number = {name: place for place, name in enumerate(names)}
    place = np.full(len(written) + 1, -1, np.int64)
    place[:-1] = [-1 if group is None else number[group] for group in groups]
    merged = {value: group for value, group in zip(written, groups, strict=True) if group != value}
    return Codes(names, place[index], merged)


LEVEL_COLUMN = "level_dbfs"
"""Column of the level of a clip (`audio_ssl.data.levels`), a covariate of the mixed model of the fairness audit."""
