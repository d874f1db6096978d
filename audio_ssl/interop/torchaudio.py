"""Models of torchaudio in ours: its bundles by name, and files of ``Wav2Vec2Model.state_dict()``.

wav2vec 2.0, HuBERT and WavLM, base, large and x-large, with or without the head (``aux``) of the recognisers. A bundle
has its sample rate and normalisation, and torchaudio downloads it. A file of weights has neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.base.catalog import install_hint
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.interop.find_heads import CodeNames, FoundHeads, HeadSizes, HeadTable, LabelSets, code_heads
from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.settings import FAIRSEQ_EPSILON, ModelSettings, Preparation, heads_of, preparation_of
from audio_ssl.interop.weight_names import common_name, torchaudio_name
from audio_ssl.interop.weights import (
    MASK,
    build_from,
    encoder_sizes,
    frontend_sizes,
    no_mask,
    not_taken,
    relative_positions,
)
from audio_ssl.models.attention import Relative
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, SSLModel

PREFIX = "torchaudio:"
_PRETRAINING = "logit_generator."
_HEADS = ("aux.", _PRETRAINING)
_CODES = CodeNames("final_proj", "label_embeddings")
"""Of the model for pretraining, whose labels have no special symbols before them."""
_WRAPPERS = ("model.", "wav2vec2.")
"""Prefixes of names where the model is part of one with normalisation, or of the model for pretraining."""
_MASK = "mask_generator.mask_embedding"
_FUSED = ".attention.attention."
_SPLIT = ("q_proj", "k_proj", "v_proj")
_DROPOUTS = {
    "dropout": "encoder_dropout",
    "attention_dropout": "encoder_attention_dropout",
    "activation_dropout": "encoder_ff_interm_dropout",
    "input_dropout": "encoder_projection_dropout",
    "layer_drop": "encoder_layer_drop",
}


def is_torchaudio(state: Mapping[str, object]) -> bool:
    """Return whether a table of weights has torchaudio's names."""
    return any(_unwrapped(name).startswith("encoder.transformer.") for name in state)


def read_bundle(name: str, given: ModelSettings) -> SSLModel:
    """Read a bundle of torchaudio; torchaudio downloads it if it is not in the cache.

    Parameters
    ----------
    name
        ``torchaudio:HUBERT_BASE`` and the like.
    given
        What the caller says, instead of what the bundle says.

    Raises
    ------
    UserError
        If there is no such bundle, torchaudio is not installed, or the download fails.
    """
    bundle = _bundle(name)
    found = ModelSettings(bool(bundle._normalize_waveform), int(bundle.sample_rate))
    prepared = preparation_of(given, found, "the bundle", name)
    try:
        model = bundle.get_model()
    except (OSError, HTTPException) as error:
        raise UserError(
            f"torchaudio could not download the weights: {error}",
            where=name,
            remedy="run this once with a connection; they stay in the cache of torch.hub",
        ) from error
    # Bundles that standardise waveforms wrap the model.
    state = _taken_apart(getattr(model, "model", model).state_dict())
    return _fill(_config_of(bundle._params, prepared), state, name)


def read_torchaudio_weights(
    state: Mapping[str, Tensor], where: Path | str, given: ModelSettings, heads: bool = False
) -> Pretrained:
    """Make a model of ``Wav2Vec2Model.state_dict()``; sizes are read from the weights.

    Parameters
    ----------
    state
        The weights.
    where
        The file, for errors.
    given
        What the caller says: normalisation and sample rate, which the weights do not tell, and the number of heads.
        WavLM's weights tell it; for others, None stands for that of the published models of this width.
    heads
        Whether to take the head of a model for pretraining; the log names what is left out.

    Raises
    ------
    UserError
        If a setting is missing, or the weights do not fit together.
    """
    prepared = preparation_of(given, ModelSettings(), "a file of torchaudio", where)
    state = _taken_apart({_unwrapped(name): value for name, value in state.items()})
    group_norm = "feature_extractor.conv_layers.1.layer_norm.weight" not in state
    sizes = encoder_sizes(state, torchaudio_name, where)
    gate = state.get("encoder.transformer.layers.0.attention.gru_rel_pos_const")
    said = None if gate is None else gate.numel()
    encoder = transformer.Config(
        **sizes._asdict(),
        heads=heads_of(given, said, sizes.dim, where),
        # In the published models a group norm and post-LN go together; nothing else in the weights shows post-LN.
        pre_norm=not group_norm,
        relative_positions=relative_positions(state, torchaudio_name, None, where),
    )
    frontend = frontend_sizes(state, torchaudio_name, None, group_norm, where)
    config = ModelConfig(frontend, encoder, prepared.sample_rate, prepared.normalize, FAIRSEQ_EPSILON)
    model = _fill(config, state, where, say=not heads)
    if not heads:
        return Pretrained(model)
    table = HeadTable(state, _PRETRAINING, HeadSizes(encoder.dim, frontend.channels[-1]), where)
    found = FoundHeads(codes=code_heads(table, _CODES, 0.1, LabelSets(number=1))) if table.under("") else FoundHeads()
    return replace(found, taken=frozenset(table.taken)).with_model(model, not_taken(state, _HEADS))


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return "masked_spec_embed" if name == _MASK else name


def _bundle(name: str) -> Any:
    try:
        from torchaudio import pipelines
    except ImportError as error:
        raise UserError("torchaudio is not installed", where=name, remedy=install_hint("torchaudio")) from error
    bundles = {key for key in dir(pipelines) if isinstance(getattr(pipelines, key), pipelines.Wav2Vec2Bundle)}
    wanted = name.removeprefix(PREFIX)
    if wanted not in bundles:
        raise unknown_name("bundle of torchaudio", wanted, bundles)
    return getattr(pipelines, wanted)


def _config_of(params: Mapping[str, Any], prepared: Preparation) -> ModelConfig:
    """Return the config of what torchaudio's factories make of these arguments."""
    channels, kernels, strides = zip(*params["extractor_conv_layer_config"], strict=True)
    norm = "group" if params["extractor_mode"] == "group_norm" else "layer"
    wavlm = "encoder_num_buckets" in params
    relative = Relative(params["encoder_num_buckets"], params["encoder_max_distance"]) if wavlm else None
    encoder = transformer.Config(
        layers=params["encoder_num_layers"],
        dim=params["encoder_embed_dim"],
        ffn_dim=params["encoder_ff_interm_features"],
        heads=params["encoder_num_heads"],
        pre_norm=params["encoder_layer_norm_first"],
        position_kernel_frames=params["encoder_pos_conv_kernel"],
        position_groups=params["encoder_pos_conv_groups"],
        relative_positions=relative,
        **{ours: params[theirs] for ours, theirs in _DROPOUTS.items()},
    )
    frontend = conv.Config(channels, kernels, strides, norm, params["extractor_conv_bias"])
    return ModelConfig(frontend, encoder, prepared.sample_rate, prepared.normalize, FAIRSEQ_EPSILON)


def _taken_apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with WavLM's fused query, key and value as three weights."""
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        if f"{_FUSED}in_proj_" in name:
            before, _, leaf = name.partition(f"{_FUSED}in_proj_")
            # Clones, so that no weights of a model share memory.
            parts = [part.clone() for part in value.chunk(3)] if len(value) % 3 == 0 else []
            result |= {f"{before}.attention.{part}.{leaf}": piece for part, piece in zip(_SPLIT, parts, strict=False)}
        else:
            result[name.replace(f"{_FUSED}out_proj.", ".attention.out_proj.")] = value
    return result


def _fill(config: ModelConfig, state: Mapping[str, Tensor], where: Path | str, say: bool = True) -> SSLModel:
    def name(ours: str) -> str:
        return torchaudio_name(common_name(ours))

    assert isinstance(config.encoder, transformer.Config)
    # torchaudio keeps the mask embedding with its pretraining model.
    mask = no_mask(config.encoder.dim) if name(MASK) not in state else {}
    return build_from(config, state, name, heads=_HEADS, defaults=mask, where=where, say=say)
