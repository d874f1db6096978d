"""What the theme leaves out is added once to every page."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "docs" / "accessible.py"
THEME = '<aside class="sidebar-drawer"><p class="caption" role="heading">Start</p></aside><pre><span></span></pre>'


def test_what_is_missing_is_added_once() -> None:
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location("accessible", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.accessible(THEME)
    assert '<pre tabindex="0">' in page
    assert 'aria-label="Pages"' in page
    assert 'role="heading" aria-level="2"' in page
    assert module.accessible(page) == page
    assert module.accessible("<present>") == "<present>"
