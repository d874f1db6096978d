"""docs/recipes.md says what every published recipe costs, which keys are new and which version 1 means otherwise."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.config import kind_of
from audio_ssl.base.versions import fill_in
from audio_ssl.data.augment import Mixing
from audio_ssl.pretrain.decoder import DecoderSizes
from audio_ssl.pretrain.kinds.masked_prediction import Config, Iteration
from audio_ssl.pretrain.masking import Mask
from audio_ssl.pretrain.optim import OptimConfig
from audio_ssl.pretrain.recipe import KINDS, DataConfig, load_recipe
from tests.recipes import PUBLISHED

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME / "benchmarks"))

from _parity_measures import parameters  # noqa: E402

PAGE = (HOME / "docs" / "recipes.md").read_text(encoding="utf-8")
SECTIONS = {"data.": DataConfig, "optim.": OptimConfig, "mask.": Mask, "mixing.": Mixing, "decoder.": DecoderSizes}


def rows(title: str) -> list[list[str]]:
    """Return the cells of the tables under a heading of the page, without the code marks of the first."""
    text = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in cells] for cells in lines]


def configs(*groups: str) -> Iterator[tuple[str, type]]:
    """Give what recipes are made of, with the words before a key's name."""
    yield from SECTIONS.items()
    yield from (("", Config), ("iterations: ", Iteration))
    for group in groups:
        for kind in catalog.parts(group):
            yield f"{kind}: ", catalog.load_part(group, kind).Config


def meant_otherwise() -> dict[str, list[str]]:
    """Return the default today and the value of version 1 of each key where they differ."""
    found = {}
    for where, config in configs("teachers", "objectives"):
        defaults = {field.name: field.default for field in dataclasses.fields(config)}
        for name, before in fill_in(config, {}, 1).items():
            if before != defaults[name] and before != []:
                found[f"{where}{name}"] = [_spelt(defaults[name]), _spelt(before)]
    return found


def _spelt(value: object) -> str:
    words = {"None": "null", "True": "true", "False": "false"}
    return f"`{value:.4g}`" if isinstance(value, float) else f"`{words.get(str(value), value)}`"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_page_says_what_a_recipe_costs(name: str) -> None:
    recipe = load_recipe(name)
    stages = catalog.load_part(KINDS, kind_of(recipe)).stages(recipe)
    hours = sum(stage.steps * stage.recipe.data.seconds_per_update for stage in stages) / 3600
    (row,) = (row for row in rows("Cost and fidelity") if row[0] == f"`{name}`")
    assert row[1] == f"{parameters(recipe):.1f} M"
    assert row[2] == f"{float(f'{hours:.3g}'):,.0f} h"


def test_the_page_names_each_key_that_version_1_did_not_have() -> None:
    added = {
        f"{where}{field.name}": re.search(rf"\b{field.name}\b", PAGE)
        for where, config in configs("teachers", "objectives", "frontends", "encoders")
        for field in dataclasses.fields(config)
        if "since" in field.metadata
    }
    assert len(added) > 30
    assert not [key for key, found in added.items() if found is None]


def test_the_page_names_each_key_that_version_1_means_otherwise() -> None:
    said = {row[0].strip("`").replace("`", ""): row[1:3] for row in rows("Recipes and runs of earlier releases")}
    assert said == meant_otherwise()
