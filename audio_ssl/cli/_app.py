"""The command line's frame, and what its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from audio_ssl import __version__
from audio_ssl.errors import UserError

app = App(
    name="audio-ssl",
    version=__version__,
    help="Speech and music representations: pretrain, extract features, probe, and audit for gender fairness.",
    help_format="markdown",
    # The exit status is decided in __main__.
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Out = Annotated[Path, Parameter(name="--out")]


def say_next(command: str) -> None:
    """Print the command that is usually wanted after this one."""
    print(f"next: {command}")


def need(values: tuple[Path, ...], name: str) -> None:
    """Raise UserError unless something was named."""
    if not values:
        raise UserError(f"`{name}` must name at least one folder or file")


def html(out: Path) -> Path:
    """Return the path of a page, checked."""
    if out.suffix != ".html":
        raise UserError(f"`--out` must end in .html, but is {out}")
    return out
