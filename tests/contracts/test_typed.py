"""No untyped dictionary crosses packages: what a public function takes and gives is a class with attributes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "audio_ssl"

PLAIN_DATA = {
    "base/config.py": "settings before they are a dataclass",
    "base/documents/": "JSON and YAML as they are read",
    "base/versions.py": "recipes of earlier releases as they are read",
    "pretrain/recipe.py": "recipes before they are a dataclass",
    "data/manifest.py": "rows of a manifest, whose columns are the user's",
    "data/corpus_tools/": "rows of corpora",
    "commands/app.py": "rows of a manifest that are printed",
    "artifacts/fairness.py": "fields of any row, by name",
    "artifacts/fairness_report.py": "reports of earlier releases as they are read",
    "interop/": "settings of other libraries' models",
    "pretrain/engines/": "states that fairseq2 asks for",
    "pretrain/replicas.py": "what torch hands through",
}
"""Files, or folders, whose subject is somebody else's keys, with what they are."""

CONTAINERS = {"dict", "Mapping", "MutableMapping"}


def is_untyped(annotation: ast.expr) -> bool:
    """Return whether an annotation has a mapping of names to `Any`."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in CONTAINERS:
            inside = ast.unparse(node.slice).strip("()")
            if inside.endswith("Any") and inside.startswith("str,"):
                return True
    return False


def annotations(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield what public functions take and give, and what public classes hold."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            for arg in (*node.args.args, *node.args.kwonlyargs):
                if arg.annotation is not None:
                    yield f"{node.name}({arg.arg})", arg.annotation
            if node.returns is not None:
                yield f"{node.name} ->", node.returns
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for line in node.body:
                if isinstance(line, ast.AnnAssign):
                    yield f"{node.name}.{ast.unparse(line.target)}", line.annotation


def untyped(text: str) -> list[str]:
    """Return the places of a module that take, give or hold an untyped mapping."""
    return [name for name, annotation in annotations(ast.parse(text)) if is_untyped(annotation)]


def test_what_is_untyped_is_found() -> None:
    assert untyped("def f(rows: Sequence[Mapping[str, Any]]) -> None: ...") == ["f(rows)"]
    assert untyped("def f() -> dict[str, Any]: ...") == ["f ->"]
    assert untyped("class A:\n    x: dict[str, Any] | None = None") == ["A.x"]
    assert untyped("def f(x: Mapping[str, Score], y: Sequence[Any]) -> A: ...\ndef _g(x: dict[str, Any]): ...") == []


def test_no_untyped_dictionary_crosses_packages() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(tuple(PLAIN_DATA)) and (places := untyped(path.read_text(encoding="utf-8"))):
            found[name] = places
    assert found == {}


def test_every_exception_is_one() -> None:
    for name in PLAIN_DATA:
        files = [PACKAGE / name] if name.endswith(".py") else sorted((PACKAGE / name).rglob("*.py"))
        assert any(untyped(path.read_text(encoding="utf-8")) for path in files), (
            f"{name} has no untyped mapping any more"
        )
