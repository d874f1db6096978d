"""What is installed is what is imported: dependencies, and the extra that brings each optional package."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from audio_ssl.base.catalog import EXTRA_OF_PACKAGE

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = {"pyyaml": "yaml", "scikit-learn": "sklearn", "espeakng-loader": "espeakng_loader"}
"""Of distributions whose package is called otherwise."""
BY_HAND = {"kenlm", "wandb", "tinysoundfont"}
"""Packages that no extra brings; the error names the command that installs them."""


def packages(requirements: list[str]) -> set[str]:
    found = [re.split(r"[\[<>=~!; ]", text)[0] for text in requirements]
    return {NAMES.get(name, name) for name in found if name != PROJECT["name"]}


def imported(folder: Path) -> Iterator[str]:
    """Yield the packages that the files of a folder import, or ask `import_module` and the like for."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in ("import_module", "optional_package"):
                    yield str(node.args[0].value).partition(".")[0]


ALWAYS = packages(PROJECT["dependencies"])
EXTRAS = {name: packages(listed) for name, listed in PROJECT["optional-dependencies"].items() if name != "all"}
IMPORTED = {*imported(ROOT / "audio_ssl"), *imported(ROOT / "corpora")} - set(sys.stdlib_module_names) - {"audio_ssl"}


def test_every_import_is_a_dependency_or_of_the_extra_that_errors_name() -> None:
    optional = IMPORTED - ALWAYS - BY_HAND
    assert not optional - EXTRA_OF_PACKAGE.keys()
    assert not {package for package in optional if package not in EXTRAS[EXTRA_OF_PACKAGE[package]]}


def test_nothing_is_installed_that_is_not_imported() -> None:
    assert not ALWAYS - IMPORTED
    assert not set().union(*EXTRAS.values()) - IMPORTED
    # `all` brings every extra.
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert sorted(re.split(r"[\[\],]", everything)[1:-1]) == sorted(EXTRAS)
