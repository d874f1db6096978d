"""Any model that can be read, by one function."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from audio_ssl.errors import UserError
from audio_ssl.interop._detect import ACCEPTED, ModelKind, detect
from audio_ssl.interop._fairseq2_files import renamed, weights_in
from audio_ssl.interop._files import read_pickle, read_safetensors
from audio_ssl.interop._settings import Given, UnsaidError, settings
from audio_ssl.interop.fairseq import is_fairseq, read_fairseq_content
from audio_ssl.interop.fairseq2 import model_of, read_fairseq2
from audio_ssl.interop.hub import fetch
from audio_ssl.interop.muq import read_muq
from audio_ssl.interop.naming import parse_name, path_of, unsaid
from audio_ssl.interop.runs import read_run
from audio_ssl.interop.torchaudio import is_torchaudio, read_bundle, read_torchaudio_weights
from audio_ssl.interop.transformers import read_transformers, trainer_checkpoint
from audio_ssl.model import CONFIG_FILE, WEIGHTS_FILE, SSLModel, load_weights, read_model_config
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
    """Read a model of ours, transformers, MuQ, torchaudio, fairseq or fairseq2; no code that comes with it is run.

    Parameters
    ----------
    name_or_path
        The name of a model that ships with the package, ``small`` or ``shipped:small``;
        a run folder, finished or not, or saved model; a folder of transformers (HuBERT, wav2vec 2.0, WavLM, data2vec
        audio, MERT), of its Trainer, or of MuQ, or its name on the Hugging Face hub, ``org/name`` or
        ``org/name@revision``;
        ``torchaudio:HUBERT_BASE`` and other bundles; a file of weights of fairseq, fairseq2 or torchaudio; a folder of
        fairseq2. A path that exists wins. Settings may stand in the name: ``MODEL?normalize=false&sample_rate=16000``.
    normalize
        Whether clips are standardised (zero mean, unit variance), instead of what comes with the weights. Nothing is
        guessed: where nothing comes with them, it must be given.
    sample_rate
        Of the waveforms in Hz, likewise.
    heads
        Attention heads, where only a table of weights is there and its width is that of no published model.
    shelf
        The models that ship.

    Returns
    -------
    SSLModel
        For inference, without heads of other tasks, which the log names.

    Raises
    ------
    UserError
        If there is no such model, it cannot be read whole and exactly, or something about it is not known.
    """
    name, given = parse_name(name_or_path, Given(normalize, sample_rate, heads))
    try:
        return _read(name, given, shelf)
    except UnsaidError as error:
        raise unsaid(error, str(name_or_path)) from error


def _read(name: str | Path, given: Given, shelf: Shelf) -> SSLModel:
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
        logger.warning("%s: the newest whole checkpoint is taken, %s", path, newest.name)
        path, source = newest, ModelKind.TRANSFORMERS
    if source is ModelKind.FAIRSEQ2:
        return read_fairseq2(path, given.heads, normalize=given.normalize, sample_rate=given.sample_rate)
    if source is ModelKind.FILE:
        return _file(path, given)
    if source is ModelKind.OURS:
        model = _ours(path, given)
    elif source is ModelKind.RUN:
        model = read_run(path, given)
    elif source is ModelKind.MUQ:
        model = read_muq(path, normalize=given.normalize, sample_rate=given.sample_rate)
    elif source is ModelKind.TRANSFORMERS:
        model = read_transformers(path, normalize=given.normalize, sample_rate=given.sample_rate)
    else:
        model = read_bundle(str(name), normalize=given.normalize, sample_rate=given.sample_rate)
    there = getattr(model.config.encoder, "heads", None)
    if given.heads not in (None, there):
        raise UserError(f"`heads` is part of the model and is {there}, but {given.heads} was given", where=str(name))
    return model


def _ours(path: Path, given: Given) -> SSLModel:
    config = read_model_config(path)
    found = {"normalize": config.normalize, "sample_rate": config.sample_rate}
    normalize, rate = settings(given, found, CONFIG_FILE, path)
    if (normalize, rate) == (config.normalize, config.sample_rate):
        return SSLModel.from_pretrained(path)
    model = SSLModel(dataclasses.replace(config, normalize=normalize, sample_rate=rate))
    load_weights(model, path / WEIGHTS_FILE)
    return model.eval()


def _file(path: Path, given: Given) -> SSLModel:
    """Read a file by the names in it."""
    content = read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
    if is_fairseq(content):
        return read_fairseq_content(content, path, given)
    state = weights_in(content, path)
    if is_torchaudio(state):
        return read_torchaudio_weights(
            state, path, normalize=given.normalize, sample_rate=given.sample_rate, heads=given.heads
        )
    state = renamed(state)
    if any(name.startswith("encoder_frontend.") for name in state):
        return model_of(state, path, given)
    if any("feature_projection." in name for name in state):
        raise UserError(
            "these are weights of transformers, whose settings stand in other files",
            where=str(path),
            remedy="give the folder, with config.json",
        )
    raise UserError("the weights have the names of no library that is known", where=str(path), remedy=ACCEPTED)
