from __future__ import annotations

import dataclasses

import pytest
import yaml

from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.optim import OptimConfig
from audio_ssl.pretrain.recipe import (
    KINDS,
    DataConfig,
    Recipe,
    check_values,
    load_recipe,
    plain,
    recipe_yaml,
    structure_recipe,
)


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_a_resolved_recipe_is_itself_that_recipe(name: str) -> None:
    recipe = load_recipe(name, ["seed=7"])
    assert recipe.seed == 7
    assert structure_recipe(yaml.safe_load(recipe_yaml(recipe))) == recipe
    assert plain(recipe)["kind"] in catalog.parts(KINDS)


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_the_header_says_what_a_reader_needs(name: str) -> None:
    lines = catalog.find("recipes", name).read_text().splitlines()
    header = "\n".join(line for line in lines[: lines.index(next(x for x in lines if not x.startswith("#")))])
    for word in ("Paper", "Hardware", "Numbers", "Command"):
        assert f"# {word}" in header
    assert f"audio-ssl pretrain {name}" in header


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["kind=codek"], r"\$\.kind: unknown kind `codek`; known: codec, masked_prediction"),
        (["steps=many"], r"\$\.steps: must be an integer, but is 'many'"),
        (["data.crop=3"], r"\$\.data: unknown key `crop`; known: .*crop_seconds"),
        (["optim.lr=-1"], r"`optim.lr` must be above 0, but is -1"),
        (["steps=0"], r"`steps` must be above 0"),
        (["optim.schedule=stairs"], r"\$\.optim\.schedule: .*stairs"),
        (["precision=float16"], r"\$\.precision: .*float16"),
    ],
)
def test_wrong_settings_are_named(overrides: list[str], match: str) -> None:
    with pytest.raises(UserError, match=match):
        load_recipe("mert_tiny", overrides)


def test_a_recipe_needs_a_kind() -> None:
    with pytest.raises(UserError, match=r"a recipe needs a `kind`, one of: codec, masked_prediction"):
        structure_recipe({"steps": 3})


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        (Recipe(data=DataConfig(crop_seconds=5.0, seconds_per_batch=4.0)), "at least `data.crop_seconds` = 5.0"),
        (Recipe(data=DataConfig(min_seconds=6.0)), "between 0 and `data.crop_seconds`"),
        (Recipe(data=DataConfig(valid_share=1.0)), "share below 1"),
        (Recipe(optim=OptimConfig(clip_norm=0.0)), "above 0 or null"),
    ],
)
def test_values_that_contradict_each_other_are_refused(recipe: Recipe, match: str) -> None:
    with pytest.raises(UserError, match=match):
        check_values(recipe)


def test_defaults_are_the_published_run() -> None:
    default, published = Recipe(), load_recipe("mert_95m")
    assert default.optim == published.optim
    assert default.steps == published.steps == 400_000
    assert dataclasses.replace(published.data, min_seconds=1.0, workers=1) == default.data
    # 64 GPUs of at most 2,000,000 samples, which hold 16 crops of 120,000.
    assert published.data.seconds_per_update == 64 * (2_000_000 // 120_000) * 5.0


def test_a_setting_of_the_command_line_reaches_every_iteration() -> None:
    recipe = load_recipe("wavlm_base", ["data.seconds_per_update=100", "optim.warmup_steps=10", "mixing.prob=0.1"])
    assert isinstance(recipe, masked_prediction.Config)
    assert recipe.iterations[0].settings == ("mixing=null", "encoder.relative_positions=null")
    first, second = masked_prediction.own_recipes(recipe)
    assert (first.data, first.optim, first.mixing) == (second.data, second.optim, None)


def test_a_setting_of_one_iteration_stays_its_own() -> None:
    recipe = load_recipe("wavlm_base", ["optim.warmup_steps=9", "iterations.0.settings=[optim.warmup_steps=7]"])
    assert isinstance(recipe, masked_prediction.Config)
    assert [own.optim.warmup_steps for own in masked_prediction.own_recipes(recipe)] == [7, 9]
