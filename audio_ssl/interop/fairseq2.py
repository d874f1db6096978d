"""Weights of fairseq2's wav2vec 2.0 models in ours and ours in fairseq2's; fairseq2 itself is not needed for it.

Covers fairseq2's ``wav2vec2`` family with a transformer: base (group norm, post-LN) and large (layer norm, pre-LN).
Its quantiser and its projections belong to the contrastive loss, not to the model: reading gives them apart, and
writing puts them back or makes fresh ones, as fairseq2 loads a model only as a whole.

Weights and card of a fairseq2 model on the disk; nothing is unpickled but tensors.

A folder of checkpoints holds ``model.yaml`` and ``step_N/model/``; there lie safetensors files, or
``pp_00/tp_00/sdp_00.pt`` as fairseq2's trainer writes them. Published models are single ``.pt`` files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.base.config import read_yaml
from audio_ssl.base.documents import dump_yaml
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write, write_text
from audio_ssl.interop._fairseq2_config import (
    EXTRACTOR,
    POSITIONS,
    PROJECTION,
    card_of,
    check_writable,
    head_shapes,
    model_config,
)
from audio_ssl.interop.settings import ModelSettings, invalid_settings
from audio_ssl.interop.weights import PICKLED, build_from, checked_table, identity, read_pickle, read_safetensors
from audio_ssl.models.model import SSLModel

_HEADS = ("quantizer.", "final_proj.", "final_target_proj.")
_BASE_HEADS = {"final_dim": 256, "quantized_dim": 256, "num_codebooks": 2, "num_codebook_entries": 320}
"""Sizes of fresh ones (wav2vec 2.0 base)."""
_HEADS_SEED = 20_200_620

_BLOCK_PARTS = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.output_proj",
    "attention_norm": "self_attn_layer_norm",
    "inner": "ffn.inner_proj",
    "outer": "ffn.output_proj",
    "final_norm": "ffn_layer_norm",
}
_OUTER_PARTS = {"encoder.feature_norm": "encoder_frontend.post_extract_layer_norm", "encoder.projection": PROJECTION}
_WEIGHT_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def their_name(ours: str, pre_norm: bool, group_norm: bool) -> str:
    """Return fairseq2's name of one of our weights.

    Examples
    --------
    >>> their_name("encoder.blocks.3.query.weight", pre_norm=False, group_norm=True)
    'encoder.layers.3.self_attn.q_proj.weight'
    >>> their_name("frontend.norms.0.bias", pre_norm=False, group_norm=True)
    'encoder_frontend.feature_extractor.layers.0.group_norm.bias'
    """
    if ours == "encoder.mask_embedding":
        return "masker.temporal_mask_embed"
    part, _, leaf = ours.rpartition(".")
    if part in _OUTER_PARTS:
        return f"{_OUTER_PARTS[part]}.{leaf}"
    if part == "encoder.norm":
        return f"{'encoder' if pre_norm else 'encoder_frontend'}.layer_norm.{leaf}"
    if ours.startswith("encoder.positions."):
        rest = ours.removeprefix("encoder.positions.")
        for long, short in _WEIGHT_NORM.items():
            rest = rest.replace(long, short)
        return f"{POSITIONS}.{rest}"
    pieces = ours.split(".")
    if ours.startswith("encoder.blocks."):
        return f"encoder.layers.{pieces[2]}.{_BLOCK_PARTS[pieces[3]]}.{leaf}"
    norm = "group_norm" if group_norm else "layer_norm"
    return f"{EXTRACTOR}.{pieces[2]}.{'conv' if pieces[1] == 'convs' else norm}.{leaf}"


def to_fairseq2_weights(model: SSLModel) -> dict[str, Tensor]:
    """Return our weights under fairseq2's names, without quantiser and projections.

    Raises
    ------
    UserError
        If fairseq2's model cannot hold them.
    """
    names = _names(model)
    weights = {names[ours]: value.detach().cpu() for ours, value in model.state_dict().items()}
    frontend, encoder = check_writable(model.config)
    if frontend.channels[-1] == encoder.dim:
        for name, value in identity(encoder.dim).items():
            if not torch.equal(weights.pop(names[name]), value):
                raise UserError(
                    f"fairseq2 projects no features that are as wide as the encoder ({encoder.dim}); this model does"
                )
    return weights


def read_fairseq2(
    path: str | Path, heads: int | None = None, *, normalize: bool | None = None, sample_rate: int | None = None
) -> SSLModel:
    """Read a wav2vec 2.0 model that fairseq2 has written, or that is published for it.

    Parameters
    ----------
    path
        A ``.safetensors`` or ``.pt`` file, or a folder of fairseq2's trainer: of checkpoints, of one step, of a model.
        A ``.pt`` file is read without running anything that it may hold.
    heads
        Attention heads, which no weight tells; None: those of ``model.yaml``, or of the published models of this width.
    normalize, sample_rate
        Which fairseq2 does not save; None: those that `write_fairseq2` has left in ``model.yaml``.

    Returns
    -------
    SSLModel
        Without quantiser and projections of the contrastive loss.

    Raises
    ------
    UserError
        If it cannot be read, is another kind of model, or normalisation or rate are not known.
    """
    path = Path(path)
    return model_of(read_weights(path), path, ModelSettings(normalize, sample_rate, heads))


def model_of(state: Mapping[str, Tensor], path: Path, given: ModelSettings) -> SSLModel:
    """Make a model of weights under fairseq2's names; see `read_fairseq2`."""
    with invalid_settings(path):
        config = model_config(state, read_card(path), given, path)
        frontend, encoder = check_writable(config)

    def name(ours: str) -> str:
        return their_name(ours, encoder.pre_norm, frontend.norm == "group")

    # Where the widths are the same, fairseq2 projects nothing.
    defaults = identity(encoder.dim) if frontend.channels[-1] == encoder.dim else {}
    return build_from(config, state, name, heads=_HEADS, defaults=defaults, where=path)


def read_fairseq2_heads(path: str | Path) -> dict[str, Tensor]:
    """Return the weights that `read_fairseq2` leaves out, for `write_fairseq2`."""
    return {name: value for name, value in read_weights(Path(path)).items() if name.startswith(_HEADS)}


def write_fairseq2(model: SSLModel, folder: str | Path, heads: Mapping[str, Tensor] | None = None) -> None:
    """Write a model as a folder of fairseq2 checkpoints: ``model.yaml`` and ``step_0/model/model.safetensors``.

    In fairseq2, ``register_checkpoint_models(container, folder)`` finds it as ``checkpoint_step_0``.

    Parameters
    ----------
    model
        With the conv frontend and the transformer encoder.
    folder
        Where to write.
    heads
        Quantiser and projections under fairseq2's names, with two codebooks; None: fresh ones from a fixed seed, which
        serve no purpose but that fairseq2 loads the model.

    Raises
    ------
    UserError
        If fairseq2's wav2vec 2.0 has no such model.
    """
    sizes = _BASE_HEADS if heads is None else _sizes(heads)
    shapes = head_shapes(model.config, sizes)
    if heads is None:
        generator = torch.Generator().manual_seed(_HEADS_SEED)
        heads = {name: torch.rand(tuple(shape), generator=generator) - 0.5 for name, shape in shapes.items()}
    wrong = sorted(name for name, shape in shapes.items() if name not in heads or heads[name].shape != tuple(shape))
    if wrong:
        raise UserError(f"`heads` must fit the model, but these do not: {', '.join(wrong)}")
    weights = {**to_fairseq2_weights(model), "quantizer.num_updates": torch.zeros((), dtype=torch.long), **heads}
    folder = Path(folder)
    (folder / MODEL_FOLDER).mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / MODEL_FOLDER / "model.safetensors") as partial:
        save_file({name: value.contiguous() for name, value in weights.items()}, partial)
    write_text(folder / MODEL_YAML, dump_yaml(card_of(model.config, sizes)))


def _names(model: SSLModel) -> dict[str, str]:
    frontend, encoder = check_writable(model.config)
    return {name: their_name(name, encoder.pre_norm, frontend.norm == "group") for name in model.state_dict()}


def _sizes(heads: Mapping[str, Tensor]) -> dict[str, int]:
    books = _BASE_HEADS["num_codebooks"]
    try:
        entries, final = heads["quantizer.entries"], heads["final_proj.weight"]
    except KeyError as error:
        raise UserError(f"`heads` must hold {error}") from error
    return {
        "final_dim": final.shape[0],
        "quantized_dim": entries.shape[-1] * books,
        "num_codebooks": books,
        "num_codebook_entries": entries.shape[-2] // books,
    }


MODEL_YAML = "model.yaml"
MODEL_FOLDER = Path("step_0") / "model"
"""Where we write, so that fairseq2 finds a folder of checkpoints."""

_FAIRSEQ_NAMES = (
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"encoder.layers.\1.self_attn.output_proj."),
    (r"^encoder\.layers\.(\d+)\.fc1\.", r"encoder.layers.\1.ffn.inner_proj."),
    (r"^encoder\.layers\.(\d+)\.fc2\.", r"encoder.layers.\1.ffn.output_proj."),
    (r"^encoder\.layers\.(\d+)\.final_layer_norm\.", r"encoder.layers.\1.ffn_layer_norm."),
    (r"^encoder\.pos_conv\.0\.", "encoder_frontend.pos_encoder.conv."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"encoder_frontend.feature_extractor.layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.2\.1\.", r"encoder_frontend.feature_extractor.layers.\1.layer_norm."),
    (r"^feature_extractor\.conv_layers\.0\.2\.", "encoder_frontend.feature_extractor.layers.0.group_norm."),
    (r"^layer_norm\.", "encoder_frontend.post_extract_layer_norm."),
    (r"^post_extract_proj\.", "encoder_frontend.model_dim_proj."),
    (r"^mask_emb$", "masker.temporal_mask_embed"),
    (r"^quantizer\.vars$", "quantizer.entries"),
    (r"^quantizer\.weight_proj\.0\.|^quantizer\.weight_proj\.", "quantizer.entry_proj."),
    (r"^project_q\.", "final_target_proj."),
)
"""fairseq's own names, which published fairseq2 files may hold, and fairseq2's."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return all weights under fairseq2's names.

    Parameters
    ----------
    path
        A file, or any of the folders that fairseq2 writes; of several steps the last is read.

    Raises
    ------
    UserError
        If there are no weights, or they are shared out over several files of shards.
    """
    state: dict[str, Tensor] = {}
    for file in _weight_files(path):
        state.update(_read_file(file))
    return renamed(state)


def read_card(path: Path) -> dict[str, Any]:
    """Return the ``model.yaml`` of a file or folder, from the nearest of the folders above it; {} if there is none."""
    for folder in (path, *path.absolute().parents[:5]):
        if (folder / MODEL_YAML).is_file():
            return read_yaml(folder / MODEL_YAML)
    return {}


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError("no such file or folder", where=str(path))
    steps = [found for found in path.glob("step_*") if re.fullmatch(r"step_\d+", found.name)]
    if steps:
        path = max(steps, key=lambda step: int(step.name.removeprefix("step_")))
    if (path / "model").is_dir():
        path = path / "model"
    shards = sorted(path.glob("pp_*/tp_*/sdp_*.pt"))
    if len(shards) > 1:
        raise UserError(
            f"the weights are shared out over {len(shards)} files",
            where=str(path),
            remedy="load the model in fairseq2 and save it whole",
        )
    files = shards or sorted(path.glob("*.safetensors"))
    if not files:
        raise UserError("the folder holds no weights of fairseq2", where=str(path))
    return files


def _read_file(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    if file.suffix not in PICKLED:
        raise UserError(f"weights have the suffix .safetensors, {', '.join(PICKLED)}", where=str(file))
    return weights_in(read_pickle(file), file)


def weights_in(content: Any, file: Path) -> dict[str, Tensor]:
    """Return the weights of a file's content: all of it, or what is under ``model``."""
    inner = content["model"] if isinstance(content, dict) and "model" in content else content
    if inner is not content and any(content.get(key) is not None for key in ("args", "cfg")):
        raise UserError(
            "this is a checkpoint of fairseq, not of fairseq2",
            where=str(file),
            remedy="name the file itself",
        )
    return {name.removeprefix("module."): value for name, value in checked_table(inner, file).items()}


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with fairseq's names, if they have them, under fairseq2's."""
    if "mask_emb" not in state:
        return state
    names = {}
    for name in state:
        new = name
        for pattern, replacement in _FAIRSEQ_NAMES:
            new = re.sub(pattern, replacement, new)
        names[name] = new
    # fairseq has one name for the norm at the start (base) and at the end (large, where every convolution has a norm).
    if not any(name.startswith("feature_extractor.conv_layers.1.2.1.") for name in state):
        for leaf in ("weight", "bias"):
            names[f"encoder.layer_norm.{leaf}"] = f"encoder_frontend.layer_norm.{leaf}"
    return {names[name]: value for name, value in state.items()}
