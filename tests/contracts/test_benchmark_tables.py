"""The tables of the documentation are those of the committed results."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME / "benchmarks"))


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_tables", HOME / "benchmarks" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = load()


MEASURED = sorted(path.stem for path in TABLES.RESULTS.glob("*.json") if path.stem in TABLES.WRITERS)


@pytest.mark.parametrize("name", MEASURED)
def test_table_is_that_of_the_result(name: str) -> None:
    assert (HOME / "docs" / "tables" / f"{name}.md").read_text(encoding="utf-8") == TABLES.render(name)


def test_pictures_are_those_of_the_results() -> None:
    for path, drawn in TABLES.drawings().items():
        assert path.read_text(encoding="utf-8") == drawn


def test_a_page_shows_every_table() -> None:
    page = "".join(path.read_text(encoding="utf-8") for path in (HOME / "docs").glob("*.md"))
    assert MEASURED
    for name in MEASURED:
        assert f"tables/{name}.md" in page
