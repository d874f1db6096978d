"""Every recipe begins with a header that says what it is, and a published one where it differs from its paper."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.documents import read_yaml
from audio_ssl.pretrain.recipe import load_recipe
from tests.recipes import PUBLISHED

HOME = Path(__file__).parents[2]
RECIPES = HOME / "recipes"
LABELS = ["Paper", "Audio", "Update", "Hardware", "Numbers", "Command"]
IN_SMALL = ["Hardware", "Numbers", "Command"]
COMMON = frozenset(
    [
        "which",
        "there",
        "their",
        "other",
        "would",
        "these",
        "where",
        "about",
        "after",
        "under",
        "since",
        "those",
        "while",
        "every",
        "whole",
        "values",
        "published",
        "reference",
        "paper",
    ]
)
"""Words that say nothing of what a sentence is about."""


def header(name: str) -> str:
    """Return the comment that a recipe begins with, without the number signs."""
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:first])


def labelled(text: str, label: str) -> str:
    """Return what stands beside a label, its indented lines joined; nothing where the label is missing."""
    found = re.search(rf"^{label} +(.*(?:\n {{10}}.*)*)", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def stems(text: str) -> set[str]:
    """Return the beginnings of a text's longer words, by which a thing is known in whatever form it stands."""
    return {word[:5].lower() for word in re.findall(r"[A-Za-z]{5,}", text) if word.lower() not in COMMON}


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_header_says_what_the_recipe_is(name: str) -> None:
    text = header(name)
    title = text.splitlines()[0]
    assert len(title) > 20
    assert title.endswith((".", ":")) or "." in title
    for label in LABELS if name in PUBLISHED else IN_SMALL:
        assert labelled(text, label), f"{name}: no `{label}`"


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_command_of_the_header_is_one(name: str) -> None:
    program, command, recipe, *rest = shlex.split(labelled(header(name), "Command"))
    if name == "demo":
        return
    assert (program, command, recipe) == ("audio-ssl", "pretrain", name)
    assert rest[-2:] == ["--out", "RUN"]
    config = load_recipe(recipe, rest[:-2])
    assert config.data.manifest


@pytest.mark.parametrize("name", PUBLISHED)
def test_header_names_what_differs_on_purpose(name: str) -> None:
    """A deliberate row of the parity table is named where the header has two of its words."""
    data = read_yaml(HOME / "benchmarks" / "published" / f"{name}.yaml")
    said = stems(header(name))
    for section in data["rows"].values():
        for row in (row for row in section["rows"] if "because" in row):
            words = stems(" ".join(str(row.get(key, "")) for key in ("aspect", "ours", "because")))
            assert len(words & said) >= 2, f"{name}: the header does not name `{row['aspect']}`, {row['because']}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_header_points_to_the_recipes_table(name: str) -> None:
    assert labelled(header(name), "Parity").startswith(f"docs/recipes.md#{name}:")


@pytest.mark.parametrize("name", PUBLISHED)
def test_header_says_how_many_updates_it_takes(name: str) -> None:
    steps = load_recipe(name).steps
    said = [int(number.replace(",", "")) for number in re.findall(r"\b\d{1,3}(?:,\d{3})+\b", header(name))]
    millions = [round(float(number) * 1e6) for number in re.findall(r"([\d.]+) million", header(name))]
    several = [a + b for a in said for b in said]
    assert steps in {*said, *millions, *several}
