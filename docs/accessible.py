"""What the theme leaves out for people who use a keyboard or a screen reader, added to every page that is written.

Blocks of code that scroll can be reached with the Tab key, captions of the navigation say their level, and the two
sidebars have names. ``benchmarks/render_site.py`` examines the pages with axe-core.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

ADDED = (
    (re.compile(r"<pre(?=[ >])(?![^>]*tabindex)"), '<pre tabindex="0"'),
    (re.compile(r'<p class="caption" role="heading">'), '<p class="caption" role="heading" aria-level="2">'),
    (re.compile(r'<aside class="sidebar-drawer">'), '<aside class="sidebar-drawer" aria-label="Pages">'),
    (re.compile(r'<aside class="toc-drawer">'), '<aside class="toc-drawer" aria-label="On this page">'),
)


def accessible(page: str) -> str:
    """Return a page of the theme with the attributes that it lacks."""
    for pattern, replacement in ADDED:
        page = pattern.sub(replacement, page)
    return page


def _mend(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if (mended := accessible(page)) != page:
            path.write_text(mended, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
