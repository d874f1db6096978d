"""The three reasons for a command to end early: a user's error, a file that cannot be used, and a signal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from reprlib import Repr

MAX_WHAT, MAX_WHERE, MAX_REMEDY = 1200, 400, 600
"""Maximum characters of each part of a message, so that a terminal can show it whatever a file contains."""

_BREAKS = re.compile(r"\s*[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")


class UserError(Exception):
    """An error that the user can fix. The command line prints it without a traceback and exits with status 2.

    Parameters
    ----------
    what
        The problem in one sentence, with the argument in backticks and its value.
    where
        Path of the key (``$.teachers[0].n_bins``) or file.
    remedy
        How to fix it.

    The message is one line of limited length: line breaks become spaces, other control characters are escaped, and the
    middle of long parts is left out.

    Examples
    --------
    >>> print(UserError("`steps` must be positive, but is 0", where="$.steps", remedy="give steps=400"))
    $.steps: `steps` must be positive, but is 0 (give steps=400)
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.said = False
        """Whether another process of the job prints the message."""
        self.what = one_line(what, MAX_WHAT)
        self.where = None if where is None else one_line(where, MAX_WHERE)
        self.remedy = None if remedy is None else one_line(remedy, MAX_REMEDY)
        prefix = f"{self.where}: " if self.where else ""
        suffix = f" ({self.remedy})" if self.remedy else ""
        super().__init__(f"{prefix}{self.what}{suffix}")


class AudioError(Exception):
    """An audio file cannot be used. ``reason`` is the text for the error ledger."""

    def __init__(self, reason: str) -> None:
        self.reason = one_line(reason, MAX_WHAT)
        super().__init__(self.reason)


class StoppedBySignal(Exception):  # noqa: N818 - it is no error
    """A signal requested a stop, and the state was saved. The command line exits with status 75."""

    said = False
    """Whether another process of the job prints the message."""


def one_line(text: str, most: int) -> str:
    r"""Return a text without line breaks and control characters. If it is longer than `most`, its middle is left out.

    Examples
    --------
    >>> one_line("first\n  second\0", 80)
    'first second\\x00'
    >>> one_line("0123456789", 7)
    '012…789'
    """
    # The part that is left out is not processed, so a message of megabytes costs nothing.
    spare = 2 * most
    if len(text) > 2 * spare:
        text = f"{text[:spare]}…{text[-spare:]}"
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _BREAKS.sub(" ", text.strip()))
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def shown(value: object, most: int = 80) -> str:
    """Return a value for messages: in Python's notation, with at most `most` characters, fast even for large values.

    Examples
    --------
    >>> shown("a" * 1000, 20)
    "'aaaaaaa…aaaaaaaa'"
    >>> shown(10**400)
    'a number of some 401 digits'
    """
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of some {int(value.bit_length() * 0.30103) + 1} digits"
    short = Repr()
    short.fillvalue = "…"
    short.maxlevel, short.maxother, short.maxstring = 3, most, most
    short.maxlist = short.maxtuple = short.maxset = short.maxdict = 6
    text = short.repr_str(value, 1) if isinstance(value, str) else short.repr(value)
    return one_line(text, most)


def either(names: Iterable[object]) -> str:
    """Return names as a list in words.

    Examples
    --------
    >>> either(["sum"]), either(["sum", "mean"]), either(["conv", "rope", "none"])
    ('sum', 'sum or mean', 'conv, rope or none')
    """
    *first, last = map(str, names)
    return f"{', '.join(first)} or {last}" if first else last


def check_choice(name: str, value: str, known: Iterable[str]) -> None:
    """Raise UserError unless the value of a setting is one of several words.

    Parameters
    ----------
    name
        Name of the setting.
    value
        Its value.
    known
        The allowed words, in the order of the message.

    Examples
    --------
    >>> check_choice("codebook_loss", "median", ("sum", "mean"))
    Traceback (most recent call last):
        ...
    audio_ssl.base.errors.UserError: `codebook_loss` must be sum or mean, but is `median`
    """
    known = tuple(known)
    if value not in known:
        raise UserError(f"`{name}` must be {either(known)}, but is `{one_line(str(value), 80)}`")


def check_at_least(config: object, least: int, *names: str) -> None:
    """Raise UserError if one of the named settings of a config is too small.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> check_at_least(SimpleNamespace(stack=0), 1, "stack")
    Traceback (most recent call last):
        ...
    audio_ssl.base.errors.UserError: `stack` must be at least 1, but is 0
    """
    for name in names:
        value = getattr(config, name)
        if value < least:
            raise UserError(f"`{name}` must be at least {least}, but is {value}")


@contextmanager
def located(where: str) -> Iterator[None]:
    """Add the key path `where` to UserErrors raised inside, before the key below it that they name (``.path``).

    Examples
    --------
    >>> with located("$.objectives[0]"):
    ...     raise UserError("no such point", where=".point")
    Traceback (most recent call last):
        ...
    audio_ssl.base.errors.UserError: $.objectives[0].point: no such point
    """
    try:
        yield
    except UserError as error:
        if error.where is not None and not error.where.startswith("."):
            raise
        raise UserError(error.what, where=f"{where}{error.where or ''}", remedy=error.remedy) from error


@contextmanager
def under(where: str) -> Iterator[None]:
    """Put a key path before the place of UserErrors raised inside, such as the file that the key names."""
    try:
        yield
    except UserError as error:
        what = error.what if error.where is None else f"{error.where}: {error.what}"
        raise UserError(what, where=where, remedy=error.remedy) from error


def unknown_name(thing: str, name: str, known: Iterable[str], where: str | None = None) -> UserError:
    """Return the error for an unknown name.

    Examples
    --------
    >>> print(unknown_name("teacher", "kmean", ["cqt", "kmeans"]))
    unknown teacher `kmean`; known: cqt, kmeans (did you mean `kmeans`?)
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    remedy = f"did you mean `{close[0]}`?" if close else None
    return UserError(
        f"unknown {thing} `{one_line(str(name), 80)}`; known: {', '.join(names) or 'none'}", where=where, remedy=remedy
    )
