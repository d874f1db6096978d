"""Checkpoints of the package spidr: SpidR and its DinoSR, by the names of its code, which is never run.

SpidR (Poli et al. 2025, arXiv 2512.20308); DinoSR (Liu et al. 2023, arXiv 2305.10005), whose own checkpoints are
fairseq's and read as such. Both are a student, which is the model; a teacher, which is its running average; linear
heads; and online codebooks. A file holds weights alone. Settings lie in ``config.json`` beside it, if anywhere; without
it they are the package's own defaults, by which it opens such a file, too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.interop.find_heads import FoundHeads, HeadSizes, HeadTable, linear_codes, online_codebooks
from audio_ssl.interop.heads import CodeHead, FollowedAverage, Pretrained
from audio_ssl.interop.settings import (
    FAIRSEQ_EPSILON,
    ModelSettings,
    heads_of,
    invalid_settings,
    preparation_of,
)
from audio_ssl.interop.weight_names import common_name
from audio_ssl.interop.weights import build_from, encoder_sizes, frontend_sizes, not_taken
from audio_ssl.models.encoders import transformer
from audio_ssl.models.model import ModelConfig, SSLModel
from audio_ssl.models.weights import CONFIG_FILE

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Of all audio in the package."""
_STUDENT, _TEACHER = "student.", "teacher."
_HEADS = ("heads.", "codebooks.", _TEACHER, "current_step")
_NAMES = (
    (r"^masked_spec_embed$", "mask_embedding"),
    (r"^encoder\.pos_conv_embed\.layers\.(\d+)\.conv\.", rf"{_STUDENT}pos_conv_embed.convs.\1."),
    (r"\.attention\.out_proj\.", ".attention.proj."),
    (r"^encoder\.", _STUDENT),
)
_FUSED = ".attention.qkv."
_SPLIT = ("q_proj", "k_proj", "v_proj")
_DROPOUTS = {
    "dropout": ("encoder_dropout", 0.1),
    "attention_dropout": ("encoder_attention_dropout", 0.1),
    "activation_dropout": ("encoder_ff_interm_dropout", 0.0),
    "input_dropout": ("encoder_projection_dropout", 0.0),
}
_LAYER_DROP = {True: 0.0, False: 0.05}
"""Of SpidR and of DinoSR."""


def is_spidr(state: Mapping[str, object]) -> bool:
    """Return whether a table of weights has the package's names."""
    return "mask_embedding" in state and any(name.startswith(f"{_STUDENT}layers.") for name in state)


def read_spidr_weights(
    state: Mapping[str, Tensor], path: Path, given: ModelSettings, heads: bool = False
) -> Pretrained:
    """Make a model of a checkpoint's weights.

    Parameters
    ----------
    state
        The weights.
    path
        The file; ``config.json`` may lie beside it.
    given
        What the caller says, instead of the settings there: whether clips are standardised (the package: yes), rate
        (16,000 Hz) and attention heads.
    heads
        Whether to take heads, codebooks and average; the log names what is left out.

    Raises
    ------
    UserError
        If a weight is missing, unexpected or misshapen, or a setting is not supported.
    """
    with invalid_settings(path):
        found = _settings(path)
        own = _last_norm_is_untouched(state, found) if found.layer_by_layer is None else found.layer_by_layer
        table = _taken_apart(state)
        config = _config_of(found, own, table, given, path)
    assert isinstance(config.encoder, transformer.Config)
    # The package's queries, keys and values need not have biases.
    zeros = {
        f"encoder.blocks.{layer}.{part}.bias": torch.zeros(config.encoder.dim)
        for layer in range(config.encoder.layers)
        for part in ("query", "key", "value")
    }
    model = build_from(
        config,
        table,
        lambda ours: spidr_name(common_name(ours)),
        heads=_HEADS,
        defaults=zeros,
        where=path,
        say=not heads,
    )
    if not heads:
        return Pretrained(model)
    sizes = HeadSizes(config.encoder.dim, model.frontend.dim)
    return _heads(HeadTable(table, "", sizes, path), own, table, model).with_model(model, not_taken(table, _HEADS[:3]))


@dataclass(frozen=True)
class _Settings:
    """What ``config.json`` says."""

    model: Mapping[str, Any]
    normalize: bool = True
    layer_by_layer: bool | None = None
    """Whether it is SpidR; None: it does not say."""


def _settings(path: Path) -> _Settings:
    beside = path.parent / CONFIG_FILE
    data = read_object(beside) if beside.is_file() else {}
    model = data.get("model", data)
    if not isinstance(model, Mapping) or not any(str(key).startswith("encoder_") for key in model):
        if data:
            logger.info("%s: %s beside it is not the package's; using the defaults of spidr", path, CONFIG_FILE)
        else:
            logger.info("%s: there is no %s beside it; using the defaults of spidr", path, CONFIG_FILE)
        return _Settings({})
    normalize = data.get("data", {}).get("normalize", True)
    kind = data.get("run", {}).get("model_type")
    if kind is None and any(key in model for key in ("ema_timescale", "ema_threshold")):
        kind = "spidr"
    return _Settings(model, normalize, None if kind is None else kind == "spidr")


def _pre_norm(found: _Settings) -> bool:
    return bool(found.model.get("encoder_layer_norm_first", False))


def _last_norm_is_untouched(state: Mapping[str, Tensor], found: _Settings) -> bool:
    """Return whether it is SpidR, whose loss leaves the student's last norm as it was made: DinoSR trains it."""
    layers = [int(number[1]) for name in state if (number := re.match(rf"{_STUDENT}layers\.(\d+)\.", name))]
    norm = f"{_STUDENT}layer_norm" if _pre_norm(found) else f"{_STUDENT}layers.{max(layers)}.final_layer_norm"
    weight, bias = state.get(f"{norm}.weight"), state.get(f"{norm}.bias")
    return weight is not None and bias is not None and bool((weight == 1).all() and (bias == 0).all())


def _config_of(
    found: _Settings, layer_by_layer: bool, table: Mapping[str, Tensor], given: ModelSettings, path: Path
) -> ModelConfig:
    prepared = preparation_of(given, ModelSettings(found.normalize, SAMPLE_RATE), "the package spidr", path)
    model = found.model
    described = model.get("extractor_conv_layer_config")
    strides = None if described is None else [int(layer[2]) for layer in described]
    group_norm = spidr_name("feature_extractor.conv_layers.1.layer_norm.weight") not in table
    remedy = f"put the package's {CONFIG_FILE} beside the file"
    frontend = frontend_sizes(table, spidr_name, strides, group_norm, path, remedy)
    sizes = encoder_sizes(table, spidr_name, path)
    if sizes.position_layers == 1:
        raise UserError("`encoder_pos_conv_depth` must be above 1 to be read, but is 1", where=str(path))
    dropouts: dict[str, Any] = {ours: float(model.get(name, default)) for ours, (name, default) in _DROPOUTS.items()}
    encoder = transformer.Config(
        **sizes._asdict(),
        heads=heads_of(given, model.get("encoder_num_heads"), sizes.dim, path),
        pre_norm=_pre_norm(found),
        layer_drop=float(model.get("encoder_layer_drop", _LAYER_DROP[layer_by_layer])),
        **dropouts,
    )
    return ModelConfig(frontend, encoder, prepared.sample_rate, prepared.normalize, FAIRSEQ_EPSILON)


def _taken_apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with query, key and value as three each."""
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        before, fused, leaf = name.partition(_FUSED)
        if not fused or len(value) % 3:
            result[name] = value
            continue
        # Clones, so that no weights of a model share memory.
        parts = zip(_SPLIT, value.chunk(3), strict=True)
        result |= {f"{before}.attention.{part}.{leaf}": piece.clone() for part, piece in parts}
    return result


def spidr_name(common: str) -> str:
    """Return the package's name of a weight of the student, where query, key and value have been taken apart.

    Examples
    --------
    >>> spidr_name("encoder.layers.0.attention.out_proj.weight")
    'student.layers.0.attention.proj.weight'
    >>> spidr_name("encoder.pos_conv_embed.layers.4.conv.bias")
    'student.pos_conv_embed.convs.4.bias'
    """
    for pattern, replacement in _NAMES:
        common = re.sub(pattern, replacement, common)
    return common


def _heads(table: HeadTable, layer_by_layer: bool, state: Mapping[str, Tensor], model: SSLModel) -> FoundHeads:
    number = len([name for name in table.under("heads.") if name.endswith(".0.weight")])
    layers = linear_codes(table, "heads.{}.0", number)
    if layer_by_layer:
        codes = tuple(
            CodeHead(head, None, layer=index - number, point="feed_forward") for index, head in enumerate(layers)
        )
    else:
        codes = tuple(CodeHead(head, None) for head in layers)
    books = online_codebooks(table, "codebooks.{}.codebook", "codebooks.{}.counts", number)
    names = {ours: spidr_name(common_name(ours)) for ours in model.state_dict()}
    teachers = {ours: re.sub(f"^{re.escape(_STUDENT)}", _TEACHER, name) for ours, name in names.items()}
    held = {ours: name for ours, name in teachers.items() if name.startswith(_TEACHER) and name in state}
    average = FollowedAverage({ours: state[name].detach().float().clone() for ours, name in held.items()}, *books)
    taken = frozenset(table.taken | set(held.values()))
    return FoundHeads(codes=codes if number else (), average=average, taken=taken)
