"""The study's table as JSON, as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_ssl.atomic import write_json, write_text
from audio_ssl.report.html import Page, render
from audio_ssl.report.numbers import count, strict_json
from audio_ssl.report.sections.study import study_sections
from audio_ssl.report.study_words import markdown, study_answer


def write_pages(out: Path, study: Mapping[str, Any]) -> Path:
    """Write ``study.json``, ``study.md`` and ``study.html`` into `out`; return the page."""
    data: dict[str, Any] = strict_json(dict(study))
    write_json(out / "study.json", data)
    write_text(out / "study.md", markdown(data))
    columns, sets = count(len(data["columns"]), "question"), count(len(data["sets"]), "pretraining set")
    page = Page(
        title=f"Study {data['name']}",
        answer=study_answer(data),
        sections=study_sections(data),
        about=f"Made by audio_ssl: {sets}, {columns} asked of each model.",
        json_name="study.json",
        data=data,
    )
    write_text(out / "study.html", render(page))
    return out / "study.html"
