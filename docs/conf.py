"""Sphinx configuration."""

from importlib.metadata import version as _version

project = "audio_ssl"
author = "The audio_ssl authors"
copyright = "2026, the audio_ssl authors"
release = _version("audio-ssl")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "audio_ssl"
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing", "ref.python"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
# jaxtyping's shape strings are no forward references that could be resolved.
autodoc_type_aliases: dict[str, str] = {}
nitpicky = False
