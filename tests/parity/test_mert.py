"""MERT's learner beside MERT's own code (95M), and beside transformers' pre-norm HuBERT and its loss (330M)."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.base import config as parts
from audio_ssl.interop.weight_names import common_name
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.spec import TargetSpec
from tests.parity.learner import (
    GOLDEN_SIZES,
    NO_DROPOUT,
    THEIR_NO_DROPOUT,
    THEIR_SIZES,
    by_their_names,
    fairseq_names,
    learner,
    load,
    run,
)
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference, golden

SMALL = [*GOLDEN_SIZES, *NO_DROPOUT, "mixing=null", "objectives.0.final_dim=8", "teachers.0.random_weights=true"]
CODEBOOKS, CLASSES, BINS = 8, 12, 336
HEADS = {
    "heads.0.projection.weight": "final_proj.weight",
    "heads.0.projection.bias": "final_proj.bias",
    "heads.0.codes": "label_embs_concat",
    "heads.1.projection.weight": "encoder_cqt_model.fc.weight",
    "heads.1.projection.bias": "encoder_cqt_model.fc.bias",
}


def cqt(recipe: str, waveform: Tensor) -> Tensor:
    """Return the targets of the recipe's own CQT teacher."""
    config: Any = load_recipe(recipe)
    teacher = parts.build(config.teachers[1], config.data.sample_rate, torch.device("cpu"))
    return torch.stack([teacher(clip) for clip in waveform])


def small(recipe: str) -> Any:
    """Return the recipe's learner in the golden sizes; the golden codebooks have 12 codes."""
    config: Any = load_recipe(recipe, SMALL)
    grid = parts.build(config.frontend, config.data.sample_rate).grid
    specs = [TargetSpec("codes", CODEBOOKS, CLASSES, grid), TargetSpec("values", BINS, None, grid)]
    return learner(recipe, SMALL, specs)


@functools.cache
def agreement() -> dict[str, float]:
    """Return relative differences of MERT 95M from its own code, and of 330M (``large_``) from transformers."""
    return {**_base(), **{f"large_{name}": value for name, value in _large().items()}}


def _base() -> dict[str, float]:
    theirs, module = golden("mert"), small("mert_95m")
    names = fairseq_names(module, HEADS)
    load(module, names, theirs.weights)
    waveform = theirs["input/waveform"]
    values = cqt("mert_95m", waveform)
    frames = theirs["input/mask"].shape[1]
    found = run(module, waveform, theirs["input/mask"].bool(), (theirs["input/codes"].long(), values))
    gradients = by_their_names(found.gradients, names, theirs.weights)
    return {
        "cqt": difference(values[:, :frames], theirs["cqt"][:, :frames]),
        "features": difference(found.features, theirs["features"]),
        "hidden": max(difference(ours, state) for ours, state in zip(found.hidden, theirs["hidden"], strict=True)),
        "loss": difference(found.output.loss_sum, theirs["loss_sum"]),
        "gradients": assert_gradients(gradients, theirs.under("grad"), tolerance=float("inf")),
    }


def transformers_hubert(module: Any) -> Any:
    """Return the learner's weights in transformers' pre-norm HuBERT, but with a group norm in front, like MERT 330M."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import HubertConfig, HubertModel

    config = HubertConfig(
        **THEIR_SIZES,
        **THEIR_NO_DROPOUT,
        feat_extract_norm="group",
        do_stable_layer_norm=True,
        apply_spec_augment=True,
        attn_implementation="eager",
    )
    theirs = HubertModel(config).train()
    state = {common_name(name): value.detach() for name, value in module.model.named_parameters()}
    theirs.load_state_dict(state)
    return theirs


def _large() -> dict[str, float]:
    torch.manual_seed(0)
    module = small("mert_330m")
    theirs = transformers_hubert(module)
    waveform, mask = golden("mert")["input/waveform"], golden("mert")["input/mask"].bool()
    codes, values = golden("mert")["input/codes"].long(), cqt("mert_330m", waveform)
    found = run(module, waveform, mask, (codes, values))
    features = theirs.feature_extractor(waveform)
    output = theirs(waveform, mask_time_indices=mask, output_hidden_states=True)
    last = output.last_hidden_state[mask]
    codes_head, values_head = (dict(head.named_parameters()) for head in module.heads)
    own = {f"heads.0.{name}": value.detach().clone().requires_grad_() for name, value in codes_head.items()}
    own |= {f"heads.1.{name}": value.detach().clone().requires_grad_() for name, value in values_head.items()}
    # MERT's criterion: for each codebook the cosine with every code over the temperature, then 10 and 1.
    projected = F.linear(last, own["heads.0.projection.weight"], own["heads.0.projection.bias"]).chunk(CODEBOOKS, -1)
    loss = torch.zeros(())
    for book, rows in enumerate(projected):
        logits = F.cosine_similarity(rows[:, None], own["heads.0.codes"][book], dim=-1) / 0.1
        loss = loss + F.cross_entropy(logits, codes[mask][:, book], reduction="sum")
    predicted = F.linear(last, own["heads.1.projection.weight"], own["heads.1.projection.bias"])
    count = mask.sum()
    loss = loss + count * (10 * features.square().mean() + F.mse_loss(predicted, values[:, : mask.shape[1]][mask]))
    loss.backward()
    parameters = dict(theirs.named_parameters())
    gradients = {name: value.grad for name, value in own.items()}
    gradients |= {f"model.{name}": parameters[common_name(name)].grad for name, _ in module.model.named_parameters()}
    return {
        "hidden": max(
            difference(ours, state) for ours, state in zip(found.hidden[:-1], output.hidden_states[:-1], strict=True)
        ),
        "last": difference(found.hidden[-1], output.last_hidden_state),
        "loss": difference(found.output.loss_sum, loss),
        "gradients": assert_gradients(found.gradients, gradients, tolerance=float("inf")),
    }


@pytest.mark.parametrize("name", ["cqt", "features", "hidden", "large_hidden", "large_last"])
def test_states_are_those_of_the_reference(name: str) -> None:
    assert agreement()[name] < STATES


@pytest.mark.parametrize("name", ["loss", "large_loss"])
def test_loss_is_that_of_the_reference(name: str) -> None:
    assert agreement()[name] < LOSS


@pytest.mark.parametrize("name", ["gradients", "large_gradients"])
def test_every_gradient_is_that_of_the_reference(name: str) -> None:
    assert agreement()[name] < GRADIENTS
