"""Dropout falls where it falls in the public code, with the chance that it has there.

The other parity tests run without it, as every library draws other numbers. Here both sides drop the same channels of
whatever they drop, by the channel's number instead of by chance, and the layers that are skipped are given. So the
states of training differ as soon as a place, a chance or a scale is another.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.interop.muq import muq_name
from audio_ssl.interop.transformers import to_transformers_weights
from audio_ssl.models.encoders import conformer
from audio_ssl.models.fast import cpu
from audio_ssl.models.frontends import mel
from audio_ssl.models.padding import visible_frames
from audio_ssl.pretrain.decoder import ConvDecoder
from audio_ssl.pretrain.learner import MaskedLearner
from audio_ssl.pretrain.objectives.contrastive import Draws
from audio_ssl.pretrain.objectives.cpc import StepPredictor
from audio_ssl.pretrain.view import View
from audio_ssl.targets.spec import TargetSpec
from tests.parity.learner import GOLDEN_SIZES, learner
from tests.parity.test_bestrq import ENCODER, FRONTEND, encoder_tensors, frontend_tensors, their_encoder, their_frontend
from tests.reference import STATES, difference

RATES = {"dropout": 0.125, "attention_dropout": 0.25, "activation_dropout": 0.375, "input_dropout": 0.5}
"""All different, and multiples of an eighth, which the pattern below keeps exactly."""
DROPS = [*GOLDEN_SIZES, *(f"encoder.{name}={rate}" for name, rate in RATES.items()), "encoder.layers=4"]
MUQ_RATES = {"dropout": 0.25, "attention_dropout": 0.25, "activation_dropout": 0.375, "input_dropout": 0.25}
"""transformers drops what attention gives by the chance of its weights, and the input by that of the other parts."""
MUQ = [
    *(f"encoder.{name}={rate}" for name, rate in MUQ_RATES.items()),
    *("frontend.channels=8", "frontend.dim=32", "encoder.layers=4", "encoder.dim=32", "encoder.ffn_dim=64"),
    *("encoder.heads=4", "encoder.kernel_frames=7"),
]
SKIPPED = (0.9, 0.3, 0.6, 0.2)
"""What is drawn for each layer: at a chance of 0.25 the last is skipped."""
SAMPLES, FRAMES = 8000, 24
# Standardised, which some of the recipes do themselves.
WAVEFORM = F.layer_norm(torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(1)), (SAMPLES,))
MASK = torch.rand(2, FRAMES, generator=torch.Generator().manual_seed(2)) < 0.4


def kept(shape: Sequence[int], p: float) -> Tensor:
    """Return which of the last axis's numbers stay: all but one or more of every eight."""
    return (5 * torch.arange(shape[-1]) % 8 >= 8 * p).expand(*shape)


@contextmanager
def by_number(skipped: Sequence[float] = ()) -> Iterator[list[tuple[float, tuple[int, ...]]]]:
    """Drop by `kept` in a block, on both sides, and draw these numbers for layers; list the reference's dropouts."""
    found: list[tuple[float, tuple[int, ...]]] = []
    draws, rand = iter(skipped), torch.rand

    def drop(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return x
        found.append((p, tuple(x.shape)))
        return x * kept(x.shape, p) / (1 - p)

    def drawn(*size: Any, **named: Any) -> Tensor:
        return torch.tensor(next(draws)) if size in (((),), ([],)) else rand(*size, **named)

    attention = F.scaled_dot_product_attention

    def attend(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0, *rest: bool
    ) -> Tensor:
        if not dropout_p:
            return attention(query, key, value, attn_mask, dropout_p, *rest)
        scores = query @ key.mT / query.shape[-1] ** 0.5 + attn_mask
        return drop(scores.softmax(-1), dropout_p) @ value

    with (
        mock.patch.object(F, "dropout", drop),
        mock.patch.object(F, "scaled_dot_product_attention", attend),
        mock.patch.object(torch, "rand", drawn),
        mock.patch.object(cpu, "draw_kept", kept),
    ):
        yield found


def shaken(module: MaskedLearner) -> MaskedLearner:
    """Move the weights of a learner off what they start with."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def transformers_model(name: str, module: MaskedLearner, layer_drop: float, **more: Any) -> Any:
    """Return a model of transformers with the learner's weights and dropouts, in training mode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        encoder: Any = module.model.config.encoder
        frontend: Any = module.model.config.frontend
        config = getattr(transformers, f"{name}Config")(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            conv_dim=(16,) * 7,
            conv_bias=frontend.bias,
            num_conv_pos_embedding_groups=4,
            hidden_dropout=RATES["dropout"],
            attention_dropout=RATES["attention_dropout"],
            activation_dropout=RATES["activation_dropout"],
            feat_proj_dropout=RATES["input_dropout"],
            layerdrop=layer_drop,
            attn_implementation="eager",
            **more,
        )
        if encoder.position_layers == 1:
            config.num_conv_pos_embeddings = encoder.position_kernel_frames
            config.feat_extract_norm = frontend.norm
            config.do_stable_layer_norm = encoder.pre_norm
        else:
            config.num_conv_pos_embeddings = encoder.position_layers
            config.conv_pos_kernel_size = encoder.position_kernel_frames
        model = getattr(transformers, f"{name}Model")(config).train()
    weights, shapes = to_transformers_weights(module.model), model.state_dict()
    model.load_state_dict({key: weights[key].reshape(shapes[key].shape) for key in weights})
    return model


LARGE = ["encoder.pre_norm=true", "frontend.norm=layer"]
MODELS: dict[str, tuple[str, str, list[str], dict[str, Any], int]] = {
    "hubert": ("hubert_base", "Hubert", [], {}, 1),
    "hubert_pre_norm": ("hubert_base", "Hubert", LARGE, {}, 1),
    "mert": ("mert_95m", "Hubert", [], {}, 0),
    "wav2vec2": ("wav2vec2_base", "Wav2Vec2", [], {}, 0),
    "wavlm": ("wavlm_base", "WavLM", [], {"num_buckets": 320, "max_bucket_distance": 800}, 1),
    "data2vec": ("data2vec_base", "Data2VecAudio", ["encoder.position_layers=3", "teachers.0.layers=2"], {}, 0),
}


def specs(recipe: str) -> list[TargetSpec] | None:
    """Return the targets of recipes whose teachers take long to make, or are not there yet."""
    from audio_ssl.base import config as parts
    from audio_ssl.pretrain.recipe import load_recipe

    config: Any = load_recipe(recipe)
    if recipe.startswith(("data2vec", "wav2vec2")):
        return None
    grid = parts.build(config.frontend, config.data.sample_rate).grid
    return [TargetSpec("codes", 8, 12, grid), TargetSpec("values", 336, None, grid)]


@functools.cache
def agreement() -> dict[str, float]:
    """Return the largest relative difference of a family's hidden states in training, with and without layer drop."""
    found = {case: max(_transformers(case, layer_drop) for layer_drop in (0.0, 0.25)) for case in MODELS}
    return found | {"bestrq": max(_speechbrain(), _speechbrains_features()), "muq": _conformer()}


def _transformers(case: str, layer_drop: float) -> float:
    """Compare with transformers, which drops where fairseq, UniSpeech and MERT do (``wav2vec2.py``)."""
    recipe, name, more, settings, stage = MODELS[case]
    module = shaken(learner(recipe, [*DROPS, *more, f"encoder.layer_drop={layer_drop}"], specs(recipe), stage))
    theirs = transformers_model(name, module, layer_drop, **settings)
    # From its version 5 on transformers draws nothing for WavLM's first layer, which it never skips.
    undrawn = 1 if name == "WavLM" and int(version("transformers").split(".")[0]) > 4 else 0
    with by_number(SKIPPED[undrawn:]) as dropped:
        output = theirs(WAVEFORM, mask_time_indices=MASK, output_hidden_states=True)
    assert {p for p, _ in dropped} == set(RATES.values())
    with by_number(SKIPPED):
        ours = module.model(WAVEFORM, mask=MASK).hidden
    assert (ours[-1] - ours[-2]).abs().max() == 0 or layer_drop == 0 or case == "hubert_pre_norm"
    if layer_drop:
        # Newer versions of transformers list no state of a layer that is skipped; the last one tells which were.
        return difference(ours[-1], output.last_hidden_state)
    expected = [*output.hidden_states[:-1], output.last_hidden_state]
    return max(difference(*pair) for pair in zip(ours, expected, strict=True))


@pytest.mark.parametrize("family", [*MODELS, "bestrq", "muq"])
def test_states_of_training_are_those_of_the_published_code(family: str) -> None:
    assert agreement()[family] < STATES


def test_the_quantiser_hears_features_that_are_dropped_after_the_norm() -> None:
    """fairseq drops the normed features once for the encoder's projection and once, by another chance, for these."""
    settings = ["objectives.0.feature_dropout=0.375", "objectives.0.code_dim=16", "objectives.0.final_dim=16"]
    module = shaken(learner("wav2vec2_base", [*DROPS, *settings, "encoder.layer_drop=0.0"]))
    head: Any = module.heads[0]
    heard: list[Tensor] = []
    head.quantizer.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    with by_number():
        output = module.model(WAVEFORM, mask=MASK)
        norm: Any = module.model.encoder.feature_norm
        view = a_view(output.hidden, output.features, norm)
        head.loss(view, Draws(None, [torch.zeros(int(row.sum()), 100, dtype=torch.long) for row in MASK]))
        assert heard[0].shape == (int(MASK.sum()), 16)
        assert torch.equal(heard[0], F.dropout(norm(output.features[MASK]), 0.375))


def a_view(hidden: list[Tensor], features: Tensor, norm: nn.Module) -> View:
    frames = torch.full((len(features),), FRAMES)
    return View(hidden, features, frames, MASK, None, torch.Generator(), 0, (0, 1), norm)


def test_the_decoder_of_data2vec_2_drops_what_it_is_given_and_not_the_noise() -> None:
    """fairseq: ``modalities/base.py``, `decoder_input`."""
    small = ["teachers.0.layers=2", "encoder.position_layers=3", "decoder.layers=2", "decoder.dim=24"]
    module = shaken(learner("data2vec2_base", [*DROPS, *small, "decoder.groups=4", "decoder.dropout=0.375"]))
    assert isinstance(module.decoder, ConvDecoder)
    frames = torch.full((2,), FRAMES)
    visible = visible_frames(MASK, frames)
    states = torch.randn(2, visible.places.shape[1], 32, generator=torch.Generator().manual_seed(3))
    with by_number():
        ours = module.decoder(states, visible, MASK, frames, (0, 1))
        dropped = F.dropout(states, 0.375)
    module.decoder.eval()
    assert difference(ours, module.decoder(dropped, visible, MASK, frames, (0, 1))) < STATES
    assert difference(ours, module.decoder(states, visible, MASK, frames, (0, 1))) > 0.1


def _speechbrain() -> float:
    """Its Conformer and its convolutions have one chance for all places; a projection before a block is one of them."""
    config = dataclasses.replace(ENCODER, **dict.fromkeys(RATES, 0.25))
    theirs = their_encoder(config, 20).train()
    ours = conformer.build(config, 20).train()
    ours.load_state_dict(
        {"mask_embedding": ours.mask_embedding.data, **encoder_tensors(dict(theirs.named_parameters()), config)}
    )
    features = torch.randn(3, 30, 20, generator=torch.Generator().manual_seed(1))
    with by_number() as found:
        output, hidden = theirs.encode(features)
    assert {p for p, _ in found} == {0.25}
    with by_number():
        states = ours(features, torch.tensor([30, 30, 30]))
    return max(difference(*pair) for pair in zip(states, [*hidden[:-1], output], strict=True))


def _speechbrains_features() -> float:
    _, convolutions = their_frontend(20)
    for module in convolutions.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.375
    ours = mel.build(dataclasses.replace(FRONTEND, dropout=0.375), 16000).train()
    ours.load_state_dict(frontend_tensors(dict(convolutions.named_parameters())))
    frames = torch.randn(2, 48, 20, generator=torch.Generator().manual_seed(1))
    with by_number() as found:
        theirs = convolutions.train()(frames)
        assert len(found) == 2
        return difference(ours._subsample(frames), theirs)


class ChannelDropout(nn.Dropout):
    """Dropout of frames whose channels are the second axis, which the pattern goes by."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mT).mT


def _conformer() -> float:
    module = shaken(learner("muq_style", [*MUQ, "encoder.layer_drop=0.25"], specs("muq_style")))
    encoder: Any = module.model.encoder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import Wav2Vec2ConformerConfig
        from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

        config = Wav2Vec2ConformerConfig(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            hidden_act="swish",
            hidden_dropout=MUQ_RATES["dropout"],
            conformer_conv_dropout=MUQ_RATES["dropout"],
            attention_dropout=MUQ_RATES["attention_dropout"],
            activation_dropout=MUQ_RATES["activation_dropout"],
            layerdrop=0.25,
            conv_depthwise_kernel_size=7,
            position_embeddings_type="rotary",
        )
        theirs = Wav2Vec2ConformerEncoder(config)
    for layer in theirs.layers:
        layer.conv_module.dropout = ChannelDropout(layer.conv_module.dropout.p)
    theirs.train()
    shapes = theirs.state_dict()
    weights = {
        muq_name(f"encoder.{name}").removeprefix("conformer."): value
        for name, value in encoder.state_dict().items()
        if name != "mask_embedding"
    }
    theirs.load_state_dict({name: value.reshape(shapes[name].shape) for name, value in weights.items()}, strict=False)
    features = torch.randn(2, FRAMES, 32, generator=torch.Generator().manual_seed(4))
    with by_number(SKIPPED) as found:
        expected = theirs(features).last_hidden_state
    assert {p for p, _ in found} == set(MUQ_RATES.values())
    with by_number(SKIPPED):
        states = encoder(features, torch.full((2,), FRAMES))
    # Newer encoders of transformers list no states; the last one tells which layers were skipped.
    return difference(states[-1], expected)


def test_the_predictors_of_cpc_drop_weights_of_attention_and_inside_the_feed_forward_part() -> None:
    """CPC_audio: ``cpc/transformers.py``, `ScaledDotProductAttention` and `FFNetwork`."""
    predictor = StepPredictor(16, 2, 0.375, 116).train()
    x = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(5))
    with by_number() as found:
        predictor(x)
    assert found == [(0.375, (2, 2, 12, 12)), (0.375, (2, 12, 128))]
