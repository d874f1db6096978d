"""The three ways a command ends early: the user can mend it, a file cannot be used, or a signal stopped it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from reprlib import Repr

MAX_WHAT, MAX_WHERE, MAX_REMEDY = 1200, 400, 600
"""Characters of a message's parts: what a terminal can show, whatever was found in a file."""

_BREAKS = re.compile(r"\s*[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")


class UserError(Exception):
    """Something the user can mend; the command line prints it without a traceback and exits with status 2.

    Parameters
    ----------
    what
        What is wrong, in one sentence that names the argument in backticks and what was got.
    where
        The key path (``$.teachers[0].n_bins``) or file the complaint is about.
    remedy
        What to do about it.

    The message is one line of bounded length, whatever the three hold: line breaks become spaces, other control
    characters are escaped, and long parts lose their middle.

    Examples
    --------
    >>> print(UserError("`steps` must be positive, but is 0", where="$.steps", remedy="give steps=400"))
    $.steps: `steps` must be positive, but is 0 (give steps=400)
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.said = False
        """Whether another process of the job prints it."""
        self.what = one_line(what, MAX_WHAT)
        self.where = None if where is None else one_line(where, MAX_WHERE)
        self.remedy = None if remedy is None else one_line(remedy, MAX_REMEDY)
        prefix = f"{self.where}: " if self.where else ""
        suffix = f" ({self.remedy})" if self.remedy else ""
        super().__init__(f"{prefix}{self.what}{suffix}")


class AudioError(Exception):
    """One audio file cannot be used. ``reason`` is a plain sentence for the error ledger."""

    def __init__(self, reason: str) -> None:
        self.reason = one_line(reason, MAX_WHAT)
        super().__init__(self.reason)


class StoppedBySignal(Exception):  # noqa: N818 - it is no error
    """A signal asked for a stop and the state has been saved; the command line exits with status 75."""

    said = False
    """Whether another process of the job prints it."""


def one_line(text: str, most: int) -> str:
    r"""Return a text without line breaks and control characters, its middle left out where it is longer than `most`.

    Examples
    --------
    >>> one_line("first\n  second\0", 80)
    'first second\\x00'
    >>> one_line("0123456789", 7)
    '012…789'
    """
    # What is cut away need not be looked at, so a message of megabytes costs nothing.
    spare = 2 * most
    if len(text) > 2 * spare:
        text = f"{text[:spare]}…{text[-spare:]}"
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _BREAKS.sub(" ", text.strip()))
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def shown(value: object, most: int = 80) -> str:
    """Return a value as messages show it: Python's notation in at most `most` characters, at no cost for large values.

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
    """Return names as a sentence lists them.

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
        The setting's.
    value
        What was got.
    known
        The words, in the order in which they are listed.

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
    """Raise UserError where one of the named settings of a config is too small.

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
    """Give UserErrors raised inside the key path they are about: `where`, or a key below it that they name (``.path``).

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
    """Put a key path before what UserErrors raised inside are about, such as the file that the key names."""
    try:
        yield
    except UserError as error:
        what = error.what if error.where is None else f"{error.where}: {error.what}"
        raise UserError(what, where=where, remedy=error.remedy) from error


def unknown_name(thing: str, name: str, known: Iterable[str], where: str | None = None) -> UserError:
    """Build the error for a name that does not exist.

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
