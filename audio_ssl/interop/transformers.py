"""Models of transformers in ours, and our weights under transformers' names; transformers itself is not needed.

HuBERT, wav2vec 2.0, WavLM, data2vec audio and MERT, base and large, with or without a head, and both namings of weight
norm (``weight_g`` before torch 2.1's parametrisations, ``parametrizations.weight.original0`` after).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.documents import read_object
from audio_ssl.encoders import transformer
from audio_ssl.errors import UserError
from audio_ssl.interop._files import has_weights, read_folder
from audio_ssl.interop._match import MASK, fill, no_mask
from audio_ssl.interop._names import common_name
from audio_ssl.interop._settings import Given, sensible, settings
from audio_ssl.interop._transformers_config import MODEL_TYPES, config_of, has_mask
from audio_ssl.model import CONFIG_FILE, SSLModel

logger = logging.getLogger(__name__)

PREPROCESSOR_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,12})")
"""What the Trainer of transformers calls the folders of its checkpoints."""
_HEADS = (
    *("lm_head.", "quantizer.", "project_q.", "project_hid.", "classifier.", "projector."),
    *("layer_weights", "tdnn.", "feature_extractor.weight", "feature_extractor.bias", "objective."),
)
"""Beginnings of the names of all heads in transformers: CTC, pretraining, classification, x-vectors."""


def read_transformers(folder: str | Path, *, normalize: bool | None = None, sample_rate: int | None = None) -> SSLModel:
    """Read a folder of transformers.

    Parameters
    ----------
    folder
        With config.json, weights, and preprocessor_config.json or processor_config.json, which say how waveforms are
        prepared.
    normalize, sample_rate
        Instead of what these say.

    Returns
    -------
    SSLModel
        Without heads, which the log names.

    Raises
    ------
    UserError
        If the model is of a kind that cannot be read, a weight is missing, unexpected or misshapen, or normalisation
        or rate stand nowhere.
    """
    folder = Path(folder)
    data, state = read_object(folder / CONFIG_FILE), read_folder(folder)
    chosen = settings(Given(normalize, sample_rate), *preparation(folder), folder)
    with sensible(folder / CONFIG_FILE):
        config, masked = config_of(data, *chosen, folder / CONFIG_FILE), has_mask(data)
        assert isinstance(config.encoder, transformer.Config)
        defaults = no_mask(config.encoder.dim)
    base = f"{MODEL_TYPES[data['model_type']]}."
    prefix = base if any(name.startswith(base) for name in state) else ""

    def name(ours: str) -> str:
        return prefix + common_name(ours)

    if masked and name(MASK) not in state:
        # Some published models, such as facebook/wav2vec2-base-960h, have lost it; only masked training needs it.
        logger.warning("%s: the mask embedding is missing; zeros stand for it, which inference does not see", folder)
    return fill(config, state, name, heads=_HEADS, defaults=defaults, where=folder)


def preparation(folder: Path) -> tuple[dict[str, Any], str]:
    """Return ``normalize`` and ``sample_rate`` as far as transformers' files say them, and the name of the file.

    They stand in preprocessor_config.json, or under ``feature_extractor`` in processor_config.json (transformers 5, and
    processors of 4). A checkpoint of the Trainer may leave them in the folder above it.
    """
    places = [folder, folder.parent] if _CHECKPOINT.fullmatch(folder.absolute().name) else [folder]
    names = {"normalize": "do_normalize", "sample_rate": "sampling_rate"}
    for path in (place / name for place in places for name in (PREPROCESSOR_FILE, PROCESSOR_FILE)):
        data = read_object(path) if path.is_file() else {}
        nested = data.get("feature_extractor")
        data = dict(nested) if isinstance(nested, Mapping) else data
        found = {ours: data[theirs] for ours, theirs in names.items() if theirs in data}
        if found:
            return found, path.name
    return {}, PREPROCESSOR_FILE


def trainer_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in an output folder of the Trainer; None where the folder is something else.

    A folder with a model of its own, which the Trainer was asked to save at the end, is that model.
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
        If a weight has no place there.
    """
    try:
        return {common_name(name): value for name, value in model.state_dict().items()}
    except (KeyError, IndexError) as error:
        raise UserError("transformers has no such model") from error
