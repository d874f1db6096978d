"""The path of one update is read in four files, in the order that `audio_ssl.pretrain` tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import audio_ssl.pretrain

ROOT = Path(__file__).parents[2] / "audio_ssl"
PATH = ("data/loader.py", "pretrain/learner.py", "pretrain/update.py", "pretrain/loop.py")
MODULES = {
    "loader": "audio_ssl.data.loader",
    **{name: f"audio_ssl.pretrain.{name}" for name in ("learner", "update", "loop")},
}


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the functions of a file and of its classes."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef):
                yield inner.name, inner


def called(path: Path) -> set[str]:
    """Return the names of the functions and methods that a file calls."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.add(node.func.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
    return found


def test_the_four_files_can_be_read_in_a_sitting() -> None:
    lines = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in PATH}
    assert sum(lines.values()) < 1000, lines


def test_the_order_of_reading_names_what_there_is() -> None:
    steps = re.findall(r"^\d\. ``(\w+)\.([\w.]+)``", audio_ssl.pretrain.__doc__ or "", re.MULTILINE)
    assert len(steps) == 7
    assert {module for module, _ in steps} == set(MODULES)
    for module, names in steps:
        found: object = import_module(MODULES[module])
        for name in names.split("."):
            found = getattr(found, name)
        assert callable(found)


def test_each_step_is_called_on_the_path() -> None:
    calls = set().union(*(called(ROOT / name) for name in PATH))
    steps = {"_train_from", "_items", "load_crop", "collate", "add", "_encode", "finish", "gather", "apply"}
    assert steps | {"backward", "after_update", "finish_update"} <= calls


def test_the_loop_holds_the_loop_alone() -> None:
    path = ROOT / "pretrain/loop.py"
    names = {name for name, _ in functions(path) if not name.startswith("__")}
    assert names - called(path) <= {"train"}, "what the loop does not call belongs elsewhere"


def test_gradients_become_an_update_in_one_place() -> None:
    """The other engine decides when, and goes through `Updater` as well."""
    files = {path.relative_to(ROOT).as_posix(): called(path) for path in (ROOT / "pretrain").rglob("*.py")}
    steps = {"divide_gradients", "drop_gradients"}
    assert {name for name, calls in files.items() if steps & calls} == {"pretrain/update.py"}
    assert {"add", "gather", "apply", "validate"} <= files["pretrain/engines/_fairseq2_trainer.py"]
