"""What a name or path stands for."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path

from audio_ssl.documents import read_object
from audio_ssl.errors import UserError
from audio_ssl.interop._fairseq2_files import CARD_FILE, read_card
from audio_ssl.interop._files import PICKLED
from audio_ssl.interop.hub import is_hub_name
from audio_ssl.interop.muq import is_muq
from audio_ssl.interop.naming import path_of
from audio_ssl.interop.runs import run_of
from audio_ssl.interop.torchaudio import PREFIX
from audio_ssl.interop.transformers import trainer_checkpoint
from audio_ssl.model import CONFIG_FILE, WEIGHTS_FILE
from audio_ssl.shipped import PREFIX as SHIPPED_PREFIX
from audio_ssl.shipped import SHIPPED, Shelf

logger = logging.getLogger(__name__)

ACCEPTED = (
    "give the name of a model that ships (`audio-ssl list models`), a run folder or saved model, a folder of "
    "transformers or MuQ, a file of weights of fairseq, fairseq2 or torchaudio (.pt, .pth, .bin, .safetensors), a "
    "folder of fairseq2, torchaudio:BUNDLE, or org/name on the Hugging Face hub"
)


class ModelKind(Enum):
    """What can be read."""

    SHIPPED = "a model that ships with the package"
    OURS = "a saved model"
    RUN = "a run that has not written its model, or a checkpoint of a run"
    TRANSFORMERS = "a folder of transformers"
    TRAINER = "checkpoints of transformers' Trainer"
    MUQ = "a folder of MuQ"
    FAIRSEQ2 = "a folder of fairseq2"
    FILE = "a file of weights"
    BUNDLE = "a bundle of torchaudio"
    HUB = "a model on the hub"


def detect(name_or_path: str | Path, shelf: Shelf = SHIPPED) -> ModelKind:
    """Return what a name or path stands for; a path that exists wins over a name.

    Of a shipped model's name that is also a folder, the folder wins if it holds a model, and the log says so.

    Parameters
    ----------
    name_or_path
        As given; a `Path` is never a name.
    shelf
        The models that ship.

    Raises
    ------
    UserError
        If it is nothing that can be read; the text says what can be.
    """
    name, path = str(name_or_path), path_of(name_or_path)
    shipped = shelf.name_in(name_or_path)
    if shipped is not None:
        return _shipped_or_folder(shipped, path)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        if path.suffix not in (".safetensors", *PICKLED):
            raise UserError(f"`{name}` is no file of weights", remedy=ACCEPTED)
        return ModelKind.FILE
    if isinstance(name_or_path, str) and name.startswith(PREFIX):
        return ModelKind.BUNDLE
    if isinstance(name_or_path, str) and is_hub_name(name):
        return ModelKind.HUB
    near = shelf.near(name_or_path)
    meant = f"did you mean `{near}`? Or {ACCEPTED}" if near else ACCEPTED
    raise UserError(f"there is no model `{name}`", remedy=meant)


def _shipped_or_folder(name: str, path: Path) -> ModelKind:
    if not path.exists():
        return ModelKind.SHIPPED
    try:
        source = _folder(path)
    except UserError:
        logger.warning("`%s` here is no model; the model that ships is taken", path)
        return ModelKind.SHIPPED
    logger.warning("`%s` is the folder here; the model that ships is %s%s", path, SHIPPED_PREFIX, name)
    return source


def _folder(path: Path) -> ModelKind:
    if run_of(path) is not None and not ((path / CONFIG_FILE).is_file() and (path / WEIGHTS_FILE).is_file()):
        return ModelKind.RUN
    if trainer_checkpoint(path) is not None:
        return ModelKind.TRAINER
    if (path / CONFIG_FILE).is_file():
        data = read_object(path / CONFIG_FILE)
        if "format_version" in data:
            return ModelKind.OURS
        if "model_type" in data:
            return ModelKind.TRANSFORMERS
        if is_muq(data):
            return ModelKind.MUQ
        raise UserError("config.json has neither `format_version` nor `model_type`", where=str(path), remedy=ACCEPTED)
    signs = (path / CARD_FILE).is_file() or (path / "model").is_dir() or any(path.glob("step_*"))
    # The innermost folder has weights only; its card lies above.
    if signs or any(path.glob("pp_*")) or (any(path.glob("*.safetensors")) and read_card(path)):
        return ModelKind.FAIRSEQ2
    if any(path.glob("checkpoint-*")):
        raise UserError(f"none of the checkpoints in `{path}` has {CONFIG_FILE} and weights", remedy=ACCEPTED)
    raise UserError(f"the folder `{path}` holds no model: there is no {CONFIG_FILE}", remedy=ACCEPTED)
