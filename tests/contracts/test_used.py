"""No function or class of the package is there for the tests alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def docstrings(tree: ast.AST) -> set[int]:
    found = set()
    for node in ast.walk(tree):
        for one in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                found.add(id(one.value))
    return found


def words(tree: ast.AST) -> Iterator[str]:
    """Yield the names that code mentions: names, attributes, imports, and words of texts that are no docstrings."""
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield from re.findall(r"\w+", node.value)


def test_what_the_package_defines_is_used_outside_of_tests() -> None:
    defined: dict[str, Path] = {}
    used: set[str] = set()
    for folder in ("audio_ssl", "corpora", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            used.update(words(tree))
            if folder == "audio_ssl":
                kinds = (ast.FunctionDef, ast.ClassDef)
                defined |= {node.name: path for node in tree.body if isinstance(node, kinds)}
    for path in (*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "pyproject.toml"):
        used.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    # A decorator makes the command `list` of it.
    used.add("list_")
    unused = {name for name in defined if name not in used and not name.startswith("__")}
    assert not unused, {name: str(defined[name]) for name in unused}
