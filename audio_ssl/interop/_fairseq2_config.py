"""fairseq2's asset card of a wav2vec 2.0 model (``model.yaml``) and our `ModelConfig`, both ways.

Sizes are read from the weights themselves; the card adds what no shape tells: heads, strides, dropouts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.interop.settings import FAIRSEQ_EPSILON, ModelSettings, heads_of, preparation_of
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig

EXTRACTOR = "encoder_frontend.feature_extractor.layers"
POSITIONS = "encoder_frontend.pos_encoder"
PROJECTION = "encoder_frontend.model_dim_proj"

_DROPOUTS = {
    "dropout": "dropout_p",
    "attention_dropout": "attn_dropout_p",
    "activation_dropout": "ffn_inner_dropout_p",
    "input_dropout": "first_pass_dropout_p",
    "layer_drop": "layer_drop_p",
}
_WRITABLE = {
    *("layers", "dim", "ffn_dim", "heads", "pre_norm", *_DROPOUTS),
    *("position_kernel_frames", "position_groups", "position_layers", "rope_base", "checkpoint_activations"),
    "projection_init",
}
"""Options of our transformer that fairseq2 has, too, or that change nothing in a trained model with convolutional
positions."""
_CONFIG_KEYS = ("model_config", "model_config_overrides", "model_config_override")
OUR_KEY = "audio_ssl"
"""Key of the card with what fairseq2 has no field for."""


def model_config(
    state: Mapping[str, Tensor], card: Mapping[str, Any], given: ModelSettings, where: Path
) -> ModelConfig:
    """Return the config of a model with these weights.

    Parameters
    ----------
    state
        Weights under fairseq2's names.
    card
        ``model.yaml``, or nothing; its section `OUR_KEY` says rate and normalisation, which fairseq2 has no field for.
    given
        What the caller says.
    where
        The file, for errors.

    Raises
    ------
    UserError
        If the weights are no wav2vec 2.0 with a transformer, have a layout ours cannot have, or something is not said.
    """
    encoder, ours = _encoder_section(card), card.get(OUR_KEY, {})
    frontend = _frontend(state, encoder)
    transform = _encoder(state, encoder, given, where)
    source = f"the section `{OUR_KEY}` of model.yaml"
    ours = ours if isinstance(ours, Mapping) else {}
    found = ModelSettings(ours.get("normalize"), ours.get("sample_rate"))
    prepared = preparation_of(given, found, source, where)
    epsilon = float(ours.get("normalize_epsilon", FAIRSEQ_EPSILON))
    return ModelConfig(frontend, transform, prepared.sample_rate, prepared.normalize, epsilon)


def _encoder_section(card: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in _CONFIG_KEYS:
        section = card.get(key)
        if isinstance(section, Mapping):
            inner = section.get("encoder_config", {})
            return inner if isinstance(inner, Mapping) else {}
    return {}


def _frontend(state: Mapping[str, Tensor], encoder: Mapping[str, Any]) -> conv.Config:
    weights = [state[name] for index in range(len(state)) if (name := f"{EXTRACTOR}.{index}.conv.weight") in state]
    if not weights:
        raise UserError("no wav2vec 2.0 of fairseq2: there is no convolutional feature extractor")
    kernels = tuple(weight.shape[2] for weight in weights)
    described = encoder.get("feature_extractor_layer_descs")
    default = conv.Config()
    if described is not None:
        strides = tuple(int(layer[2]) for layer in described)
    elif kernels == default.kernels:
        strides = default.strides
    else:
        raise UserError(
            f"the strides of convolutions with the kernels {list(kernels)} are not known",
            remedy="put fairseq2's model.yaml beside the weights",
        )
    return conv.Config(
        channels=tuple(weight.shape[0] for weight in weights),
        kernels=kernels,
        strides=strides,
        norm="group" if f"{EXTRACTOR}.0.group_norm.weight" in state else "layer",
        bias=f"{EXTRACTOR}.0.conv.bias" in state,
    )


def _encoder(
    state: Mapping[str, Tensor], encoder: Mapping[str, Any], given: ModelSettings, where: Path
) -> transformer.Config:
    inner = [weight for name, weight in state.items() if name.endswith(".ffn.inner_proj.weight")]
    if not inner:
        raise UserError("the encoder is no transformer of fairseq2's standard layers")
    ffn_dim, dim = inner[0].shape
    heads = heads_of(given, encoder.get("num_encoder_attn_heads"), dim, where)
    kernel, groups, layers = _positions(state, dim)
    default = transformer.Config()

    def dropout(ours: str) -> float:
        return float(encoder.get(_DROPOUTS[ours], getattr(default, ours)))

    return transformer.Config(
        layers=len(inner),
        dim=dim,
        ffn_dim=ffn_dim,
        heads=heads,
        pre_norm=_pre_norm(state),
        position_kernel_frames=kernel,
        position_groups=groups,
        position_layers=layers,
        dropout=dropout("dropout"),
        attention_dropout=dropout("attention_dropout"),
        activation_dropout=dropout("activation_dropout"),
        input_dropout=dropout("input_dropout"),
        layer_drop=dropout("layer_drop"),
    )


def _pre_norm(state: Mapping[str, Tensor]) -> bool:
    at_end, at_start = "encoder.layer_norm.weight" in state, "encoder_frontend.layer_norm.weight" in state
    if at_end == at_start:
        raise UserError(
            f"an encoder has one layer norm of its own, at its start (post-LN) or its end (pre-LN), but this has "
            f"{'both' if at_end else 'none'}"
        )
    return at_end


def _positions(state: Mapping[str, Tensor], dim: int) -> tuple[int, int, int]:
    """Return kernel, groups and number of the positions' convolutions."""
    single = state.get(f"{POSITIONS}.conv.weight_v")
    if single is not None:
        return single.shape[2], dim // single.shape[1], 1
    stacked = [weight for name, weight in state.items() if name.startswith(POSITIONS) and name.endswith("conv.weight")]
    if not stacked:
        raise UserError("only convolutional positions can be read from fairseq2")
    if stacked[0].shape[2] % 2 == 0:
        raise UserError("stacked positions with an even kernel are padded otherwise in fairseq2")
    return stacked[0].shape[2], dim // stacked[0].shape[1], len(stacked)


def check_writable(config: ModelConfig) -> tuple[conv.Config, transformer.Config]:
    """Return frontend and encoder of a model that fairseq2 can hold.

    Raises
    ------
    UserError
        If it has parts that fairseq2's wav2vec 2.0 has not.
    """
    frontend, encoder = config.frontend, config.encoder
    if not isinstance(frontend, conv.Config) or not isinstance(encoder, transformer.Config):
        raise UserError(
            "only models with the `conv` frontend and the `transformer` encoder can be written for fairseq2"
        )
    default = transformer.Config()
    # Options that are newer than this list are refused until they are on it.
    names = [
        f"`{field.name}`"
        for field in dataclasses.fields(encoder)
        if field.name not in _WRITABLE and getattr(encoder, field.name) != getattr(default, field.name)
    ]
    if frontend.activation != "gelu":
        names.append("`activation`")
    kernel = encoder.position_kernel_frames
    if encoder.position_layers > 1 and (kernel % 2 == 0 or kernel < 3):
        names.append("`position_kernel_frames`")
    if names:
        raise UserError(f"fairseq2's wav2vec 2.0 has no such {' and '.join(names)} as this encoder")
    return frontend, encoder


def card_of(config: ModelConfig, heads_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return fairseq2's card of a model; `heads_config` are the sizes of quantiser and projections."""
    frontend, encoder = check_writable(config)
    layers = zip(frontend.channels, frontend.kernels, frontend.strides, strict=True)
    section = {
        "model_dim": encoder.dim,
        "feature_dim": frontend.channels[-1],
        "layer_norm_features": not encoder.pre_norm,
        "feature_extractor_layer_descs": [list(layer) for layer in layers],
        "feature_extractor_bias": frontend.bias,
        "feature_extractor_layer_norm_convs": frontend.norm == "layer",
        "pos_encoder_depth": encoder.position_layers,
        # fairseq2 divides the kernel by the number of convolutions.
        "pos_conv_kernel_size": encoder.position_kernel_frames * encoder.position_layers,
        "num_pos_conv_groups": encoder.position_groups,
        "num_encoder_layers": encoder.layers,
        "num_encoder_attn_heads": encoder.heads,
        "ffn_inner_dim": encoder.ffn_dim,
        "norm_order": "PRE" if encoder.pre_norm else "POST",
        **{theirs: getattr(encoder, ours) for ours, theirs in _DROPOUTS.items()},
    }
    return {
        "name": "checkpoint",
        "model_family": "wav2vec2",
        "model_config": {"encoder_config": section, **heads_config},
        OUR_KEY: {
            "sample_rate": config.sample_rate,
            "normalize": config.normalize,
            "normalize_epsilon": config.normalize_epsilon,
        },
    }


def head_shapes(config: ModelConfig, sizes: Mapping[str, int]) -> dict[str, Sequence[int]]:
    """Return the shapes of the weights of quantiser and projections, which `SSLModel` has not."""
    frontend, encoder = check_writable(config)
    entries = sizes["num_codebooks"] * sizes["num_codebook_entries"]
    return {
        "quantizer.entries": (1, entries, sizes["quantized_dim"] // sizes["num_codebooks"]),
        "quantizer.entry_proj.weight": (entries, frontend.channels[-1]),
        "quantizer.entry_proj.bias": (entries,),
        "final_proj.weight": (sizes["final_dim"], encoder.dim),
        "final_proj.bias": (sizes["final_dim"],),
        "final_target_proj.weight": (sizes["final_dim"], sizes["quantized_dim"]),
        "final_target_proj.bias": (sizes["final_dim"],),
    }
