"""What `make look` does to a page before axe-core reads it; the examination itself needs a browser."""

import importlib.util
from pathlib import Path

import pytest

from audio_ssl.report.html import Page, render

HOME = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def axe():
    spec = importlib.util.spec_from_file_location("benchmark_axe", HOME / "benchmarks" / "_axe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_copy_loses_its_policy_and_runs_the_script(axe):
    page = render(Page("Title", {}, (), "About.", "f.json", {}))
    copy = axe.with_axe(page, "window.axe = 1;")
    assert "Content-Security-Policy" in page
    assert "Content-Security-Policy" not in copy
    assert copy.index("window.axe = 1;") < copy.index("axe.run(") < copy.index("</body>")


def test_answer_is_read_from_what_the_browser_gives(axe, tmp_path, monkeypatch):
    monkeypatch.setattr(axe, "axe_source", lambda: "")
    page = tmp_path / "page.html"
    page.write_text("<html><body></body></html>", encoding="utf-8")
    node = {"target": "h1", "summary": "Fix\n  this"}
    rule = {"impact": "serious", "help": "Be legible", "rule": "contrast", "count": 2, "nodes": [node]}
    found = axe.examine(page, tmp_path, lambda _: f'<pre id="axe-found">{_json({"violations": [rule]})}</pre>')
    assert axe.lines_of(found) == ["serious: Be legible (contrast, 2 places)", "  h1: Fix this"]
    with pytest.raises(RuntimeError, match="no answer"):
        axe.examine(page, tmp_path, lambda _: "<html></html>")


def _json(value):
    import html
    import json

    return html.escape(json.dumps(value))
