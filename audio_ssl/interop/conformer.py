"""transformers' Wav2Vec2-Conformer in ours: wav2vec 2.0 with a Conformer and rotary positions, large.

Published with and without its pretraining (``facebook/wav2vec2-conformer-rope-large``). Those with relative positions
(``rel-pos``) are refused: their sinusoids tell past from future, which no encoder here does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_ssl.base.config import structure
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError, shown
from audio_ssl.interop.find_heads import HeadSizes, HeadTable
from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.muq import muq_name, named_as_linear
from audio_ssl.interop.settings import ModelSettings, Preparation, invalid_settings, preparation_of
from audio_ssl.interop.transformers import HEADS, frontend_section, preparation, pretraining_heads
from audio_ssl.interop.weight_names import common_name
from audio_ssl.interop.weights import build_from, no_mask, not_taken, read_folder
from audio_ssl.models.encoders import conformer
from audio_ssl.models.model import ModelConfig
from audio_ssl.models.weights import CONFIG_FILE

MODEL_TYPE = "wav2vec2-conformer"
_PREFIX = "wav2vec2_conformer."
_UNUSED = ("encoder.pos_conv_embed.", "encoder.embed_positions.")
"""Prefixes of the names of weights that the forward pass does not reach, and of constants."""
_ONLY: dict[str, object] = {
    "position_embeddings_type": "rotary",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
}
"""Keys for which our encoder supports one value alone."""
_DEFAULTS: dict[str, object] = {"position_embeddings_type": "relative"}
"""transformers' own value, where a file leaves it out."""
_ENCODER: dict[str, tuple[str, object]] = {
    "layers": ("num_hidden_layers", 12),
    "dim": ("hidden_size", 768),
    "ffn_dim": ("intermediate_size", 3072),
    "heads": ("num_attention_heads", 12),
    "activation": ("hidden_act", "gelu"),
    "kernel_frames": ("conv_depthwise_kernel_size", 31),
    "dropout": ("hidden_dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.1),
    "input_dropout": ("feat_proj_dropout", 0.0),
    "layer_drop": ("layerdrop", 0.1),
    "rope_base": ("rotary_embedding_base", 10000),
}


def is_conformer(folder: Path) -> bool:
    """Return whether a folder of transformers is a Wav2Vec2-Conformer."""
    return read_object(folder / CONFIG_FILE).get("model_type") == MODEL_TYPE


def read_conformer(folder: Path, given: ModelSettings, heads: bool = False) -> Pretrained:
    """Read a folder; parameters and errors as of `audio_ssl.interop.transformers.read_transformers`."""
    where = folder / CONFIG_FILE
    data, state = read_object(where), named_as_linear(read_folder(folder))
    prepared = preparation_of(given, *preparation(folder), folder)
    with invalid_settings(where):
        config = conformer_config(data, prepared, where)
    assert isinstance(config.encoder, conformer.Config)
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in state) else ""
    state = {name: value for name, value in state.items() if not name.removeprefix(prefix).startswith(_UNUSED)}
    mask = no_mask(config.encoder.dim)
    model = build_from(
        config,
        state,
        lambda ours: prefix + conformer_name(ours),
        heads=HEADS,
        defaults=mask,
        where=folder,
        say=not heads,
    )
    if not heads:
        return Pretrained(model)
    with invalid_settings(where):
        table = HeadTable(state, "", HeadSizes(config.encoder.dim, model.frontend.dim), folder)
        return pretraining_heads(table, data).with_model(model, not_taken(state, HEADS))


def conformer_config(data: Mapping[str, Any], prepared: Preparation, where: Path) -> ModelConfig:
    """Return our config of a Wav2Vec2-Conformer's ``config.json``; UserError for a value that is not supported."""
    for key, known in _ONLY.items():
        found = data.get(key, _DEFAULTS.get(key, known))
        if found != known:
            raise UserError(f"`{key}` must be {shown(known)} to be read, but is {shown(found)}", where=str(where))
    encoder = {ours: data.get(theirs, default) for ours, (theirs, default) in _ENCODER.items()}
    settings = {
        "frontend": frontend_section(data),
        "encoder": {"kind": "conformer", "form": "wav2vec2", **encoder},
        **prepared._asdict(),
    }
    return structure(ModelConfig, settings, where=str(where))


def conformer_name(ours: str) -> str:
    """Return transformers' name of a weight of ours.

    Examples
    --------
    >>> conformer_name("encoder.blocks.3.second.inner.weight")
    'encoder.layers.3.ffn2.intermediate_dense.weight'
    >>> conformer_name("encoder.last_norm.bias"), conformer_name("encoder.projection.bias")
    ('encoder.layer_norm.bias', 'feature_projection.projection.bias')
    """
    if ours.startswith(("encoder.blocks.", "encoder.last_norm.")):
        return muq_name(ours).replace("conformer.", "encoder.", 1)
    return common_name(ours)
