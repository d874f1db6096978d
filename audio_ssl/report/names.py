"""Where on the page things are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def question_id(question: Mapping[str, Any]) -> str:
    """Return where on the page a question is answered."""
    return f"question-{question['results'][0]}"
