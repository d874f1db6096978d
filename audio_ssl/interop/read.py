"""Reads any supported model by its name or path, and finds out what a name or path stands for."""

from __future__ import annotations

import dataclasses
import logging
from enum import Enum
from pathlib import Path

from audio_ssl.artifacts.adapter import ADAPTER_ORIGIN, is_adapter, read_adapter_origin
from audio_ssl.artifacts.run import checkpoint_folders
from audio_ssl.base.config import traits_of
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.interop.conformer import is_conformer, read_conformer
from audio_ssl.interop.fairseq import is_fairseq, read_fairseq_content
from audio_ssl.interop.fairseq2 import MODEL_YAML, is_fairseq2, model_of, read_card, read_weights, weights_in
from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.hub import fetch, is_hub_name
from audio_ssl.interop.muq import is_muq, read_muq
from audio_ssl.interop.runs import read_run, run_of
from audio_ssl.interop.settings import (
    MissingSettingError,
    ModelSettings,
    parse_name,
    path_of,
    preparation_of,
    with_remedy,
)
from audio_ssl.interop.spidr import is_spidr, read_spidr_weights
from audio_ssl.interop.torchaudio import PREFIX, is_torchaudio, read_bundle, read_torchaudio_weights
from audio_ssl.interop.transformers import read_transformers, trainer_checkpoint
from audio_ssl.interop.weights import PICKLED, read_pickle, read_safetensors
from audio_ssl.models.adapters import merge_adapter
from audio_ssl.models.interfaces import EncoderTraits
from audio_ssl.models.model import SSLModel, read_model_config
from audio_ssl.models.weights import CONFIG_FILE, WEIGHTS_FILE, load_weights
from audio_ssl.shipped import PREFIX as SHIPPED_PREFIX
from audio_ssl.shipped import SHIPPED, Shelf

logger = logging.getLogger(__name__)


def read_model(
    name_or_path: str | Path,
    *,
    normalize: bool | None = None,
    sample_rate: int | None = None,
    heads: int | None = None,
    shelf: Shelf = SHIPPED,
) -> SSLModel:
    """Read a model of ours or of another library, without running code that comes with it.

    Parameters
    ----------
    name_or_path
        The name of a model that ships with the package, ``small`` or ``shipped:small``;
        a run folder, finished or not, or saved model; a folder of transformers (HuBERT, wav2vec 2.0, WavLM, data2vec
        audio, MERT), of its Trainer, or of MuQ, or its name on the Hugging Face hub, ``org/name`` or
        ``org/name@revision``;
        ``torchaudio:HUBERT_BASE`` and other bundles; a file of weights of fairseq, fairseq2, torchaudio or spidr (SpidR
        and DinoSR); a folder of fairseq2. A path that exists wins. Settings may stand in the name:
        ``MODEL?normalize=false&sample_rate=16000``.
    normalize
        Whether clips are standardised (zero mean, unit variance), instead of what the files say. It must be given if
        no file says it: it is never guessed.
    sample_rate
        Of the waveforms in Hz, with the same rule.
    heads
        Number of attention heads, for a table of weights whose width is not that of a published model.
    shelf
        The models that ship.

    Returns
    -------
    SSLModel
        For inference, without heads of other tasks, which the log names.

    Raises
    ------
    UserError
        If there is no such model, it cannot be read completely and exactly, or a setting of it is unknown.
    """
    return open_model(name_or_path, ModelSettings(normalize, sample_rate, heads), shelf, heads=False).model


def open_model(name_or_path: str | Path, given: ModelSettings, shelf: Shelf, heads: bool) -> Pretrained:
    """Read a model as `read_model` does, if wanted with the `heads` of its pretraining."""
    name, given = parse_name(name_or_path, given)
    try:
        return _read(name, given, shelf, heads)
    except MissingSettingError as error:
        raise with_remedy(error, str(name_or_path)) from error


def _read(name: str | Path, given: ModelSettings, shelf: Shelf, wanted: bool) -> Pretrained:
    source = detect(name, shelf)
    path = path_of(name)
    if source is ModelKind.SHIPPED:
        shipped = shelf.name_in(name)
        assert shipped is not None, "found by `detect`"
        path, source = shelf.whole(shipped), ModelKind.OURS
    if source is ModelKind.HUB:
        path = fetch(str(name))
        source = detect(path)
    if source is ModelKind.TRAINER:
        newest = trainer_checkpoint(path)
        assert newest is not None, "found by `detect`"
        logger.warning("%s: using the newest complete checkpoint, %s", path, newest.name)
        path, source = newest, ModelKind.TRANSFORMERS
    if source is ModelKind.ADAPTER:
        # The heads of the adapted model's pretraining fitted its own hidden states.
        return Pretrained(_adapted(path, given, shelf))
    if source is ModelKind.FAIRSEQ2:
        return model_of(read_weights(path), path, given, wanted)
    if source is ModelKind.FILE:
        return _file(path, given, wanted)
    if source is ModelKind.OURS:
        found = Pretrained(_ours(path, given))
    elif source is ModelKind.RUN:
        found = Pretrained(read_run(path, given))
    elif source is ModelKind.MUQ:
        found = Pretrained(read_muq(path, given))
    elif source is ModelKind.TRANSFORMERS:
        read = read_conformer if is_conformer(path) else read_transformers
        found = read(path, given, wanted)
    else:
        found = Pretrained(read_bundle(str(name), given))
    encoder = found.model.config.encoder
    heads = traits_of(encoder, EncoderTraits).heads
    there = None if heads is None else heads(encoder)
    if given.heads not in (None, there):
        raise UserError(f"`heads` is part of the model and is {there}, but {given.heads} was given", where=str(name))
    return found


def _adapted(path: Path, given: ModelSettings, shelf: Shelf) -> SSLModel:
    """Read the model that an adapter names, and merge the adapter into it."""
    origin = read_adapter_origin(path)
    if not origin.model:
        raise UserError(
            f"the adapter does not say which model it adapts: {ADAPTER_ORIGIN} is missing",
            where=str(path),
            remedy="merge an adapter of another library there: peft's `merge_and_unload()`, then `save_pretrained`",
        )
    name, own = parse_name(origin.model, given)
    # The name may be a path from another folder.
    name = origin.path if origin.path is not None and path_of(origin.path).exists() else name
    try:
        base = _read(name, own, shelf, wanted=False).model
    except UserError as error:
        raise UserError(
            f"the adapter needs the model `{origin.model}` (fingerprint {origin.fingerprint}), which cannot be read: "
            f"{error.what}",
            where=str(path),
            remedy=f"put the model there again{f', {origin.path}' if origin.path else ''}",
        ) from error
    return merge_adapter(base, path)


def _ours(path: Path, given: ModelSettings) -> SSLModel:
    config = read_model_config(path)
    found = ModelSettings(config.normalize, config.sample_rate)
    prepared = preparation_of(given, found, CONFIG_FILE, path)
    if prepared == (config.normalize, config.sample_rate):
        return SSLModel.from_pretrained(path)
    model = SSLModel(dataclasses.replace(config, **prepared._asdict()))
    load_weights(model, path / WEIGHTS_FILE)
    return model.eval()


def _file(path: Path, given: ModelSettings, wanted: bool) -> Pretrained:
    """Read a file by the names in it."""
    content = read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
    if is_fairseq(content):
        return read_fairseq_content(content, path, given, wanted)
    state = weights_in(content, path)
    if is_spidr(state):
        return read_spidr_weights(state, path, given, wanted)
    if is_torchaudio(state):
        return read_torchaudio_weights(state, path, given, wanted)
    if is_fairseq2(state):
        return model_of(state, path, given, wanted)
    if any("feature_projection." in name for name in state):
        raise UserError(
            "these are weights of transformers, whose settings are in other files",
            where=str(path),
            remedy="give the folder, with config.json",
        )
    raise UserError("the names of the weights are not those of a supported library", where=str(path), remedy=ACCEPTED)


ACCEPTED = (
    "give the name of a model that ships (`audio-ssl list models`), a run folder or saved model, a folder of "
    "transformers or MuQ, a file of weights of fairseq, fairseq2, torchaudio or spidr (.pt, .pth, .bin, .ckpt, "
    ".safetensors), a folder of fairseq2, torchaudio:BUNDLE, or org/name on the Hugging Face hub"
)


class ModelKind(Enum):
    """What can be read."""

    SHIPPED = "a model that ships with the package"
    ADAPTER = "an adapter, which names the model that it adapts"
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
        If it is none of these; the text lists what can be read.
    """
    name, path = str(name_or_path), path_of(name_or_path)
    shipped = shelf.name_in(name_or_path)
    if shipped is not None:
        return _shipped_or_folder(shipped, path)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        if path.suffix not in (".safetensors", *PICKLED):
            raise UserError(f"`{name}` is not a file of weights", remedy=ACCEPTED)
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
        logger.warning("`%s` is not a model here; using the model that ships", path)
        return ModelKind.SHIPPED
    logger.warning("`%s` is the folder here; the model that ships is %s%s", path, SHIPPED_PREFIX, name)
    return source


def _folder(path: Path) -> ModelKind:
    if run_of(path) is not None and not ((path / CONFIG_FILE).is_file() and (path / WEIGHTS_FILE).is_file()):
        return ModelKind.RUN
    if trainer_checkpoint(path) is not None:
        return ModelKind.TRAINER
    if is_adapter(path):
        return ModelKind.ADAPTER
    if (path / CONFIG_FILE).is_file():
        data = read_object(path / CONFIG_FILE)
        if "format_version" in data:
            return ModelKind.OURS
        if "model_type" in data:
            return ModelKind.TRANSFORMERS
        if is_muq(data):
            return ModelKind.MUQ
        raise UserError("config.json has neither `format_version` nor `model_type`", where=str(path), remedy=ACCEPTED)
    signs = (path / MODEL_YAML).is_file() or (path / "model").is_dir() or bool(checkpoint_folders(path))
    # The innermost folder has weights only; its card lies above.
    if signs or any(path.glob("pp_*")) or (any(path.glob("*.safetensors")) and read_card(path)):
        return ModelKind.FAIRSEQ2
    if any(path.glob("checkpoint-*")):
        raise UserError(f"none of the checkpoints in `{path}` has {CONFIG_FILE} and weights", remedy=ACCEPTED)
    raise UserError(f"the folder `{path}` contains no model: {CONFIG_FILE} is missing", remedy=ACCEPTED)
