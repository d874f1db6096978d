"""Updates are made of as many groups as the published run had batches of GPUs."""

from __future__ import annotations

import pytest

from audio_ssl.base import catalog
from audio_ssl.data.batching import Batching
from audio_ssl.pretrain.recipe import Recipe, load_recipe

PUBLISHED = {
    "data2vec2_base": (8, 3),
    "data2vec_base": (16, 11),
    "hubert_base": (32, 5),
    "mert_330m": (8 * 64, 7),
    "mert_95m": (64, 16),
    "muq_style": (32, 6),
    "wav2vec2_base": (64, 5),
    "wavlm_base": (4 * 32, 5),
}
"""Batches of an update (GPUs, and micro-batches of each), and the longest crops of one."""


def plan(recipe: Recipe, clips: int) -> Batching:
    data = recipe.data

    def samples(seconds: float) -> int:
        return int(seconds * data.sample_rate)

    return Batching(
        (samples(60.0),) * clips,
        320,
        samples(data.crop_seconds),
        samples(data.seconds_per_update),
        samples(data.seconds_per_batch),
        seed=1,
        group_samples=None if data.seconds_per_group is None else samples(data.seconds_per_group),
    )


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_an_update_is_the_batches_of_the_published_run(name: str) -> None:
    groups, crops = PUBLISHED[name]
    recipe = load_recipe(name)
    batching = plan(recipe, 4 * groups * crops)
    assert (batching.groups, batching.most_samples) == (groups, groups * crops * batching.crop_samples)
    updates = batching.epoch(0)
    assert {sum(len(micro) for micro in update) for update in updates} == {groups * crops}


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_an_update_has_the_audio_that_its_recipe_says(name: str) -> None:
    recipe = load_recipe(name)
    assert plan(recipe, 1).most_samples >= 0.85 * recipe.data.seconds_per_update * recipe.data.sample_rate
