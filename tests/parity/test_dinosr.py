"""DinoSR's learner beside the one in SpidR's package: targets, loss, gradients, codebooks, average (``tests/golden``).

Numbers of DinoSR's own code, on fairseq, were not at hand: the reference is the DinoSR of the package, by which its
authors open the published model.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_ssl.pretrain.learner import MaskedLearner
from audio_ssl.pretrain.optim import learning_rate
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.teachers.online_clustering import OnlineClustering
from tests.parity.learner import NO_DROPOUT, learner, run
from tests.reference import GRADIENTS, LOSS, STATES, Golden, assert_gradients, difference, golden

SMALL = [
    *NO_DROPOUT,
    "frontend.channels=[16,16,16,16,16,16,16]",
    "encoder.layers=3",
    "encoder.dim=32",
    "encoder.ffn_dim=64",
    "encoder.heads=4",
    "encoder.position_layers=3",
    "encoder.position_kernel_frames=7",
    "encoder.position_groups=4",
    "teachers.0.layers=2",
    "teachers.0.codebook_size=8",
    # The reference's waveforms are.
    "normalize=false",
]
LACKED = (".query.bias", ".key.bias", ".value.bias")
"""Biases that SpidR does without."""

RULES = {
    r"feature_extractor\.conv_layers\.(\d+)\.conv": r"model.frontend.convs.\1",
    r"feature_extractor\.conv_layers\.(\d+)\.layer_norm": r"model.frontend.norms.\1",
    r"feature_projection\.layer_norm": "model.encoder.feature_norm",
    r"feature_projection\.projection": "model.encoder.projection",
    r"^mask_embedding": "model.encoder.mask_embedding",
    r"student\.pos_conv_embed\.convs\.(\d+)": r"model.encoder.positions.layers.\1.conv",
    r"student\.layer_norm": "model.encoder.norm",
    r"student\.layers\.": "model.encoder.blocks.",
    r"attention\.proj": "out",
    r"(\d)\.layer_norm": r"\1.attention_norm",
    r"final_layer_norm": "final_norm",
    r"feed_forward\.intermediate_dense": "inner",
    r"feed_forward\.output_dense": "outer",
}
"""Their names and ours."""


def by_our_names(theirs: Mapping[str, Tensor], layer_by_layer: bool) -> dict[str, Tensor]:
    """Return their weights or gradients by our names: attention's in three parts, heads as one or one a layer."""
    found: dict[str, Tensor] = {}
    heads: dict[str, list[Tensor]] = {}
    for name, value in theirs.items():
        head = re.fullmatch(r"heads\.(\d+)\.0\.(\w+)", name)
        if head is not None:
            heads.setdefault(head[2], []).append(value)
            if layer_by_layer:
                found[f"heads.0.projections.{head[1]}.{head[2]}"] = value
            continue
        for old, new in RULES.items():
            name = re.sub(old, new, name)
        if ".attention.qkv." in name:
            for part, share in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[name.replace("attention.qkv", part)] = share
        else:
            found[name] = value
    if not layer_by_layer:
        found |= {f"heads.0.projection.{name}": torch.cat(values) for name, values in heads.items()}
    return found


def small(recipe: str, theirs: Golden, layer_by_layer: bool = False) -> MaskedLearner:
    """Return the recipe's learner with the reference's weights, average and codebooks; biases it lacks are zero."""
    module = learner(recipe, SMALL)
    weights = by_our_names(theirs.weights, layer_by_layer)
    parameters = {name: value for name, value in module.named_parameters() if not name.startswith("online.")}
    left = parameters.keys() - weights.keys()
    assert weights.keys() <= parameters.keys()
    assert all(name.endswith(LACKED) for name in left)
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(weights[name].reshape(value.shape) if name in weights else torch.zeros_like(value))
    one = teacher(module)
    one.model.load_state_dict(module.model.state_dict())
    give(one, encoder_of(theirs.under("teacher")))
    for book in range(2):
        one.codebooks.sums[book], one.codebooks.sizes[book] = theirs[f"codebook/{book}"], theirs[f"count/{book}"]
    return module


def teacher(module: MaskedLearner) -> OnlineClustering:
    """Return the recipe's one teacher."""
    found: Any = module.online["0"]
    return found


def encoder_of(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of one of their transformers by the names that a model of ours has for them."""
    named = by_our_names({f"student.{name}": value for name, value in theirs.items()}, False)
    return {name.removeprefix("model."): value for name, value in named.items()}


def give(part: Any, theirs: Mapping[str, Tensor]) -> None:
    """Give a model of ours the weights of their transformer."""
    mine = dict(part.named_parameters())
    with torch.no_grad():
        for name, value in theirs.items():
            mine[name if name in mine else f"model.{name}"].copy_(value)


def compared(recipe: str, name: str, layer_by_layer: bool = False) -> dict[str, float]:
    """Return the largest relative differences of a recipe's learner from the reference's, by what was compared."""
    theirs = golden(name)
    module = small(recipe, theirs, layer_by_layer)
    mask, waveform = theirs["input/mask"].bool(), theirs["input/waveform"]
    ours, one = run(module, waveform, mask, ()), teacher(module)
    gradients = by_our_names(theirs.under("grad"), layer_by_layer)
    # Biases that the reference lacks have gradients here: the recipe's header names them.
    mine = {key: value for key, value in ours.gradients.items() if key in gradients or not key.endswith(LACKED)}
    states = torch.stack(ours.hidden[1:])
    samples = torch.full((len(mask),), waveform.shape[1])
    targets = one.states(waveform, samples)
    found = {
        "features": difference(ours.features, theirs["features"]),
        "hidden": difference(states, theirs["states/feed_forward" if layer_by_layer else "states/output"]),
        "targets": difference(torch.stack(targets, 2), theirs["targets"]),
        "labels": float((one.codebooks.eval()(targets, mask.long()) != theirs["labels"]).sum()),
        "loss": difference(ours.output.loss_sum, theirs["loss_sum"]),
        "frames": abs(float(ours.output.count) - theirs.about["masked_frames"]),
        "perplexity": difference(_perplexity(ours.output.metrics), theirs["target_perplexity"]),
        "gradients": assert_gradients(mine, gradients, tolerance=float("inf")),
        "codebooks": _followed(one, theirs, "after"),
    }
    one.codebooks.train()
    again = run(module, waveform, theirs["input/mask_second"].bool(), ())
    return found | {
        "loss_second": difference(again.output.loss_sum, theirs["loss_sum_second"]),
        "codebooks_second": _followed(one, theirs, "second"),
        **_step(recipe, theirs, layer_by_layer),
    }


def _perplexity(metrics: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    values = [total / count for name, (total, count) in metrics.items() if name.startswith("code_perplexity")]
    assert len(values) == 2
    return torch.stack(values).mean()


def _followed(one: OnlineClustering, theirs: Golden, when: str) -> float:
    """Let the codebooks take in the update, and compare them with the reference's after it."""
    one.follow(lambda x: x)
    sums = torch.stack([theirs[f"{when}/codebook/{book}"] for book in range(2)])
    sizes = torch.stack([theirs[f"{when}/count/{book}"] for book in range(2)])
    codes = difference(one.codebooks.codes, sums / sizes[..., None])
    return max(codes, difference(one.codebooks.sums, sums), difference(one.codebooks.sizes, sizes))


def _step(recipe: str, theirs: Golden, layer_by_layer: bool) -> dict[str, float]:
    """Compare the average after one update, number 15,000 in the reference and 14,999 here, where the first is 0."""
    module = small(recipe, theirs, layer_by_layer)
    about = theirs.about["ema_step"]
    give(module.model, encoder_of(theirs.under("ema_step/student")))
    one = teacher(module)
    one.update(module.model, about["num_updates"] - 1)
    after = encoder_of(theirs.under("ema_step/teacher_after"))
    mine = dict(one.model.named_parameters())
    return {
        "averages": max(difference(mine[name], value) for name, value in after.items()),
        "shared": max(
            difference(mine[name], value)
            for name, value in module.model.named_parameters()
            if name not in after and not name.endswith(LACKED)
        ),
    }


@functools.cache
def agreement() -> dict[str, float]:
    """Return relative differences from the DinoSR of SpidR's package."""
    return compared("dinosr_base", "dinosr")


def assert_agrees(found: Mapping[str, float]) -> None:
    """Hold a learner to the reference."""
    for name in ("features", "hidden", "targets"):
        assert found[name] < STATES, name
    for name in ("loss", "loss_second", "perplexity"):
        assert found[name] < LOSS, name
    for name in ("codebooks", "codebooks_second", "averages"):
        assert found[name] < 1e-6, name
    assert found["gradients"] < GRADIENTS
    assert found["labels"] == found["frames"] == found["shared"] == 0


def test_targets_loss_gradients_codebooks_and_average_are_the_reference_s() -> None:
    assert_agrees(agreement())


@pytest.mark.parametrize(("recipe", "name"), [("dinosr_base", "dinosr"), ("spidr_style", "spidr")])
def test_decay_and_rate_are_the_reference_s(recipe: str, name: str) -> None:
    about = golden(name).about
    one = teacher(learner(recipe, SMALL))
    moving = [(n, v) for n, v in zip(about["ema_decay"]["updates"], about["ema_decay"]["value"], strict=True) if v < 1]
    assert [one.decay(number) for number, _ in moving] == pytest.approx([value for _, value in moving], abs=1e-8)
    # fairseq's DinoSR stops one update later than the package's.
    assert one.freeze_after == max(number for number, _ in moving) + (recipe == "dinosr_base")
    config = load_recipe(recipe)
    rates = about["learning_rate"]
    ours = [learning_rate(config.optim, update, config.steps) for update in rates["updates"]]
    assert ours == pytest.approx(rates["value"], rel=1e-6)
