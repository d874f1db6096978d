"""Learning rates of the papers' code at twelve updates each, against ours."""

from __future__ import annotations

import pytest

from audio_ssl.pretrain.optim import OptimConfig, learning_rate
from audio_ssl.pretrain.recipe import load_recipe
from tests.reference import golden

PUBLISHED = golden("schedules").about["values"]
RATES = sorted(name for name in PUBLISHED if name.startswith("lr/"))
OURS = {"polynomial_decay": "linear", "cosine": "cosine", "tri_stage": "tri_stage", "noam": "noam"}
RECIPES = {
    "lr/bestrq_speechbrain": "bestrq_base",
    "lr/data2vec2_base": "data2vec2_base",
    "lr/data2vec_base": "data2vec_base",
    "lr/hubert_base": "hubert_base",
    "lr/mert_330m": "mert_330m",
    "lr/mert_95m": "mert_95m",
    "lr/muq_large": "muq_style",
    "lr/wav2vec2_base": "wav2vec2_base",
}


def test_the_reference_has_ten_schedules_of_twelve_updates() -> None:
    assert len(RATES) == 10
    assert all(len(PUBLISHED[name]["updates"]) == 12 for name in RATES)


@pytest.mark.parametrize("name", RATES)
def test_rates_are_the_published_ones(name: str) -> None:
    one = PUBLISHED[name]
    config = OptimConfig(lr=one["peak"], warmup_steps=one["warmup_updates"], schedule=OURS[one["schedule"]])
    assert_rates(config, one)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_rates_of_a_recipe_are_the_published_ones(name: str) -> None:
    assert_rates(load_recipe(RECIPES[name]).optim, PUBLISHED[name])


def test_rates_counted_from_one_are_not_the_published_ones() -> None:
    one = PUBLISHED["lr/data2vec_base"]
    config = OptimConfig(lr=one["peak"], warmup_steps=one["warmup_updates"], schedule="tri_stage", warmup_start="one")
    with pytest.raises(AssertionError):
        assert_rates(config, one)


def assert_rates(config: OptimConfig, one: dict) -> None:
    steps = one.get("max_update", 400_000)
    ours = [learning_rate(config, update, steps) for update in one["updates"]]
    assert ours == pytest.approx(one["value"], abs=1e-6 * one["peak"], rel=0)
