"""Explains settings, and lists recipes, probes, corpora, examples, models and parts.

Settings with a line about each: the docstring under a field of a config dataclass says what the key means.

`explained_yaml` writes a resolved recipe or probe as YAML whose comments are these lines, and `key_tables` the pages of
all keys there are. Both read the same docstrings, so a key is described once, where it is defined.

What ``audio-ssl list`` prints: names of recipes, probes, corpora, examples and parts, each with a line about it.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from audio_ssl import examples
from audio_ssl.base import catalog
from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.config import PartOf, kind_of, part_of, unstructure
from audio_ssl.base.documents import dump_line
from audio_ssl.base.errors import UserError
from audio_ssl.shipped import CARD_FILE, SHIPPED, Shelf

_PART_PAGES = {
    "pretrain/kinds": "A recipe",
    "frontends": "`frontend`",
    "encoders": "`encoder`",
    "teachers": "`teachers`",
    "objectives": "`objectives`",
    "probing/tasks": "`task` of a probe",
    "probing/heads": "`head` of a probe",
    "probing/decode": "`decode` of a probe",
}
"""Folders of parts, and what a section about them is called."""


def field_notes(cls: type) -> Mapping[str, str]:
    """Return the docstring of each field of a dataclass, as one line; fields without one are left out.

    Examples
    --------
    >>> from audio_ssl.targets.teachers.cqt import Config
    >>> field_notes(Config)["n_bins"]
    'Number of bins (MERT: 7 octaves of 48).'
    """
    notes: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            notes |= _notes_of(base)
    return notes


@functools.cache
def _notes_of(cls: type) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    body = next(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    notes: dict[str, str] = {}
    for node, following in itertools.pairwise(body):
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_text:
            text = typing.cast(ast.Constant, typing.cast(ast.Expr, following).value).value
            if isinstance(text, str):
                notes[node.target.id] = " ".join(text.split())
    return notes


def part_note(config: Any) -> str:
    """Return the first line of the docstring of the module that a part's config comes from."""
    return (inspect.getdoc(sys.modules[type(config).__module__]) or "").partition("\n")[0]


def explained_yaml(config: Any, kind: bool = False) -> str:
    """Return a config as YAML with a comment about each key; `config.load` reads it back to an equal config.

    Parameters
    ----------
    config
        A config dataclass, such as a recipe.
    kind
        Whether the config is a part itself, so that its `kind` comes first.

    Examples
    --------
    >>> from audio_ssl.pretrain.recipe import ProfileConfig
    >>> print(explained_yaml(ProfileConfig()), end="")
    first_update: 10  # The first one, counted from where the run starts or resumes, so that it has warmed up.
    updates: 3  # Updates in the trace.
    """
    return "".join(f"{line}\n" for line in _mapping(config, kind))


def _mapping(config: Any, kind: bool) -> Iterator[str]:
    """Yield the lines of a config dataclass, not indented."""
    if kind:
        yield _line("kind", kind_of(config), part_note(config))
    hints, notes = typing.get_type_hints(type(config), include_extras=True), field_notes(type(config))
    plain = unstructure(config)
    for field in dataclasses.fields(config):
        value, note = getattr(config, field.name), notes.get(field.name, "")
        is_part = _folder(hints[field.name]) is not None
        if _is_config(value):
            yield _line(field.name, None, note)
            yield from (f"  {line}" for line in _mapping(value, is_part))
        elif isinstance(value, tuple | list) and value and all(map(_is_config, value)):
            yield _line(field.name, None, note)
            for one in value:
                yield from (f"{'  ' if number else '- '}{line}" for number, line in enumerate(_mapping(one, is_part)))
        else:
            yield _line(field.name, plain[field.name], note, empty=True)


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _line(key: str, value: Any, note: str, empty: bool = False) -> str:
    text = f" {_scalar(value)}" if value is not None or empty else ""
    return f"{key}:{text}" + (f"  # {note}" if note else "")


def _scalar(value: Any) -> str:
    """Write a plain value in one line of YAML."""
    return dump_line(value)


def _folder(annotation: Any) -> str | None:
    """Return the folder of parts that an annotation names, itself or inside a union or a tuple."""
    found = part_of(annotation)
    if found is not None:
        return found.folder
    inner = (_folder(one) for one in typing.get_args(annotation) if not isinstance(one, PartOf))
    return next((folder for folder in inner if folder is not None), None)


# --- the page of all keys ---------------------------------------------------------------------------------------------


def keys_page(probe: type) -> str:
    """Return the page, in Markdown, of all keys of recipes, probes and their parts, with defaults and meaning.

    Parameters
    ----------
    probe
        The config of a probe; those of recipes and parts are found in their folders.
    """
    lines = [
        "# Every key",
        "",
        "A key is set in a file or as `key=value` after a recipe's or a probe's name; a dot goes one level down and a",
        "number takes one of a list: `teachers.0.n_bins=84`. `audio-ssl pretrain RECIPE --show` and",
        "`audio-ssl probe PROBE --show` print a recipe's or a probe's own values in this way.",
        "",
    ]
    for folder, title in _PART_PAGES.items():
        if folder == "probing/tasks":
            lines += ["## A probe", "", *_table(probe), ""]
        for name in parts(folder):
            module = load_part(folder, name)
            note = (inspect.getdoc(module) or "").partition("\n")[0]
            lines += [f"## {title}: `kind: {name}`", "", note, "", *_table(module.Config), ""]
    return "\n".join(lines)


def _table(cls: type) -> list[str]:
    rows = list(_rows(cls, ""))
    if not rows:
        return ["No keys."]
    head = ["| key | default | meaning |", "|---|---|---|"]
    return head + [f"| `{key}` | {value} | {_cell(note)} |" for key, value, note in rows]


def _rows(cls: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    hints, notes = typing.get_type_hints(cls, include_extras=True), field_notes(cls)
    for field in dataclasses.fields(cls):
        key, note, annotation = f"{prefix}{field.name}", notes.get(field.name, ""), hints[field.name]
        inner = _inner_config(annotation)
        folder = _folder(annotation)
        if folder is not None:
            yield key, _default(field), f"{note} One of: {', '.join(parts(folder))}."
        elif inner is not None and typing.get_origin(annotation) is tuple:
            yield key, _default(field), note
            yield from _rows(inner, f"{key}.N.")
        elif inner is not None:
            optional = _default(field) == "`null`"
            if optional or note:
                yield key, "`null`" if optional else "", note
            yield from _rows(inner, f"{key}.")
        else:
            yield key, _default(field), note


def _inner_config(annotation: Any) -> type | None:
    """Return the config dataclass that a field holds, perhaps in a tuple or a union with None."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return annotation
    found = (_inner_config(one) for one in typing.get_args(annotation))
    return next((one for one in found if one is not None), None)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "must be given"
    if _is_config(value):
        plain: Any = {"kind": kind_of(value)}
    else:
        plain = [_entry(one) for one in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
    return f"`{_cell(_scalar(plain))}`"


def _entry(value: Any) -> Any:
    return {"kind": kind_of(value)} if _is_config(value) else value


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


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


def listing_lines(what: What = "all", shelf: Shelf = SHIPPED) -> Iterator[str]:
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
        # Baselines have no settings; probes and `extract` name them.
        for part_folder in (*PART_FOLDERS, "features/baselines", "features/encoder_files"):
            yield from _section(part_folder, catalog.part_files(part_folder))


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
