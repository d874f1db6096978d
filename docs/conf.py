"""Sphinx configuration; pages about recipes, probes, corpora, commands and keys are written before Sphinx reads any."""

import sys as _sys
from importlib.metadata import version as _version
from pathlib import Path as _Path

_HERE = _Path(__file__).parent
_sys.path.insert(0, str(_HERE))

import generated_pages as _generated_pages  # type: ignore[import-not-found]  # noqa: E402

_generated_pages.write_all(_HERE / "generated", _HERE / "tables" / "parity.md")
_generated_pages.write_example(_HERE / "generated" / "pages" / "whisper_tiny_en.html")

project = "audio_ssl"
author = "The audio_ssl authors"
copyright = "2026, the audio_ssl authors"
release = _version("audio-ssl")
extensions = [
    "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton", "sphinx_design",
    "catalog_links", "accessible",
]  # fmt: skip
html_theme = "furo"
html_title = "audio_ssl"
html_static_path = ["static"]
html_extra_path = ["generated/pages"]
html_css_files = ["site.css"]
html_show_sourcelink = False
pygments_dark_style = "monokai"
html_show_sphinx = False
exclude_patterns = ["_build", "tables", "generated/pages"]
suppress_warnings = ["myst.xref_missing", "ref.python"]
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 3
# Two hyphens of an option stay two hyphens.
smartquotes_action = "qe"
# Docstrings write names in single backticks.
default_role = "literal"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
nitpicky = False
# What is copied from a block of a console are the commands, without prompt and output.
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
# Notebooks are run again when they or the package have changed; what one raises stops the build.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"
