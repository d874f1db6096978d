"""Words for a gender are known to `audio_ssl.data.columns` alone, so that every stage sees the same groups."""

from __future__ import annotations

import ast
from pathlib import Path

from audio_ssl.data.columns import read_value

ROOT = Path(__file__).parents[2]
SHOWN = {"audio_ssl/fairness/wording.py": {"women", "men"}}
"""Where a page's word for a group is the same as a word that is read."""


def genders_in(text: str) -> set[str]:
    """Return the texts in a module that are read as a gender, codes of one letter left out; docstrings are prose."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = (word for word in node.value.split("|") if len(word) > 1)
            found |= {word for word in words if read_value("gender", word) in ("F", "M")}
    return found


def test_a_word_for_a_gender_is_found() -> None:
    assert genders_in('FEMALE = {"female": "F", "Frau": "F", "speaker": 1}') == {"female", "Frau"}
    assert genders_in('"""A female voice."""\nx = "F"') == set()


def test_words_for_genders_are_read_in_one_place() -> None:
    files = [path for folder in ("audio_ssl", "corpora") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = {path.relative_to(ROOT).as_posix(): genders_in(path.read_text(encoding="utf-8")) for path in files}
    others = {name: words - SHOWN.get(name, set()) for name, words in found.items()}
    assert {name: words for name, words in others.items() if words} == {}
