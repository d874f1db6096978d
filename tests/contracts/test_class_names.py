"""A class has a name of its own, so that one word means one thing wherever it is read."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from audio_ssl.base.catalog import parts

PACKAGE = Path(__file__).parents[2] / "audio_ssl"


def places() -> dict[str, list[Path]]:
    """Return where classes are, by name."""
    found = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.relative_to(PACKAGE))
    return found


def test_class_names_are_used_once() -> None:
    found = places()
    assert {name for name, files in found.items() if len(files) > 1} == {"Config"}


def test_a_config_is_that_of_a_part_whose_name_people_type() -> None:
    found = places()["Config"]
    assert len(found) > 50
    assert [path for path in found if path.stem not in parts(path.parent.as_posix())] == []
