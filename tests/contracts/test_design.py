"""docs/design.md shows the import order that import-linter checks."""

import tomllib

from audio_ssl.base.catalog import folder_path

ROOT = folder_path("corpora").parent


def test_the_import_order_of_the_docs_is_the_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    section = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").partition("## Import direction")[2]
    assert section.split("```")[1].split("\n")[1:-1] == layers
