"""What ``audio-ssl list`` prints: names of recipes, probes, corpora, examples and parts, each with a line about it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from audio_ssl import catalog, examples
from audio_ssl.errors import UserError
from audio_ssl.shipped import CARD_FILE, SHIPPED, Shelf

What = Literal["all", "recipes", "probes", "corpora", "examples", "models", "parts"]

PART_FOLDERS = (
    "frontends",
    "encoders",
    "teachers",
    "objectives",
    "pretrain/kinds",
    "probing/tasks",
    "probing/heads",
    "probing/decode",
)
"""Where the parts of recipes and probes live."""

_BELOW: dict[str, tuple[catalog.Folder, ...]] = {
    "recipes": ("recipes/studies", "recipes/mixes"),
    "probes": ("probes/suites",),
}
"""What is made of the cards of a folder, or goes with them, and is listed after them."""


def lines(what: What = "all", shelf: Shelf = SHIPPED) -> Iterator[str]:
    """Yield the lines of the listing."""
    folders: list[catalog.Folder] = ["recipes", "probes", "corpora"]
    for folder in folders:
        if what in ("all", folder):
            yield from _section(folder, [catalog.find(folder, name) for name in catalog.names(folder)])
        for below in _BELOW.get(folder, ()) if what in ("all", folder) else ():
            yield from _section(below, [catalog.find(below, name) for name in catalog.names(below)])
    if what in ("all", "examples"):
        yield from _section("examples", [examples.card(name) for name in examples.names()])
    if what in ("all", "models"):
        yield from _models(shelf)
    if what in ("all", "parts"):
        package = Path(__file__).parent
        # Baselines have no settings; probes and `extract` name them.
        for part_folder in (*PART_FOLDERS, "features/baselines"):
            yield from _section(part_folder, [package / part_folder / f"{k}.py" for k in catalog.parts(part_folder)])


def _models(shelf: Shelf) -> Iterator[str]:
    """Yield what ships: name, what for, size, licence, and where the card is."""
    yield "models"
    names = shelf.names()
    if not names:
        yield "  none ship with this version"
    width = max(map(len, names), default=0)
    for name in names:
        folder = shelf.root / name
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        try:
            facts = shelf.facts(name)
        except UserError as error:
            yield f"  {name:<{width}}  damaged: {error}"
            continue
        form = f"{facts.layers} layers of {facts.dim}, {facts.frames_per_second:g} frames/s, {facts.sample_rate} Hz"
        yield f"  {name:<{width}}  {facts.summary}"
        yield f"  {'':<{width}}  {size / 1e6:.1f} MB; {form}; weights: {facts.licence}; card: {folder / CARD_FILE}"


def _section(title: str, files: list[Path]) -> Iterator[str]:
    yield title
    width = max((len(f.stem) for f in files), default=0)
    for file in files:
        yield f"  {file.stem:<{width}}  {_first_line(file)}"


def _first_line(file: Path) -> str:
    """Return the first line of a module's docstring or of a YAML file's header comment; runs nothing."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return text.partition("\n")[0].lstrip("# ").strip()
