"""Weights and card of a fairseq2 model on the disk; nothing is unpickled but tensors.

A folder of checkpoints holds ``model.yaml`` and ``step_N/model/``; there lie safetensors files, or
``pp_00/tp_00/sdp_00.pt`` as fairseq2's trainer writes them. Published models are single ``.pt`` files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.config import read_yaml
from audio_ssl.errors import UserError
from audio_ssl.interop._files import PICKLED, read_pickle, read_safetensors, table_of

CARD_FILE = "model.yaml"
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
        if (folder / CARD_FILE).is_file():
            return read_yaml(folder / CARD_FILE)
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
    return {name.removeprefix("module."): value for name, value in table_of(inner, file).items()}


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
