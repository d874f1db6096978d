"""What keeps the tree readable: telling names of files, private files that stay private, files of a size to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "audio_ssl").rglob("*.py"))
MOST_LINES = 400
SAY_NOTHING = {"rows", "values", "names", "answers", "parts", "utils", "util", "helpers", "common", "misc"}


def test_a_file_is_called_by_what_it_holds() -> None:
    assert len(FILES) > 300
    assert [path for path in FILES if path.stem.strip("_") in SAY_NOTHING] == []


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    files = [*FILES, *(ROOT / "corpora").glob("*.py")]
    lines = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def imported(text: str) -> Iterator[str]:
    """Yield what a module imports, as full names."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def strangers(path: Path, text: str) -> list[str]:
    """Return private files and names of other packages that a module imports."""
    package = ".".join(path.parts[:-1])
    found = []
    for name in imported(text):
        parts = name.split(".")
        for place, part in enumerate(parts):
            home = ".".join(parts[:place])
            inside = package == home or package.startswith(f"{home}.")
            if name.startswith("audio_ssl.") and part.startswith("_") and not part.endswith("__") and not inside:
                found.append(name)
    return found


def test_private_files_stay_in_their_package() -> None:
    at = Path("audio_ssl/report/build.py")
    assert strangers(at, "from audio_ssl.data._tables import rows") == ["audio_ssl.data._tables.rows"]
    assert strangers(at, "from audio_ssl.data.table import _row") == ["audio_ssl.data.table._row"]
    assert strangers(at, "from audio_ssl.report._axes import x\nfrom audio_ssl.__main__ import run") == []
    found = {path: strangers(path.relative_to(ROOT), path.read_text(encoding="utf-8")) for path in FILES}
    assert {path: names for path, names in found.items() if names} == {}
