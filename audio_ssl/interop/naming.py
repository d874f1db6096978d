"""A model's name with its settings in one word: ``MODEL?normalize=false&sample_rate=16000&heads=12``.

So every command, recipe and function that takes a model takes what its weights do not tell, in the same way. Where
features are asked for, ``point=feed_forward`` may stand there too (`take_point`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast, get_args

from audio_ssl.encoders._points import Point
from audio_ssl.errors import UserError, unknown_name
from audio_ssl.interop._settings import Given, UnsaidError

_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
EXAMPLES = {"normalize": "false", "sample_rate": "16000", "heads": "12"}
"""The settings of a model, each with a value to show."""


def parse_name(name_or_path: str | Path, given: Given = Given()) -> tuple[str | Path, Given]:  # noqa: B008
    """Return a model's name or path without its settings, and the settings.

    Parameters
    ----------
    name_or_path
        What follows the last question mark are settings, but for a path that exists with it.
    given
        What was given beside the name.

    Raises
    ------
    UserError
        If a setting is not known, has no sensible value, or is given twice with different values.

    Examples
    --------
    >>> parse_name("facebook/hubert-base-ls960?normalize=false&sample_rate=16000")
    ('facebook/hubert-base-ls960', Given(normalize=False, sample_rate=16000, heads=None))
    """
    name = str(name_or_path)
    plain, mark, query = name.rpartition("?")
    if not mark or isinstance(name_or_path, Path) or path_of(name).exists():
        return name_or_path, given
    found = given._asdict()
    for word in query.split("&"):
        key, equals, text = word.partition("=")
        if key not in EXAMPLES:
            raise unknown_name("setting of a model", key, EXAMPLES, where=name)
        value = _value(key, text.strip() if equals else "", name)
        if found[key] not in (None, value):
            raise UserError(f"`{key}` is given twice, as {found[key]} and as {value}", where=name)
        found[key] = value
    return plain, Given(**found)


def take_point(name: str) -> tuple[str, Point]:
    """Return a model's name without ``point=``, and what that says; models are read without it, features with it.

    Examples
    --------
    >>> take_point("weights.pt?normalize=false&point=feed_forward")
    ('weights.pt?normalize=false', 'feed_forward')
    >>> take_point("weights.pt")
    ('weights.pt', 'output')
    """
    plain, mark, query = name.rpartition("?")
    words = query.split("&")
    points = [word.removeprefix("point=") for word in words if word.startswith("point=")]
    if not mark or not points or path_of(name).exists():
        return name, "output"
    if len(points) > 1 or points[0] not in get_args(Point):
        raise UserError(
            f"`point` must be {' or '.join(get_args(Point))}, but is `{'&'.join(points)}`",
            where=name,
            remedy="say `point` once, as one of these two",
        )
    rest = "&".join(word for word in words if not word.startswith("point="))
    return f"{plain}?{rest}" if rest else plain, cast(Point, points[0])


def path_of(name: str | Path) -> Path:
    """Return the path that a name may be, ``~`` resolved where there is such a user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def unsaid(error: UnsaidError, name: str) -> UnsaidError:
    """Return the error for a model whose settings are not known, with the name that holds them.

    In one word it is the same for every command and function that takes a model.
    """
    which = ": normalize=true where waveforms are standardised" if "normalize" in error.missing else ""
    remedy = f"name the model as {with_settings(name, error.missing)}, with the values that its authors document{which}"
    return UnsaidError(error.what, error.where or name, error.missing, remedy)


def with_settings(name: str, missing: Iterable[str]) -> str:
    """Return a model's name with a value for each missing setting, as one types it in a shell.

    Examples
    --------
    >>> with_settings("weights.pt", ["normalize", "heads"])
    "'weights.pt?normalize=false&heads=12'"
    """
    settings = "&".join(f"{key}={EXAMPLES[key]}" for key in missing)
    return f"'{name}{'&' if '?' in name and not path_of(name).exists() else '?'}{settings}'"


def _value(key: str, text: str, where: str) -> bool | int:
    if key == "normalize":
        value: bool | int | None = _BOOLS.get(text.lower())
        kind = "true or false"
    else:
        value = int(text) if text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text) else None
        kind = "a whole number above 0"
    if value is None:
        raise UserError(f"`{key}` must be {kind}, but is `{text}`", where=where, remedy=f"give {key}={EXAMPLES[key]}")
    return value
