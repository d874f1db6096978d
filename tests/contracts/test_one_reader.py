"""All JSON and YAML goes through `audio_ssl.base.documents`, which checks it before anything else sees it."""

import ast

import pytest

from audio_ssl.base.catalog import folder_path

PACKAGE = folder_path("corpora").parent / "audio_ssl"
FILES = sorted([*PACKAGE.rglob("*.py"), *folder_path("corpora").glob("*.py")])
READERS = {("json", "loads"), ("json", "load"), ("json", "JSONDecoder")}
EXCEPTIONS = {
    "pretrain/update.py": "sums of losses between our own processes, which may be NaN",
    "pretrain/loop.py": "a loss between our own processes",
    "pretrain/distributed.py": "an error between our own processes",
}


def read_by_hand(text):
    """Return the calls of a module that read JSON or YAML past the one reader."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = (node.value.id, node.attr)
            if name in READERS or node.value.id == "yaml":
                found.add(".".join(name))
        elif isinstance(node, ast.ImportFrom) and node.module in ("json", "yaml"):
            found.add(f"from {node.module}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_module_reads_json_or_yaml_by_itself(path):
    name = path.relative_to(PACKAGE).as_posix() if PACKAGE in path.parents else path.name
    found = read_by_hand(path.read_text(encoding="utf-8"))
    if name.startswith("base/documents/"):
        return
    if name in EXCEPTIONS:
        assert found, "an exception that is none any more"
    else:
        assert not found, f"use audio_ssl.base.documents for {', '.join(sorted(found))}"


def test_the_scan_sees_what_it_looks_for():
    assert read_by_hand("import json\njson.loads('1')") == {"json.loads"}
    assert read_by_hand("import yaml\nyaml.safe_load('1')") == {"yaml.safe_load"}
    assert read_by_hand("from json import loads") == {"from json"}
    assert not read_by_hand("import json\njson.dumps(1)")
