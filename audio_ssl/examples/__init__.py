"""Tables of predictions that come with the package: what a real recogniser made of real speakers, to try an audit on.

``NAME.jsonl`` is the table, ``NAME.yaml`` says what an audit of it has to state (system, test set, how texts are
compared), ``NAME.md`` is its card: origin, licence, and limits of use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.base.config import load

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """What an audit of an example states."""

    system: str
    """The recogniser."""

    version: str
    """Its version, and how it was decoded."""

    test_set: str
    """The test set."""

    normaliser: str
    """How its texts and the references are normalised, as `--normaliser`."""


def names() -> list[str]:
    """Return the names of the examples.

    Examples
    --------
    >>> names()
    ['whisper_tiny_en']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.jsonl"))


def table(name: str) -> Path:
    """Return the table of an example."""
    return _FOLDER / f"{name}.jsonl"


def card(name: str) -> Path:
    """Return the file that says what an audit of an example states."""
    return _FOLDER / f"{name}.yaml"


def read_example(name: str) -> Example:
    """Return what an audit of an example states."""
    return load(Example, card(name))


def find(paths: Sequence[Path]) -> dict[Path, str]:
    """Return which of some paths are names of examples; a file or folder of that name comes first."""
    known = names()
    return {path: str(path) for path in paths if str(path) in known and not path.exists()}
