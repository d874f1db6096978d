"""WavLM's learner, the second round of ``wavlm_base``, beside UniSpeech's code; its first round beside HuBERT's."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from audio_ssl.base import config as parts
from audio_ssl.models.positions import buckets_of
from audio_ssl.pretrain.kinds.masked_prediction import Config, own_recipes
from audio_ssl.pretrain.objectives import masked_codes
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.spec import TargetSpec
from tests.parity.learner import GOLDEN_SIZES, NO_DROPOUT, Run, by_their_names, fairseq_names, learner, load, run
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference, golden

SMALL = [*GOLDEN_SIZES, *NO_DROPOUT, "mixing=null", "objectives.0.final_dim=16"]
BUCKETS = ["encoder.relative_positions={buckets: 32, max_distance: 40}"]
HEADS = {
    "heads.0.projection.weight": "final_proj.weight",
    "heads.0.projection.bias": "final_proj.bias",
    "heads.0.codes": "label_embs_concat",
}


def small(golden_name: str, stage: int, overrides: list[str]) -> tuple[Any, dict[str, str]]:
    """Return a round's learner with the reference's weights, and its names of them; the golden runs have 12 codes."""
    config: Any = load_recipe("wavlm_base")
    specs = [TargetSpec("codes", 1, 12, parts.build(config.frontend, config.data.sample_rate).grid)]
    module = learner("wavlm_base", [*SMALL, *overrides], specs, stage)
    names = fairseq_names(module, HEADS)
    load(module, names, golden(golden_name).weights)
    return module, names


def ours(golden_name: str, module: Any, dtype: torch.dtype = torch.float32) -> tuple[Run, Tensor]:
    """Return what the learner makes of the golden clips, and the logits of masked frames, the right code first."""
    theirs = golden(golden_name)
    codes, mask = theirs["input/codes"].long(), theirs["input/mask"].bool()
    with mock.patch.object(masked_codes.F, "cross_entropy", wraps=torch.nn.functional.cross_entropy) as loss:
        found = run(module.to(dtype), theirs["input/waveform"].to(dtype), mask, (codes[..., None],))
    logits, right = loss.call_args.args[0].detach(), codes[mask][:, None]
    rest = logits.scatter(1, right, float("-inf"))
    return found, torch.cat([logits.gather(1, right), rest], 1)


@functools.cache
def agreement() -> dict[str, float]:
    """Return the largest relative differences from UniSpeech's WavLM, by name."""
    theirs = golden("wavlm")
    module, names = small("wavlm", 1, BUCKETS)
    found, logits = ours("wavlm", module)
    count, wanted = float(found.output.count), theirs["logits_masked_positive_first"]
    assert torch.equal(logits.isinf(), wanted.isinf())
    total = found.output.metrics["loss_kmeans"][0]
    return {
        "features": difference(found.features, theirs["features"]),
        "hidden": max(difference(mine, state) for mine, state in zip(found.hidden, theirs["hidden"], strict=True)),
        "logits": difference(logits[logits.isfinite()], wanted[wanted.isfinite()]),
        "loss": difference(found.output.loss_sum, theirs["loss_sum"]),
        "codes": difference(total, theirs["loss_parts/codes_sum"]),
        "penalty": difference(
            10 * found.output.metrics["feature_penalty"][0], theirs["loss_parts/penalty_sum_times_10"]
        ),
        "count": abs(count - float(theirs["sample_size"])),
        "gradients": assert_gradients(
            by_their_names(found.gradients, names, theirs.weights), theirs.under("grad"), tolerance=float("inf")
        ),
    }


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        *(("features", STATES), ("hidden", STATES), ("logits", STATES)),
        *(("loss", LOSS), ("codes", LOSS), ("penalty", LOSS), ("count", 0.5), ("gradients", GRADIENTS)),
    ],
)
def test_it_is_unispeechs(name: str, tolerance: float) -> None:
    assert agreement()[name] < tolerance


def test_gradients_differ_by_the_rounding_of_float32() -> None:
    """In double precision the learner is no further from UniSpeech's float32: nothing but rounding is between them."""
    theirs = golden("wavlm")
    module, names = small("wavlm", 1, BUCKETS)
    exact, _ = ours("wavlm", module, torch.float64)
    assert difference(exact.output.loss_sum, theirs["loss_sum"]) < LOSS / 10
    assert_gradients(by_their_names(exact.gradients, names, theirs.weights), theirs.under("grad"))


def test_the_first_round_is_huberts() -> None:
    theirs = golden("hubert")
    module, names = small("hubert", 0, [])
    found, logits = ours("hubert", module)
    assert difference(found.output.loss_sum, theirs["loss_sum"]) < LOSS
    wanted = theirs["logits_masked_positive_first"]
    assert difference(logits[logits.isfinite()], wanted[wanted.isfinite()]) < STATES
    assert_gradients(by_their_names(found.gradients, names, theirs.weights), theirs.under("grad"))


def test_the_rounds_are_huberts_but_for_what_is_wavlms_own() -> None:
    first, second = rounds("wavlm_base")
    hubert = rounds("hubert_base")
    assert first == hubert[0]
    assert (first.mixing, second.mixing) == (None, second.mixing)
    assert second.mixing is not None
    encoder: Any = second.encoder
    assert (encoder.relative_positions.buckets, encoder.relative_positions.max_distance) == (320, 800)
    plain = dataclasses.replace(encoder, relative_positions=None)
    data = dataclasses.replace(second.data, seconds_per_update=hubert[1].data.seconds_per_update)
    assert dataclasses.replace(second, mixing=None, encoder=plain, data=data) == hubert[1]


def rounds(recipe: str) -> list[Config]:
    """Return the recipes of the rounds."""
    config = load_recipe(recipe)
    assert isinstance(config, Config)
    return own_recipes(config)


@pytest.mark.parametrize(("buckets", "distance"), [(320, 800), (320, 1280), (32, 40)])
def test_distances_have_unispeechs_buckets(buckets: int, distance: int) -> None:
    found = buckets_of(torch.arange(-1600, 1601), buckets, distance)
    assert torch.equal(found, golden("wavlm")[f"buckets/{buckets}_{distance}"].long())
