"""MuQ's published folders in ours: ``config.json`` and weights under the names of its code, which is never run.

MuQ (Zhu et al. 2025, arXiv 2501.01108): the mel spectrogram, the residual convolutions and the Conformer. Its quantiser
and head are left out. Only its code says that it takes 24 kHz and waveforms that are not standardised.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError, shown
from audio_ssl.interop.settings import ModelSettings, Preparation, invalid_settings, preparation_of
from audio_ssl.interop.weights import build_from, no_mask, read_folder
from audio_ssl.models.encoders import conformer
from audio_ssl.models.frontends import mel_res2d
from audio_ssl.models.model import ModelConfig, SSLModel
from audio_ssl.models.weights import CONFIG_FILE

_RATE = 24000
_PREFIX = "model."
_HEADS = tuple(
    _PREFIX + name
    for name in (
        *("linear.", "rvq.", "recon_proj.", "quantizer_", "cls_token", "preprocessor_melspec_2048."),
        *("conformer.pos_conv_embed.", "conformer.embed_positions."),
    )
)
"""Prefixes of the names of weights that hidden states do not depend on; constants of the spectrogram are recomputed."""
_ONLY: dict[str, object] = {
    "position_embeddings_type": "rotary",
    "hidden_act": "swish",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
}
_CONVOLUTIONS = {
    "first": "conv1",
    "second": "conv2",
    "beside": "conv3",
    "first_norm": "bn1",
    "second_norm": "bn2",
    "beside_norm": "bn3",
}
_BLOCK = {
    "query": "self_attn.linear_q",
    "key": "self_attn.linear_k",
    "value": "self_attn.linear_v",
    "out": "self_attn.linear_out",
    "first.norm": "ffn1_layer_norm",
    "first.inner": "ffn1.intermediate_dense",
    "first.outer": "ffn1.output_dense",
    "second.norm": "ffn2_layer_norm",
    "second.inner": "ffn2.intermediate_dense",
    "second.outer": "ffn2.output_dense",
    "attention_norm": "self_attn_layer_norm",
    "final_norm": "final_layer_norm",
    "convolution.norm": "conv_module.layer_norm",
    "convolution.depthwise_norm": "conv_module.batch_norm",
    "convolution.gated": "conv_module.pointwise_conv1",
    "convolution.out": "conv_module.pointwise_conv2",
    "convolution.depthwise": "conv_module.depthwise_conv",
}


def is_muq(data: Mapping[str, Any]) -> bool:
    """Return whether the content of a ``config.json`` is that of MuQ."""
    return isinstance(data.get("w2v2_config"), Mapping) and isinstance(data.get("stat"), Mapping)


def read_muq(folder: str | Path, given: ModelSettings) -> SSLModel:
    """Read a folder of MuQ.

    Parameters
    ----------
    folder
        With config.json and weights.
    given
        What the caller says, instead of waveforms that are not normalised and 24,000 Hz.

    Raises
    ------
    UserError
        If the model has unsupported parts, or a weight is missing, unexpected or misshapen.
    """
    folder = Path(folder)
    prepared = preparation_of(given, ModelSettings(False, _RATE), "MuQ's code", folder)
    with invalid_settings(folder / CONFIG_FILE):
        config = config_of(read_object(folder / CONFIG_FILE), prepared, folder / CONFIG_FILE)
    state = named_as_linear(read_folder(folder))
    defaults = no_mask(config.encoder.dim)  # type: ignore[attr-defined]
    return build_from(
        config, state, lambda ours: _PREFIX + muq_name(ours), heads=_HEADS, defaults=defaults, where=folder
    )


def config_of(data: Mapping[str, Any], prepared: Preparation, where: Path) -> ModelConfig:
    """Return the settings of a model of ours for those of a MuQ ``config.json``.

    Parameters
    ----------
    data
        Its content.
    prepared
        How waveforms are prepared.
    where
        The file, for errors.
    """
    theirs, statistics = dict(data["w2v2_config"]), data["stat"]
    for key, known in _ONLY.items():
        if theirs.get(key, known) != known:
            raise UserError(f"`{key}` must be {shown(known)}, but is {shown(theirs[key])}", where=str(where))
    if data.get("label_rate", 25) != 25 or list(data.get("features", ["melspec_2048"])) != ["melspec_2048"]:
        raise UserError("only models with 25 frames a second of `melspec_2048` are supported", where=str(where))
    dim = int(data["encoder_dim"])
    frontend = mel_res2d.Config(
        n_mels=int(data["n_mels"]),
        hop_seconds=data["hop_length"] / _RATE,
        mean=float(statistics["melspec_2048_mean"]),
        std=float(statistics["melspec_2048_std"]),
        channels=int(data["conv_dim"]),
        dim=dim,
    )
    encoder = conformer.Config(
        layers=int(data["encoder_depth"]),
        dim=dim,
        ffn_dim=int(theirs["intermediate_size"]),
        heads=int(theirs["num_attention_heads"]),
        kernel_frames=int(theirs["conv_depthwise_kernel_size"]),
        dropout=float(theirs["hidden_dropout"]),
        attention_dropout=float(theirs["attention_dropout"]),
        activation_dropout=float(theirs["activation_dropout"]),
        input_dropout=float(theirs["hidden_dropout"]),
        rope_base=float(theirs["rotary_embedding_base"]),
        form="muq",
    )
    return ModelConfig(frontend, encoder, prepared.sample_rate, prepared.normalize)


def named_as_linear(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return MuQ's weights without counters, its pointwise convolutions as the linear layers that they are."""
    return {
        name: value.squeeze(-1) if ".pointwise_conv" in name else value
        for name, value in state.items()
        if not name.endswith(".num_batches_tracked")
    }


def muq_name(ours: str) -> str:
    """Return MuQ's name of a weight of ours.

    Examples
    --------
    >>> muq_name("frontend.modules_2d.0.first_norm.running_mean")
    'conv.conv.0.bn1.running_mean'
    >>> muq_name("encoder.blocks.3.second.inner.weight")
    'conformer.layers.3.ffn2.intermediate_dense.weight'
    """
    part, rest = ours.split(".", 1)
    tail = rest.rsplit(".", 1)[-1]
    if part == "frontend":
        if rest.startswith("linear."):
            return f"conv.{rest}"
        _, number, name, _ = rest.split(".")
        return f"conv.conv.{number}.{_CONVOLUTIONS[name]}.{tail}"
    if rest.startswith("last_norm."):
        return f"conformer.layer_norm.{tail}"
    if rest == "mask_embedding":
        return "masked_spec_embed"
    _, number, name = rest.split(".", 2)
    return f"conformer.layers.{number}.{_BLOCK[name.rsplit('.', 1)[0]]}.{tail}"
