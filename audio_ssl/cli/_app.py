"""The command line's frame, and what its commands share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from audio_ssl import __version__, catalog
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

app.register_install_completion_command(
    add_to_startup=True, help="Let the shell (bash, zsh, fish) complete commands, options and names."
)


def _names(*folders: catalog.Folder) -> Callable[[Any], list[str]]:
    """Return what gives the shell the names of cards."""
    return lambda _: [name for folder in folders for name in catalog.names(folder)]


def _models(_: Any) -> list[str]:
    """Return the names of models that ship; imported when the shell asks, as commands start without it."""
    from audio_ssl.shipped import SHIPPED

    return SHIPPED.names()


Out = Annotated[Path, Parameter(name="--out")]
OutOrShow = Annotated[Path | None, Parameter(name="--out")]
"""Of a command that shows its settings instead, where it is asked to."""

Show = Annotated[bool, Parameter(name="--show", negative="")]
RecipeName = Annotated[str, Parameter(completer=_names("recipes"))]
ProbeName = Annotated[str, Parameter(completer=_names("probes", "probes/suites"))]
StudyName = Annotated[str, Parameter(completer=_names("recipes/studies"))]
ModelName = Annotated[str, Parameter(completer=_models)]
SourceName = Annotated[str, Parameter(completer=_names("corpora", "recipes/mixes"))]


def say_next(*words: str | Path) -> None:
    """Print the command that is usually wanted after this one, quoted for the shell where a word needs it.

    Words in capitals stand for what the user has to name.
    """
    print(f"next: {command_line(words)}")


def command_line(words: Sequence[str | Path]) -> str:
    """Return a command as it can be typed.

    Examples
    --------
    >>> command_line(["extract", "AUDIO_FOLDER", Path("my runs/first"), "--out", "features"])
    "audio-ssl extract AUDIO_FOLDER 'my runs/first' --out features"
    """
    return shlex.join(["audio-ssl", *map(str, words)])


def need_out(out: Path | None) -> Path:
    """Return where to write, which only a command that shows its settings can do without."""
    if out is None:
        raise UserError("`--out` must be given", remedy="add --out FOLDER, or --show to see the settings alone")
    return out


def need(values: tuple[Path, ...], name: str) -> None:
    """Raise UserError unless something was named."""
    if not values:
        raise UserError(f"`{name}` must name at least one folder or file")


def html(out: Path) -> Path:
    """Return the path of a page, checked."""
    if out.suffix != ".html":
        raise UserError(f"`--out` must end in .html, but is {out}")
    return out
