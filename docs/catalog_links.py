"""A Sphinx extension: the name of a recipe, probe, corpus or command in running text leads to its page.

Authors write `` `mert_95m` `` and nothing more. Names without an underscore (``small``, ``label``, ``table``) are
common words as well and stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from audio_ssl.base import catalog

_FOLDERS: tuple[catalog.Folder, ...] = ("recipes", "probes", "corpora")
_COMMAND = re.compile(r"audio-ssl ([a-z]+)")


def pages() -> dict[str, str]:
    """Return the page of every name that can be nothing else."""
    found: dict[str, str] = {}
    for folder in _FOLDERS:
        found |= {name: f"generated/{folder}/{name}" for name in catalog.names(folder) if "_" in name}
    return found


def _link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn each name in code marks, outside links and headings, into a link."""
    known: dict[str, str] = app.env.audio_ssl_pages
    for literal in list(doctree.findall(nodes.literal)):
        outer: Any = literal.parent
        while outer is not None and not isinstance(outer, nodes.reference | nodes.title):
            outer = outer.parent
        page = known.get(literal.astext())
        command = _COMMAND.fullmatch(literal.astext())
        if outer is not None or page == docname or (page is None and command is None):
            continue
        uri = f"generated/commands#audio-ssl-{command[1]}" if command else page
        assert uri is not None
        target, _, anchor = uri.partition("#")
        address = app.builder.get_relative_uri(docname, target) + (f"#{anchor}" if anchor else "")
        link = nodes.reference("", "", internal=True, refuri=address)
        literal.replace_self(link)
        link += literal


def _collect(app: Sphinx) -> None:
    app.env.audio_ssl_pages = pages()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", _collect)
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
