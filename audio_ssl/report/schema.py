"""The JSON Schema (draft 2020-12) of the reports that other programs read; it lies in the package."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from audio_ssl.documents import parse_object


def fairness_schema() -> dict[str, Any]:
    """Return the schema of what ``audio-ssl fairness`` writes beside its page."""
    file = files("audio_ssl.report").joinpath("schemas", "fairness.json")
    return parse_object(file.read_bytes(), file.name)
