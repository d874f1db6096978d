"""fairseq2's asset card of a wav2vec 2.0 model (``model.yaml``) and our `ModelConfig`, both ways.

Sizes are read from the shapes of the weights; the card adds heads, strides and dropouts, which no shape contains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.interop.settings import FAIRSEQ_EPSILON, ModelSettings, heads_of, preparation_of
from audio_ssl.interop.weight_names import fairseq2_name, fairseq_name
from audio_ssl.interop.weights import TransformerSizes, encoder_sizes, frontend_sizes
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig

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
"""Options of our transformer that fairseq2 has as well, or that have no effect in a trained model with convolutional
positions."""
_CONFIG_KEYS = ("model_config", "model_config_overrides", "model_config_override")
OUR_KEY = "audio_ssl"
"""Key of the card with what fairseq2 has no field for."""
_CARD_IS_MISSING = "put fairseq2's model.yaml beside the weights"


@dataclass(frozen=True)
class FileLayout:
    """By which names a file holds its weights."""

    group_norm: bool
    """Whether the frontend has one norm, over time."""
    pre_norm: bool
    fairseq: bool = False
    """Whether the names are fairseq's."""

    def name(self, common: str) -> str:
        """Return the file's name of a weight."""
        if self.fairseq:
            return fairseq_name(common, self.group_norm)
        return fairseq2_name(common, self.group_norm, self.pre_norm)


def is_named_by_fairseq(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights have fairseq's names."""
    return "mask_emb" in state


def layout_of(state: Mapping[str, Tensor]) -> FileLayout:
    """Return by which names weights are held."""
    if is_named_by_fairseq(state):
        # The encoder's norm has one name before the blocks (base) and after them (large, where every convolution has
        # a norm).
        group_norm = "feature_extractor.conv_layers.1.2.1.weight" not in state
        return FileLayout(group_norm, not group_norm, fairseq=True)
    one_norm = FileLayout(group_norm=True, pre_norm=True)
    group_norm = one_norm.name("feature_extractor.conv_layers.0.layer_norm.weight") in state
    return FileLayout(group_norm, one_norm.name("encoder.layer_norm.weight") in state)


def model_config(
    state: Mapping[str, Tensor], layout: FileLayout, card: Mapping[str, Any], given: ModelSettings, where: Path
) -> ModelConfig:
    """Return the config of a model with these weights.

    Parameters
    ----------
    state
        The weights.
    layout
        By which names they are held.
    card
        ``model.yaml``, or nothing; its section `OUR_KEY` says rate and normalisation, which fairseq2 has no field for.
    given
        What the caller says.
    where
        The file, for errors.

    Raises
    ------
    UserError
        If the weights are not those of a wav2vec 2.0 with a transformer, have an unsupported layout, or a setting is
        missing.
    """
    encoder, ours = _encoder_section(card), card.get(OUR_KEY, {})
    described = encoder.get("feature_extractor_layer_descs")
    strides = None if described is None else [int(layer[2]) for layer in described]
    frontend = frontend_sizes(state, layout.name, strides, layout.group_norm, where, _CARD_IS_MISSING)
    sizes = encoder_sizes(state, layout.name, where)
    _check_norms(state, layout)
    if sizes.position_layers > 1 and sizes.position_kernel_frames % 2 == 0:
        raise UserError(
            "fairseq2 pads stacked positional convolutions with an even kernel in another way: they cannot be read"
        )
    heads = heads_of(given, encoder.get("num_encoder_attn_heads"), sizes.dim, where)
    transform = _encoder(sizes, heads, layout.pre_norm, encoder)
    source = f"the section `{OUR_KEY}` of model.yaml"
    ours = ours if isinstance(ours, Mapping) else {}
    found = ModelSettings(ours.get("normalize"), ours.get("sample_rate"))
    prepared = preparation_of(given, found, source, where)
    epsilon = float(ours.get("normalize_epsilon", FAIRSEQ_EPSILON))
    return ModelConfig(frontend, transform, prepared.sample_rate, prepared.normalize, epsilon)


def training_section(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a card says of the training of the model, its encoder included; {} if it says nothing."""
    sections = (card.get(key) for key in _CONFIG_KEYS)
    return next((section for section in sections if isinstance(section, Mapping)), {})


def _encoder_section(card: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = training_section(card).get("encoder_config", {})
    return inner if isinstance(inner, Mapping) else {}


def _encoder(sizes: TransformerSizes, heads: int, pre_norm: bool, encoder: Mapping[str, Any]) -> transformer.Config:
    default = transformer.Config()
    dropouts: dict[str, Any] = {
        ours: float(encoder.get(theirs, getattr(default, ours))) for ours, theirs in _DROPOUTS.items()
    }
    return transformer.Config(**sizes._asdict(), heads=heads, pre_norm=pre_norm, **dropouts)


def _check_norms(state: Mapping[str, Tensor], layout: FileLayout) -> None:
    at_start, at_end = (
        replace(layout, pre_norm=pre_norm).name("encoder.layer_norm.weight") in state for pre_norm in (False, True)
    )
    if at_end == at_start and not layout.fairseq:
        raise UserError(
            f"an encoder has one layer norm of its own, at its start (post-LN) or its end (pre-LN), but this has "
            f"{'both' if at_end else 'none'}"
        )


def check_writable(config: ModelConfig) -> tuple[conv.Config, transformer.Config]:
    """Return frontend and encoder of a model that fairseq2 can hold.

    Raises
    ------
    UserError
        If it has parts that fairseq2's wav2vec 2.0 lacks.
    """
    frontend, encoder = config.frontend, config.encoder
    if not isinstance(frontend, conv.Config) or not isinstance(encoder, transformer.Config):
        raise UserError(
            "only models with the `conv` frontend and the `transformer` encoder can be written for fairseq2"
        )
    default = transformer.Config()
    # New options are refused until they are on this list.
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
        raise UserError(f"fairseq2's wav2vec 2.0 does not support these settings of the model: {', '.join(names)}")
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
    """Return the shapes of the weights of quantiser and projections, which `SSLModel` lacks."""
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
