"""wav2vec 2.0's learner beside fairseq's, with its noise and negatives, and beside transformers' pretraining model."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.interop.weight_names import common_name
from audio_ssl.pretrain.objectives.contrastive import Draws
from tests.parity.learner import (
    GOLDEN_SIZES,
    NO_DROPOUT,
    THEIR_NO_DROPOUT,
    THEIR_SIZES,
    Run,
    by_their_names,
    fairseq_names,
    learner,
    load,
    run,
)
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference, golden

SMALL = [*GOLDEN_SIZES, *NO_DROPOUT, "objectives.0.feature_dropout=0.0", "objectives.0.final_dim=16"]
CODES = ["objectives.0.code_dim=16", "objectives.0.codebook_size=6", "objectives.0.negatives=10"]
HEADS = {
    "heads.0.quantizer.choice.weight": "quantizer.weight_proj.weight",
    "heads.0.quantizer.choice.bias": "quantizer.weight_proj.bias",
    "heads.0.quantizer.vectors": "quantizer.vars",
    "heads.0.project_context.weight": "final_proj.weight",
    "heads.0.project_context.bias": "final_proj.bias",
    "heads.0.project_codes.weight": "project_q.weight",
    "heads.0.project_codes.bias": "project_q.bias",
}


def spied(module: Any, waveform: Tensor, mask: Tensor, draws: Draws, step: int) -> tuple[Run, Any, Tensor]:
    """Run the learner with given draws; return what it made, what its quantiser made, and its similarities."""
    head, quantised, logits = module.heads[0], [], []
    handle = head.quantizer.register_forward_hook(lambda _, __, output: quantised.append(output))
    similarities: Callable[..., Tensor] = head._logits

    def seen(*given: Any) -> Tensor:
        logits.append(similarities(*given))
        return logits[-1]

    with mock.patch.object(head, "draw", return_value=draws), mock.patch.object(head, "_logits", seen):
        found = run(module, waveform, mask, (), step)
    handle.remove()
    return found, quantised[0], logits[0].detach()


@functools.cache
def agreement() -> dict[str, float]:
    """Return the largest relative differences from fairseq's wav2vec 2.0, and from transformers' (``second_``)."""
    return {**_fairseqs(), **{f"second_{name}": value for name, value in _transformers().items()}}


def _fairseqs() -> dict[str, float]:
    theirs, module = golden("wav2vec2"), learner("wav2vec2_base", [*SMALL, *CODES])
    names = fairseq_names(module, HEADS)
    load(module, names, theirs.weights)
    draws = Draws(theirs["input/exponential_noise"].flatten(0, 1), list(theirs["input/negatives"]))
    update = theirs.about["update_of_the_temperature"]
    found, quantised, logits = spied(module, theirs["input/waveform"], theirs["input/mask"].bool(), draws, update)
    wanted = theirs["similarities_positive_first"]
    assert torch.equal(quantised.codes, theirs["codes"].flatten(0, 1))
    assert torch.equal(logits.isinf(), wanted.isinf())
    metrics = found.output.metrics
    return {
        "features": difference(found.features, theirs["features"]),
        "hidden": max(difference(mine, state) for mine, state in zip(found.hidden, theirs["hidden"], strict=True)),
        "quantised": difference(quantised.vectors.reshape(theirs["quantised"].shape), theirs["quantised"]),
        "similarities": difference(logits[logits.isfinite()], wanted[wanted.isfinite()]),
        "temperature": abs(module.heads[0].gumbel_temperature(update) - float(theirs["temperature"])),
        "loss": difference(found.output.loss_sum, theirs["loss_sum"]),
        "contrastive": difference(metrics["contrastive_loss"][0], theirs["loss_parts/contrastive_sum"]),
        "diversity": difference(0.1 * metrics["diversity_loss"][0], theirs["loss_parts/diversity_sum_times_0.1"]),
        "penalty": difference(10 * metrics["feature_penalty"][0], theirs["loss_parts/penalty_sum_times_10"]),
        "count": abs(float(found.output.count) - float(theirs["sample_size"])),
        "gradients": assert_gradients(
            by_their_names(found.gradients, names, theirs.weights), theirs.under("grad"), tolerance=float("inf")
        ),
    }


THEIR_HEADS = {
    "quantizer.choice": "quantizer.weight_proj",
    "quantizer.vectors": "quantizer.codevectors",
    "project_context": "project_hid",
    "project_codes": "project_q",
}


def transformers_name(ours: str) -> str:
    """Return the name of a weight of the learner's in transformers' model for pretraining."""
    if not ours.startswith("heads.0."):
        return f"wav2vec2.{common_name(ours.removeprefix('model.'))}"
    name = ours.removeprefix("heads.0.")
    part = next(part for part in THEIR_HEADS if name.startswith(part))
    return THEIR_HEADS[part] + name.removeprefix(part)


def transformers_model(module: Any, negatives: int) -> Any:
    """Return transformers' model for pretraining with the learner's weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    config = Wav2Vec2Config(
        **THEIR_SIZES,
        feat_quantizer_dropout=0.0,
        codevector_dim=16,
        proj_codevector_dim=16,
        num_negatives=negatives,
        attn_implementation="eager",
        **THEIR_NO_DROPOUT,
    )
    theirs = Wav2Vec2ForPreTraining(config).train()
    weights, shapes = {}, theirs.state_dict()
    for ours, value in module.named_parameters():
        name = transformers_name(ours)
        weights[name] = value.detach().reshape(shapes[name].shape)
    theirs.load_state_dict(weights)
    return theirs


def _transformers() -> dict[str, float]:
    """Compare with as many codes as are published, as codes that two frames share are told by float vectors there."""
    own = ["feature_penalty=0.0", "feature_grad_mult=1.0", "objectives.0.code_dim=16", "objectives.0.negatives=10"]
    torch.manual_seed(0)
    module = learner("wav2vec2_base", [*SMALL, *own])
    theirs = transformers_model(module, 10)
    waveform, mask = golden("wav2vec2")["input/waveform"], golden("wav2vec2")["input/mask"].bool()
    noise = torch.empty(mask.numel() * 2, 320).exponential_(generator=torch.Generator().manual_seed(5))
    negatives = golden("wav2vec2")["input/negatives"]
    draws = Draws(noise.view(*mask.shape, 2, 320)[mask], list(negatives))
    found, _, _ = spied(module, waveform, mask, draws, 12345)

    # There negatives are numbers of frames of the flat batch, and noise is drawn inside `gumbel_softmax`.
    index = torch.zeros(*mask.shape, 10, dtype=torch.long)
    for clip, numbers in enumerate(negatives):
        masked = mask[clip].nonzero()[:, 0]
        index[clip, masked] = masked[numbers] + clip * mask.shape[1]
    theirs.set_gumbel_temperature(module.heads[0].gumbel_temperature(12345))

    def seeded(*given: Any, **named: Any) -> Tensor:
        torch.manual_seed(5)
        return gumbel_softmax(*given, **named)

    gumbel_softmax = F.gumbel_softmax
    with mock.patch.object(F, "gumbel_softmax", seeded):
        output = theirs(
            waveform,
            mask_time_indices=mask,
            sampled_negative_indices=index,
            output_hidden_states=True,
            return_dict=True,
        )
    output.loss.backward()
    expected = {name: value.grad for name, value in theirs.named_parameters() if value.grad is not None}
    gradients = {transformers_name(name): value for name, value in found.gradients.items()}
    gradients = {name: value.reshape(expected[name].shape) for name, value in gradients.items()}
    pairs = zip(found.hidden, output.hidden_states, strict=True)
    return {
        "hidden": max(difference(mine, state) for mine, state in pairs),
        "loss": difference(found.output.loss_sum, output.loss),
        "contrastive": difference(found.output.metrics["contrastive_loss"][0], output.contrastive_loss),
        "gradients": assert_gradients(gradients, expected, tolerance=float("inf")),
    }


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        *(("features", STATES), ("hidden", STATES), ("quantised", STATES), ("similarities", STATES)),
        *(("loss", LOSS), ("contrastive", LOSS), ("diversity", LOSS), ("penalty", LOSS), ("count", 0.5)),
        *(("temperature", 1e-6), ("gradients", GRADIENTS)),
        *(("second_hidden", STATES), ("second_loss", LOSS), ("second_contrastive", LOSS)),
        ("second_gradients", GRADIENTS),
    ],
)
def test_it_is_fairseqs_and_transformers(name: str, tolerance: float) -> None:
    assert agreement()[name] < tolerance


@pytest.mark.parametrize(("name", "end"), [("wav2vec2_base", 0.5), ("wav2vec2_large", 0.1)])
def test_the_temperature_falls_as_in_fairseq(name: str, end: float) -> None:
    theirs = golden("schedules").about["values"][f"gumbel_temperature/{name}"]
    head: Any = learner("wav2vec2_base", [*SMALL, f"objectives.0.gumbel_end={end}"]).heads[0]
    ours = [head.gumbel_temperature(update) for update in theirs["updates"]]
    assert ours == pytest.approx(theirs["value"], rel=1e-9)


def test_a_run_of_before_keeps_its_two_norms() -> None:
    """A learner without the shared norm has the norms that it had: their gradients add up to that of the one."""
    theirs, module = golden("wav2vec2"), learner("wav2vec2_base", [*SMALL, *CODES, "objectives.0.shared_norm=false"])
    own = {"heads.0.feature_norm.weight": "own.weight", "heads.0.feature_norm.bias": "own.bias"}
    names = fairseq_names(module, {**HEADS, **own})
    copies = {f"own.{part}": theirs.weights[f"layer_norm.{part}"] for part in ("weight", "bias")}
    load(module, names, {**theirs.weights, **copies})
    draws = Draws(theirs["input/exponential_noise"].flatten(0, 1), list(theirs["input/negatives"]))
    found, _, _ = spied(module, theirs["input/waveform"], theirs["input/mask"].bool(), draws, 12345)
    assert difference(found.output.loss_sum, theirs["loss_sum"]) < LOSS
    for part in ("weight", "bias"):
        both = found.gradients[f"heads.0.feature_norm.{part}"], found.gradients[f"model.encoder.feature_norm.{part}"]
        assert difference(both[0], theirs[f"grad/layer_norm.{part}"]) > 0.01
        assert difference(both[0] + both[1], theirs[f"grad/layer_norm.{part}"]) < GRADIENTS
