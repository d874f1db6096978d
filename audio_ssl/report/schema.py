"""The JSON Schema (draft 2020-12) of the reports that other programs read; it lies in the package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def fairness_schema() -> dict[str, Any]:
    """Return the schema of what ``audio-ssl fairness`` writes beside its page."""
    text = files("audio_ssl.report").joinpath("schemas", "fairness.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
