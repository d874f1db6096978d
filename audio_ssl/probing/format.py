"""What a format of predictions must give, and which formats fit a prediction.

A file of `probing/formats/` has ``TRAITS`` and one of two functions. Where each clip has a file of its own, that is
``encode(prediction) -> bytes``; where one file holds all clips, ``write(path, predictions)``, which takes them one by
one. All formats are made of the same records, so that a format can be added to predictions that are there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

from audio_ssl.artifacts.clip_predictions import ClipPrediction, TimedLabel
from audio_ssl.base.catalog import install_hint, load_part, parts
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write
from audio_ssl.base.text import printable, readable_id

FOLDER = "probing/formats"


@dataclass(frozen=True)
class FormatTraits:
    """What the file of a format says of it."""

    suffix: str
    """Of its files."""

    fields: tuple[str, ...] = ()
    """Fields of a prediction of which it needs one; empty: it holds any prediction."""

    shared: bool = False
    """One file holds all clips."""

    packages: tuple[str, ...] = ()
    """Optional packages that writing needs."""


class OwnFile(Protocol):
    """A format in which each clip has a file."""

    TRAITS: FormatTraits

    def encode(self, prediction: ClipPrediction) -> bytes:
        """Return the content of the file."""
        ...


class SharedFile(Protocol):
    """A format in which one file holds all clips."""

    TRAITS: FormatTraits

    def write(self, path: Path, predictions: Iterable[ClipPrediction]) -> None:
        """Write the file, whole or not at all."""
        ...


def traits_of(name: str) -> FormatTraits:
    """Return what a format says of itself; UserError if there is no such format, or it needs a missing package."""
    return cast(FormatTraits, load_part(FOLDER, name).TRAITS)


def fitting(fields: Sequence[str]) -> list[str]:
    """Return the names of the formats that can hold predictions with some fields of an answer."""
    return [name for name in parts(FOLDER) if _fits(traits_of(name), fields)]


def why_not_format(name: str, fields: Sequence[str]) -> str | None:
    """Return why a format cannot hold predictions with some fields of an answer, or lacks a package; else None.

    Examples
    --------
    >>> why_not_format("beats", ["notes"])
    '`beats` needs beats, but the predictions have notes; formats that fit: jams, json, mid, parquet'
    """
    traits = traits_of(name)
    if _fits(traits, fields):
        lacking = [one for one in traits.packages if find_spec(one) is None]
        return f"`{name}` needs the package {lacking[0]}: {install_hint(lacking[0])}" if lacking else None
    needed, there = " or ".join(traits.fields), " and ".join(fields) or "nothing"
    return f"`{name}` needs {needed}, but the predictions have {there}; formats that fit: {', '.join(fitting(fields))}"


def _fits(traits: FormatTraits, fields: Sequence[str]) -> bool:
    return not traits.fields or bool({*traits.fields} & {*fields})


def encode(name: str, prediction: ClipPrediction) -> bytes:
    """Return the content of a clip's own file.

    Raises
    ------
    UserError
        If the prediction has no field that the format needs.
    """
    _check(name, prediction)
    return cast(OwnFile, load_part(FOLDER, name)).encode(prediction)


def write_own(name: str, path: Path, prediction: ClipPrediction) -> None:
    """Write a clip's own file, whole or not at all; UserError as `encode`."""
    content = encode(name, prediction)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def write_shared(name: str, path: Path, predictions: Iterable[ClipPrediction]) -> None:
    """Write one file of all clips, whole or not at all; UserError as `encode`."""

    def checked() -> Iterable[ClipPrediction]:
        for prediction in predictions:
            _check(name, prediction)
            yield prediction

    cast(SharedFile, load_part(FOLDER, name)).write(path, checked())


def _check(name: str, prediction: ClipPrediction) -> None:
    if why := why_not_format(name, prediction.answered):
        raise UserError(why, where=readable_id(prediction.id))


# --- what formats share -----------------------------------------------------------------------------------------------


def inside(labels: Iterable[TimedLabel], seconds: float) -> list[TimedLabel]:
    """Return labels cut at the end of a clip of `seconds`, without those that are then empty."""
    cut = (TimedLabel(one.start, min(one.end, seconds), one.label, one.probability, one.text) for one in labels)
    return [one for one in cut if one.end > one.start]


def one_line(text: str) -> str:
    """Return text that stands on one line, without tabs and control characters."""
    return printable(text)


def one_word(text: str) -> str:
    r"""Return text without white space and surrogates, for formats whose columns are parted by spaces.

    A space and the percent sign become what they are in URLs, so that two names stay two.

    Examples
    --------
    >>> one_word("my take\t5 %.wav"), one_word("été")
    ('my%20take%095%20%25.wav', 'été')
    """
    return re.sub(r"[\s%]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), readable_id(text))
