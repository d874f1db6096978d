"""Models of transformers in ours, and our weights under transformers' names; transformers itself is not needed.

HuBERT, wav2vec 2.0, WavLM, data2vec audio and MERT, base and large, with or without a head, and both namings of weight
norm (``weight_g`` before torch 2.1's parametrisations, ``parametrizations.weight.original0`` after).

transformers' ``config.json`` of HuBERT, wav2vec 2.0, WavLM, data2vec audio and MERT, and our `ModelConfig`.

MERT's classes are not part of transformers but code in its repositories, which is never run. Without the CQT input,
which is not supported, MERT v1 is HuBERT with the options `deepnorm` and `attention_relax`.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.base.config import structure, unstructure
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.interop.find_heads import (
    TRANSFORMERS_CONTRAST,
    FoundHeads,
    HeadSizes,
    HeadTable,
    contrastive_head,
    named_parts,
)
from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.settings import ModelSettings, Preparation, invalid_settings, preparation_of
from audio_ssl.interop.weight_names import common_name
from audio_ssl.interop.weights import MASK, build_from, has_weights, no_mask, not_taken, read_folder
from audio_ssl.models.attention import Relative
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, SSLModel
from audio_ssl.models.weights import CONFIG_FILE

logger = logging.getLogger(__name__)

PREPROCESSOR_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,12})")
"""Names of the checkpoint folders of transformers' Trainer."""
HEADS = (
    *("lm_head.", "quantizer.", "project_q.", "project_hid.", "classifier.", "projector."),
    *("layer_weights", "tdnn.", "feature_extractor.weight", "feature_extractor.bias", "objective."),
)
"""Prefixes of the names of all heads in transformers: CTC, pretraining, classification, x-vectors."""


def read_transformers(folder: str | Path, given: ModelSettings, heads: bool = False) -> Pretrained:
    """Read a folder of transformers.

    Parameters
    ----------
    folder
        With config.json, weights, and preprocessor_config.json or processor_config.json, which say how waveforms are
        prepared.
    given
        What the caller says, instead of what these say.
    heads
        Whether to take the heads of pretraining; the log names what is left out.

    Raises
    ------
    UserError
        If the model is of an unsupported kind, a weight is missing, unexpected or misshapen, or normalisation or sample
        rate are unknown.
    """
    folder = Path(folder)
    data, state = read_object(folder / CONFIG_FILE), read_folder(folder)
    prepared = preparation_of(given, *preparation(folder), folder)
    with invalid_settings(folder / CONFIG_FILE):
        config, masked = config_of(data, prepared, folder / CONFIG_FILE), has_mask(data)
        assert isinstance(config.encoder, transformer.Config)
        defaults = no_mask(config.encoder.dim)
    base = f"{MODEL_TYPES[data['model_type']]}."
    prefix = base if any(name.startswith(base) for name in state) else ""

    def name(ours: str) -> str:
        return prefix + common_name(ours)

    if masked and name(MASK) not in state:
        # Some published models, such as facebook/wav2vec2-base-960h, lack it; only masked training needs it.
        logger.warning("%s: the mask embedding is missing and set to zero; inference does not use it", folder)
    model = build_from(config, state, name, heads=HEADS, defaults=defaults, where=folder, say=not heads)
    if not heads:
        return Pretrained(model)
    with invalid_settings(folder / CONFIG_FILE):
        table = HeadTable(state, "", HeadSizes(config.encoder.dim, model.frontend.dim), folder)
        return pretraining_heads(table, data).with_model(model, not_taken(state, HEADS))


def pretraining_heads(table: HeadTable, data: Mapping[str, Any]) -> FoundHeads:
    """Return the heads of a model with this ``config.json``: of `Wav2Vec2ForPreTraining` and its like alone."""
    if TRANSFORMERS_CONTRAST.vectors not in table:
        return FoundHeads()
    if table.under("lm_head.", "classifier.", "projector."):
        there = named_parts(table.under("quantizer.", "project_q.", "project_hid."))
        why = f"{there}: the encoder was fine-tuned since, so that they no longer fit its hidden states"
        return FoundHeads(left_out=(why,))
    temperature, negatives = data.get("contrastive_logits_temperature", 0.1), data.get("num_negatives", 100)
    head = contrastive_head(table, TRANSFORMERS_CONTRAST, float(temperature), int(negatives))
    return FoundHeads(contrastive=head, taken=frozenset(table.taken))


def preparation(folder: Path) -> tuple[ModelSettings, str]:
    """Return normalisation and sample rate as far as transformers' files say them, and the name of the file.

    They are in preprocessor_config.json, or under ``feature_extractor`` in processor_config.json (transformers 5, and
    processors of 4). Of a checkpoint of the Trainer they may be in the folder above it.
    """
    places = [folder, folder.parent] if _CHECKPOINT.fullmatch(folder.absolute().name) else [folder]
    names = {"normalize": "do_normalize", "sample_rate": "sampling_rate"}
    for path in (place / name for place in places for name in (PREPROCESSOR_FILE, PROCESSOR_FILE)):
        data = read_object(path) if path.is_file() else {}
        nested = data.get("feature_extractor")
        data = dict(nested) if isinstance(nested, Mapping) else data
        found = {ours: data[theirs] for ours, theirs in names.items() if theirs in data}
        if found:
            return ModelSettings(**found), path.name
    return ModelSettings(), PREPROCESSOR_FILE


def trainer_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in an output folder of the Trainer; None: the folder is something else.

    A folder with a model of its own, which the Trainer saves on request at the end, is that model.
    """
    steps = {int(found[1]): path for path in folder.glob("checkpoint-*") if (found := _CHECKPOINT.fullmatch(path.name))}
    if not steps or has_weights(folder):
        return None
    whole = (step for step in sorted(steps, reverse=True) if has_weights(steps[step]))
    return next((steps[step] for step in whole if (steps[step] / CONFIG_FILE).is_file()), None)


def to_transformers_weights(model: SSLModel) -> dict[str, Tensor]:
    """Return our weights under transformers' names.

    Raises
    ------
    UserError
        If transformers has no such weight.
    """
    try:
        return {common_name(name): value for name, value in model.state_dict().items()}
    except (KeyError, IndexError) as error:
        raise UserError("transformers has no such model") from error


MODEL_TYPES = {
    "hubert": "hubert",
    "wav2vec2": "wav2vec2",
    "wavlm": "wavlm",
    "data2vec-audio": "data2vec_audio",
    "mert_model": "mert_model",
}
"""Model type to the prefix of the encoder's weights in a model with a head."""
OUR_KEY = "audio_ssl"
"""Key of config.json for settings that transformers lacks."""

_ENCODER = {
    "layers": ("num_hidden_layers", 12),
    "dim": ("hidden_size", 768),
    "ffn_dim": ("intermediate_size", 3072),
    "heads": ("num_attention_heads", 12),
    "dropout": ("hidden_dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.1),
    "input_dropout": ("feat_proj_dropout", 0.0),
    "layer_drop": ("layerdrop", 0.1),
    "position_groups": ("num_conv_pos_embedding_groups", 16),
}
"""Our options, and transformers' keys and defaults."""
_FRONTEND: dict[str, tuple[str, Any]] = {
    "channels": ("conv_dim", (512,) * 7),
    "kernels": ("conv_kernel", (10, 3, 3, 3, 3, 2, 2)),
    "strides": ("conv_stride", (5, 2, 2, 2, 2, 2, 2)),
}
_ONLY: dict[str, object] = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "conv_pos_batch_norm": False,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "feature_extractor_cqt": False,
}
"""Keys for which our encoder supports the default value alone."""
_FEATURE_NORM = "feat_proj_layer_norm"
_MAY_LACK_IT = ("hubert", "mert_model")
"""Types that may lack the norm of the features; others have it whatever their config says."""


def config_of(data: Mapping[str, Any], prepared: Preparation, where: Path | str) -> ModelConfig:
    """Return our config of a transformers model.

    Parameters
    ----------
    data
        ``config.json``.
    prepared
        How waveforms are prepared, which another file says.
    where
        The file, for errors.

    Raises
    ------
    UserError
        If the model is of another type, or our encoder does not support the value of a key; the text names the key.
    """
    kind = data.get("model_type")
    if kind not in MODEL_TYPES:
        raise UserError(
            f"`model_type` must be one of {', '.join(MODEL_TYPES)}, but is {kind!r}: other models are not supported",
            where=str(where),
        )
    only = _ONLY if kind in _MAY_LACK_IT else {**_ONLY, _FEATURE_NORM: True}
    for key, value in only.items():
        if data.get(key, value) != value:
            raise UserError(f"`{key}` must be {value!r} to be read, but is {data[key]!r}", where=str(where))
    stacked = kind == "data2vec-audio"
    norm = "layer" if stacked else data.get("feat_extract_norm", "group")
    if stacked and data.get("num_conv_pos_embeddings", 5) == 1:
        raise UserError("`num_conv_pos_embeddings` must be above 1 to be read, but is 1", where=str(where))
    kernel = data.get("conv_pos_kernel_size", 19) if stacked else data.get("num_conv_pos_embeddings", 128)
    encoder = {
        **{ours: data.get(key, default) for ours, (key, default) in _ENCODER.items()},
        "pre_norm": bool(not stacked and data.get("do_stable_layer_norm", False)),
        "position_kernel_frames": kernel,
        "position_layers": data.get("num_conv_pos_embeddings", 5) if stacked else 1,
        "feature_norm": data.get(_FEATURE_NORM, True),
    }
    if kind == "wavlm":
        distances = (data.get("num_buckets", 320), data.get("max_bucket_distance", 800))
        encoder["relative_positions"] = {"buckets": distances[0], "max_distance": distances[1]}
    if kind == "mert_model":
        relax = data.get("attention_relax", -1)
        encoder |= {"deepnorm": data.get("deepnorm", False), "attention_relax": relax if relax > 0 else None}
    ours = data.get(OUR_KEY, {})
    model = {
        "frontend": {**frontend_section(data), "norm": norm},
        "encoder": {"kind": "transformer", **encoder, **ours.get("encoder", {})},
        **{key: value for key, value in ours.items() if key != "encoder"},
        **prepared._asdict(),
    }
    return structure(ModelConfig, _lists(model), where=str(where))


def frontend_section(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return our settings of the convolutions of a model with this ``config.json``, as a recipe has them."""
    sizes = {ours: data.get(key, default) for ours, (key, default) in _FRONTEND.items()}
    norm, bias = data.get("feat_extract_norm", "group"), data.get("conv_bias", False)
    return {"kind": "conv", **{key: _lists(value) for key, value in sizes.items()}, "norm": norm, "bias": bias}


def has_mask(data: Mapping[str, Any]) -> bool:
    """Return whether transformers gives the model a mask embedding."""
    return bool(data.get("mask_time_prob", 0.05) > 0 or data.get("mask_feature_prob", 0.0) > 0)


def model_type_of(config: ModelConfig) -> str | None:
    """Return the type of transformers that computes the same as a model of ours; None if there is none."""
    frontend, encoder = config.frontend, config.encoder
    if not isinstance(frontend, conv.Config) or not isinstance(encoder, transformer.Config):
        return None
    if encoder.positions != "conv" or encoder.deepnorm or encoder.alibi or frontend.activation != "gelu":
        return None
    if encoder.position_layers == 1 and encoder.relative_positions is None:
        return "hubert"
    if not encoder.feature_norm:
        return None
    if encoder.position_layers == 1:
        return "wavlm"
    fits = frontend.norm == "layer" and not encoder.pre_norm and encoder.relative_positions is None
    return "data2vec-audio" if fits else None


def config_json(config: ModelConfig, kind: str) -> dict[str, Any]:
    """Return ``config.json`` of a model of this type, our own section included."""
    frontend, encoder = config.frontend, config.encoder
    assert isinstance(frontend, conv.Config)
    assert isinstance(encoder, transformer.Config)
    classes = {"hubert": "HubertModel", "wavlm": "WavLMModel", "data2vec-audio": "Data2VecAudioModel"}
    data: dict[str, Any] = {
        "architectures": [classes[kind]],
        "model_type": kind,
        **{key: getattr(encoder, ours) for ours, (key, _) in _ENCODER.items()},
        **{key: list(getattr(frontend, ours)) for ours, (key, _) in _FRONTEND.items()},
        "conv_bias": frontend.bias,
        "num_feat_extract_layers": len(frontend.channels),
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "layer_norm_eps": 1e-5,
        "final_dropout": 0.0,
        # Above zero, or transformers gives the model no mask embedding.
        "mask_time_prob": 0.05,
    }
    if kind == "data2vec-audio":
        positions = (encoder.position_layers, encoder.position_kernel_frames)
        data |= {"num_conv_pos_embeddings": positions[0], "conv_pos_kernel_size": positions[1]}
    else:
        data |= {
            "num_conv_pos_embeddings": encoder.position_kernel_frames,
            "feat_extract_norm": frontend.norm,
            "do_stable_layer_norm": encoder.pre_norm,
        }
    if not encoder.feature_norm:
        data[_FEATURE_NORM] = False
    if isinstance(encoder.relative_positions, Relative):
        relative = encoder.relative_positions
        data |= {"num_buckets": relative.buckets, "max_bucket_distance": relative.max_distance}
    return {**data, OUR_KEY: _rest(config, data)}


def _rest(config: ModelConfig, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that reading `data` would not give back."""
    read = unstructure(config_of(data, Preparation(config.normalize, config.sample_rate), CONFIG_FILE))
    want = unstructure(config)
    encoder = {key: value for key, value in want["encoder"].items() if read["encoder"].get(key) != value}
    others = {key: value for key, value in want.items() if key not in ("encoder", "frontend") and read[key] != value}
    assert dataclasses.is_dataclass(config)
    # A trained model does not depend on how its weights were initialised.
    assert read["frontend"] == {**want["frontend"], "init": read["frontend"]["init"]}, "model_type"
    return {"encoder": encoder, **others} if encoder else others


def _lists(value: Any) -> Any:
    """Return data as JSON and YAML have it, without tuples."""
    if isinstance(value, Mapping):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value
