"""The three ways a command ends early: the user can mend it, a file cannot be used, or a signal stopped it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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

    Examples
    --------
    >>> print(UserError("`steps` must be positive, but is 0", where="$.steps", remedy="give steps=400"))
    $.steps: `steps` must be positive, but is 0 (give steps=400)
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.said = False
        """Whether another process of the job prints it."""
        self.what = what
        self.where = where
        self.remedy = remedy
        prefix = f"{where}: " if where else ""
        suffix = f" ({remedy})" if remedy else ""
        super().__init__(f"{prefix}{what}{suffix}")


class AudioError(Exception):
    """One audio file cannot be used. ``reason`` is a plain sentence for the error ledger."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class StoppedBySignal(Exception):  # noqa: N818 - it is no error
    """A signal asked for a stop and the state has been saved; the command line exits with status 75."""

    said = False
    """Whether another process of the job prints it."""


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
    return UserError(f"unknown {thing} `{name}`; known: {', '.join(names) or 'none'}", where=where, remedy=remedy)
