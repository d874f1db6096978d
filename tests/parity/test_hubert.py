"""HuBERT's learner, built by the recipe, beside fairseq's numbers, torchaudio's pretraining model and transformers."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base import config as parts
from audio_ssl.interop.weight_names import common_name, torchaudio_name
from audio_ssl.models.model import ModelConfig, clean
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.spec import TargetSpec
from tests.parity.learner import (
    GOLDEN_SIZES,
    NO_DROPOUT,
    THEIR_SIZES,
    Run,
    by_their_names,
    fairseq_names,
    learner,
    load,
    run,
)
from tests.reference import GRADIENTS, LOSS, STATES, Golden, assert_gradients, difference, golden

SMALL = [*GOLDEN_SIZES, *NO_DROPOUT, "objectives.0.final_dim=16"]
LARGE = ["encoder.pre_norm=true", "frontend.norm=layer", "feature_grad_mult=1.0"]
CLASSES = 12
HEAD = {
    "heads.0.projection.weight": "final_proj.weight",
    "heads.0.projection.bias": "final_proj.bias",
    "heads.0.codes": "label_embs_concat",
}


def small(*overrides: str) -> Any:
    """Return the learner of the second iteration in the golden sizes, whose labels have 12 classes."""
    config: Any = load_recipe("hubert_base", [*SMALL, *overrides])
    grid = parts.build(config.frontend, config.data.sample_rate).grid
    return learner("hubert_base", [*SMALL, *overrides], [TargetSpec("codes", 1, CLASSES, grid)], stage=1)


def loaded(name: str) -> tuple[Any, Golden, dict[str, str]]:
    """Return the learner with a golden file's weights, the file, and its names of our weights."""
    theirs = golden(name)
    module = small(*(LARGE if name == "hubert_pre_norm" else ()))
    names = fairseq_names(module, HEAD, group_norm=name == "hubert")
    load(module, names, theirs.weights)
    return module, theirs, names


def ran(module: Any, theirs: Golden) -> Run:
    """Run the learner on a golden file's clips, mask and codes."""
    waveform = theirs.tensors.get("input/waveform_normalised", theirs["input/waveform"])
    return run(module, waveform, theirs["input/mask"].bool(), (theirs["input/codes"].long()[..., None],))


@functools.cache
def agreement() -> dict[str, float]:
    """Return the largest relative differences from fairseq: of the base model and (``pre_norm_``) of the large form."""
    return _fairseq("hubert") | {f"pre_norm_{key}": value for key, value in _fairseq("hubert_pre_norm").items()}


def _fairseq(name: str) -> dict[str, float]:
    module, theirs, names = loaded(name)
    found = ran(module, theirs)
    # The last state of a pre-norm model is after the norm that follows all layers, which fairseq calls the output.
    states = [*theirs["hidden"][:-1], theirs["encoder_output"]]
    metrics = found.output.metrics
    parts_of_loss = {
        "codes": float(metrics["loss_kmeans"][0]) - float(theirs["loss_parts/codes_sum"]),
        "penalty": 10 * float(metrics["feature_penalty"][0]) - float(theirs["loss_parts/penalty_sum_times_10"]),
    }
    gradients = by_their_names(found.gradients, names, theirs.weights)
    assert int(found.output.count) == int(theirs["sample_size"])
    return {
        "features": difference(found.features, theirs["features"]),
        "hidden": max(difference(ours, state) for ours, state in zip(found.hidden, states, strict=True)),
        "loss": difference(found.output.loss_sum, theirs["loss_sum"]),
        "loss_parts": max(map(abs, parts_of_loss.values())) / float(theirs["loss_sum"]),
        "gradients": assert_gradients(gradients, theirs.under("grad"), tolerance=float("inf")),
    }


@pytest.mark.parametrize("model", ["", "pre_norm_"])
def test_learner_is_fairseqs(model: str) -> None:
    found = agreement()
    assert found[f"{model}features"] < STATES
    assert found[f"{model}hidden"] < STATES
    assert found[f"{model}loss"] < LOSS
    assert found[f"{model}loss_parts"] < LOSS
    assert found[f"{model}gradients"] < GRADIENTS


def test_waveforms_of_the_large_model_are_standardised_as_in_fairseq() -> None:
    theirs = golden("hubert_pre_norm")
    waveform = theirs["input/waveform"]
    config = ModelConfig(None, None, normalize=True, normalize_epsilon=1e-5)
    lengths = torch.full((len(waveform),), waveform.shape[1])
    assert difference(clean(waveform, lengths, config, None), theirs["input/waveform_normalised"]) < STATES


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("objectives.0.temperature=0.11", "loss"),
        ("feature_penalty=9.0", "loss"),
        ("feature_grad_mult=1.0", "gradients"),
        ("encoder.pre_norm=true", "hidden"),
    ],
)
def test_another_setting_does_not_agree(override: str, what: str) -> None:
    theirs, module = golden("hubert"), small(override)
    names = fairseq_names(module, HEAD)
    load(module, names, theirs.weights)
    found = ran(module, theirs)
    gradients = by_their_names(found.gradients, names, theirs.weights)
    differences = {
        "loss": difference(found.output.loss_sum, theirs["loss_sum"]),
        "hidden": difference(found.hidden[-1], theirs["encoder_output"]),
        "gradients": assert_gradients(gradients, theirs.under("grad"), tolerance=float("inf")),
    }
    assert differences[what] > 1e-3


class GivenMask(nn.Module):
    """torchaudio's mask generator, but for the drawing."""

    def __init__(self, embedding: nn.Parameter, mask: Tensor) -> None:
        super().__init__()
        self.mask_embedding, self._mask = embedding, mask

    def forward(self, frames: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        return torch.where(self._mask[..., None], self.mask_embedding, frames), self._mask


def torchaudio_model(large: bool, mask: Tensor) -> nn.Module:
    """Return torchaudio's HuBERT for pretraining in the golden sizes, under a given mask."""
    pytest.importorskip("torchaudio")
    from torchaudio.models.wav2vec2.model import hubert_pretrain_model

    model = hubert_pretrain_model(
        extractor_mode="layer_norm" if large else "group_norm",
        extractor_conv_layer_config=[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2,
        extractor_conv_bias=False,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4,
        encoder_num_layers=2,
        encoder_num_heads=4,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=64,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=large,
        encoder_layer_drop=0.0,
        mask_prob=0.8,
        mask_selection="static",
        mask_other=0.0,
        mask_length=10,
        no_mask_overlap=False,
        mask_min_space=1,
        mask_channel_prob=0.0,
        mask_channel_selection="static",
        mask_channel_other=0.0,
        mask_channel_length=10,
        no_mask_channel_overlap=False,
        mask_channel_min_space=1,
        skip_masked=False,
        skip_nomask=False,
        num_classes=CLASSES,
        final_dim=16,
        feature_grad_mult=None if large else 0.1,
    )
    model.mask_generator = GivenMask(model.mask_generator.mask_embedding, mask)
    return model.train()


def torchaudio_names(module: Any) -> dict[str, str]:
    """Return torchaudio's name of each of the learner's weights."""
    names = {
        "heads.0.projection.weight": "logit_generator.final_proj.weight",
        "heads.0.projection.bias": "logit_generator.final_proj.bias",
        "heads.0.codes": "logit_generator.label_embeddings",
        "model.encoder.mask_embedding": "mask_generator.mask_embedding",
    }
    for name, _ in module.model.named_parameters():
        names.setdefault(f"model.{name}", f"wav2vec2.{torchaudio_name(common_name(name))}")
    return names


@pytest.mark.parametrize("large", [False, True])
def test_learner_is_torchaudios_pretraining_model(large: bool) -> None:
    module, theirs, _ = loaded("hubert_pre_norm" if large else "hubert")
    mask, codes = theirs["input/mask"].bool(), theirs["input/codes"].long()
    peer, names = torchaudio_model(large, mask), torchaudio_names(module)
    parameters = dict(peer.named_parameters())
    assert set(names.values()) == set(parameters)
    with torch.no_grad():
        for ours, weight in module.named_parameters():
            parameters[names[ours]].copy_(weight.view_as(parameters[names[ours]]))
    waveform = theirs.tensors.get("input/waveform_normalised", theirs["input/waveform"])
    logits, _, penalty = peer(waveform, codes)
    # The loss of its example: the right code comes first, and the penalty is weighted by the masked frames.
    loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="sum")
    loss = loss + 10 * penalty * len(logits)
    loss.backward()
    found = ran(module, theirs)
    assert difference(found.output.loss_sum, loss) < LOSS
    gradients = {name: value.grad for name, value in parameters.items() if value.grad is not None}
    assert_gradients(by_their_names(found.gradients, names, parameters), gradients)


@pytest.mark.parametrize("large", [False, True])
def test_layers_of_other_libraries_are_the_outputs(large: bool) -> None:
    module, theirs, _ = loaded("hubert_pre_norm" if large else "hubert")
    model, waveform = module.model.eval(), theirs["input/waveform"]
    nothing = torch.zeros_like(theirs["input/mask"]).bool()
    with torch.no_grad():
        output, before = (model(waveform, point=point).hidden for point in ("output", "feed_forward"))
        peer = torchaudio_model(large, nothing).eval()
        state = {f"model.{name}": value for name, value in model.named_parameters()}
        names = torchaudio_names(module)
        heads = {name: value for name, value in peer.state_dict().items() if name.startswith("logit")}
        peer.load_state_dict(
            {names[name]: value.view_as(peer.state_dict()[names[name]]) for name, value in state.items()} | heads
        )
        layers = peer.wav2vec2.extract_features(waveform)[0]  # type: ignore[operator, union-attr]
        hidden, fed = _transformers(model, large, waveform)
    # torchaudio's list ends before the norm that follows all layers of a pre-norm model.
    assert difference(output[1], layers[0]) < STATES
    assert (difference(output[2], layers[1]) < STATES) is not large
    for ours, other in zip(output, hidden, strict=True):
        assert difference(ours, other) < STATES
    for ours, other in zip(before[1:], fed, strict=True):
        assert difference(ours, other) < STATES
    assert difference(before[1], hidden[1]) > 0.5


def _transformers(model: Any, large: bool, waveform: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return transformers' hidden states and what the feed-forward part of each layer gave."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import HubertConfig, HubertModel
    config = HubertConfig(
        **THEIR_SIZES,
        feat_extract_norm="layer" if large else "group",
        do_stable_layer_norm=large,
    )
    peer = HubertModel(config).eval()
    peer.load_state_dict({common_name(name): value for name, value in model.state_dict().items()})
    fed: list[Tensor] = []
    for layer in peer.encoder.layers:
        layer.feed_forward.register_forward_hook(lambda _m, _a, out: fed.append(out))
    output = peer(waveform, output_hidden_states=True)
    # Newer versions list the last state before the norm that follows all layers.
    return [*output.hidden_states[:-1], output.last_hidden_state], fed
