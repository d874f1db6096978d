"""Sphinx configuration; the page of all keys is written from the docstrings of the settings when the docs are built."""

from importlib.metadata import version as _version
from pathlib import Path as _Path

from audio_ssl.explain import keys_page as _keys_page
from audio_ssl.probing.probe import Probe as _Probe

(_Path(__file__).parent / "keys.md").write_text(_keys_page(_Probe), encoding="utf-8")

project = "audio_ssl"
author = "The audio_ssl authors"
copyright = "2026, the audio_ssl authors"
release = _version("audio-ssl")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "audio_ssl"
exclude_patterns = ["_build", "tables"]
suppress_warnings = ["myst.xref_missing", "ref.python"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
# jaxtyping's shape strings are no forward references that could be resolved.
autodoc_type_aliases: dict[str, str] = {}
nitpicky = False
