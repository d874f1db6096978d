"""Writes a model as a folder that other libraries open, too, where they can compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from audio_ssl.atomic import atomic_write, write_json, write_text
from audio_ssl.config import unstructure
from audio_ssl.documents import as_written, read_object
from audio_ssl.errors import UserError
from audio_ssl.frontends import conv
from audio_ssl.integrity import write_seals
from audio_ssl.interop._card import card
from audio_ssl.interop._files import read_safetensors
from audio_ssl.interop._transformers_config import data_of, model_type
from audio_ssl.interop.transformers import PREPROCESSOR_FILE, to_transformers_weights
from audio_ssl.model import CONFIG_FILE, FORMAT_VERSION, WEIGHTS_FILE, SSLModel
from audio_ssl.storage import stored, write_stored

CARD_FILE = "README.md"
_OTHERS = ("pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json", "recipe.yaml", "state")
"""Signs of other models, and of a run, whose README.md is its own."""


def export(
    model: SSLModel,
    folder: str | Path,
    *,
    name: str | None = None,
    facts: Mapping[str, object] | None = None,
    weights: str = "float32",
) -> Path:
    """Write ``config.json``, ``model.safetensors``, ``preprocessor_config.json`` and ``README.md``.

    Models with the conv frontend and a transformer with convolutional positions open with ``transformers.AutoModel`` as
    HuBERT, WavLM or data2vec audio and give the same numbers there. Others are written as saved models of ours, and
    the card says so. `read_model` reads either back to an equal config and, from float32, equal weights.

    Parameters
    ----------
    model
        The model.
    folder
        Where to write; it may be there already, if no other model is in it.
    name
        For the card, such as ``org/name`` on the hub; None: the folder's.
    facts
        Names and values for the card's section on where the model comes from, such as those of a run.
    weights
        How they are stored: ``float32``, or ``float16`` or ``bfloat16`` at half the length (`audio_ssl.storage`).

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If the folder holds another model, or a weight cannot be stored so.
    """
    folder, config = Path(folder), model.config
    kind = model_type(config)
    if kind is None:
        data: dict[str, Any] = {"format_version": FORMAT_VERSION, **unstructure(config)}
        named = model.state_dict()
    else:
        # Newer versions of transformers compute in the format of the file unless this says otherwise.
        computes = {"torch_dtype": "float32"} if weights != "float32" else {}
        data, named = data_of(config, kind) | computes, to_transformers_weights(model)
    table = stored(named, weights)
    data = as_written(data)
    _check_free(folder, data, table)
    with atomic_write(folder / WEIGHTS_FILE) as partial:
        write_stored(table, partial, weights)
    write_seals(folder, [WEIGHTS_FILE])
    write_json(folder / PREPROCESSOR_FILE, _preparation(model))
    write_text(folder / CARD_FILE, card(model, name or folder.resolve().name, kind, facts))
    # Last, as it is what makes the folder a model.
    write_json(folder / CONFIG_FILE, data)
    return folder


def _preparation(model: SSLModel) -> dict[str, Any]:
    config = model.config
    group = isinstance(config.frontend, conv.Config) and config.frontend.norm == "group"
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": config.sample_rate,
        "padding_value": 0.0,
        "padding_side": "right",
        "do_normalize": config.normalize,
        # With one norm over time transformers' own models are used without a mask.
        "return_attention_mask": not group,
    }


def _check_free(folder: Path, data: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
    """Raise where the folder holds another model; the same one may be written again."""
    found = [name for name in (CONFIG_FILE, WEIGHTS_FILE, *_OTHERS) if (folder / name).exists()]
    if folder.is_file() or (found and not _same(folder, data, weights)):
        raise UserError(
            f"there is another model already: {', '.join(found)}" if found else "this is a file",
            where=str(folder),
            remedy="give an empty or new folder",
        )


def _same(folder: Path, data: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> bool:
    if any((folder / name).exists() for name in _OTHERS):
        return False
    try:
        config = read_object(folder / CONFIG_FILE) if (folder / CONFIG_FILE).exists() else data
        there = read_safetensors(folder / WEIGHTS_FILE)
    except (OSError, ValueError, UserError):
        return False
    equal = there.keys() == weights.keys() and all(_equal(there[key], weights[key]) for key in weights)
    return bool(equal and config == data)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
