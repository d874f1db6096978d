"""The command line's frame, and what its commands share.

What is usually wanted after a manifest: a probe where its clips are labelled, pretraining where they are not.

The command has to work as it is printed, so it names the splits that the manifest has, makes folds where it has none,
and lets clips in that are longer or shorter than usual. It goes by some of the rows, spread over the file: a manifest
may have millions.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from audio_ssl import __version__
from audio_ssl.base import catalog
from audio_ssl.base.documents import parse_object
from audio_ssl.base.errors import UserError

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


_MOST_ROWS = 2000

_PROBES = {"label": "label", "tags": "demo_tagging", "text": "demo_asr", "translation": "demo_st"}
"""What a column is good for, the most telling first."""

_FOLDS = 4
_OTHER_NAMES = ("dev", "validation", "val", "eval")
_USUAL_MOST_SECONDS = {"demo_asr": 8.0, "demo_st": 8.0}
_USUAL_LEAST_SECONDS = 1.0


def after_manifest(path: Path) -> list[str]:
    """Return the words of the command after `audio-ssl`."""
    rows = some_rows(path)
    name = path.stem
    if name in catalog.names("recipes") and all("corpus" in row for row in rows):
        # A mix has the name of the recipe that it is for.
        return ["pretrain", name, f"data.manifest={path}", "--out", str(free_name(Path("runs") / name))]
    if probe := _probe_for(rows):
        clips = _settings_of_clips(rows, probe)
        if clips is not None:
            out = free_name(Path("results") / name)
            return ["probe", probe, "logmel", f"data.manifest={path}", *clips, "--out", str(out)]
    shorter = sorted(float(row["seconds"]) for row in rows)
    settings = []
    if shorter and shorter[len(shorter) // 2] < _USUAL_LEAST_SECONDS:
        settings = [f"data.min_seconds={_floor(shorter[len(shorter) // 2])}"]
    return ["pretrain", "demo", f"data.manifest={path}", *settings, "--out", str(free_name(Path("runs") / name))]


def free_name(path: Path) -> Path:
    """Return the path, or with a number after it where something is there already.

    Examples
    --------
    >>> free_name(Path("no_such_folder/run"))
    PosixPath('no_such_folder/run')
    """
    found, number = path, 1
    while found.exists() and (not found.is_dir() or any(found.iterdir())):
        number += 1
        found = path.with_name(f"{path.name}_{number}")
    return found


def some_rows(path: Path) -> list[dict[str, Any]]:
    """Return rows of a manifest that was just written: all of a short one, else some from everywhere in it."""
    size = os.path.getsize(path)
    with path.open("rb") as file:
        lines = [line for _, line in zip(range(_MOST_ROWS), file, strict=False)]
        if file.readline():
            lines = []
            for number in range(_MOST_ROWS):
                file.seek(size * number // _MOST_ROWS)
                # The rest of a row, and at the very end nothing.
                file.readline()
                lines.append(file.readline())
    return [parse_object(line, str(path)) for line in lines if line.strip()]


def _probe_for(rows: Sequence[Mapping[str, Any]]) -> str | None:
    for column, probe in _PROBES.items():
        filled = sum(bool(row.get(column)) for row in rows)
        if probe in catalog.names("probes") and 2 * filled > len(rows):
            return probe
    return None


def _settings_of_clips(rows: Sequence[Mapping[str, Any]], probe: str) -> list[str] | None:
    """Return what says which clips train, choose and test; None where there are too few."""
    seconds = [float(row["seconds"]) for row in rows]
    most = _USUAL_MOST_SECONDS.get(probe, 30.0)
    long = [f"data.max_seconds={int(max(seconds)) + 1}"] if sum(one > most for one in seconds) * 2 > len(rows) else []
    splits = {row.get("split") for row in rows} - {None}
    if {"train", "valid", "test"} <= splits:
        return long
    other = [name for name in _OTHER_NAMES if name in splits]
    if {"train", "test"} <= splits and other:
        return [*long, f"data.valid_split={other[0]}"]
    for column in ("speaker", "id"):
        values = [row.get(column) for row in rows if row.get(column) is not None]
        if 2 * len(values) > len(rows) and len(set(values)) >= _FOLDS:
            return [*long, f"data.folds={_FOLDS}", *([f"data.fold_column={column}"] if column != "speaker" else [])]
    return None


def _floor(seconds: float) -> str:
    """Write a length in hundredths, not above it."""
    return f"{max(0.01, int(seconds * 100) / 100):g}"
