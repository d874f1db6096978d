"""fairseq's checkpoints of HuBERT, wav2vec 2.0, data2vec audio and MERT, and WavLM's, which have the same form.

Such a ``.pt`` file is a pickle of weights, settings, dictionaries and the trainer's state. Only the first two are read,
and nothing in it is run (`_safe_pickle`). fairseq itself is not needed.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from torch import Tensor

from audio_ssl.encoders import transformer
from audio_ssl.errors import UserError
from audio_ssl.frontends import conv
from audio_ssl.interop._fairseq_config import FairseqSettings, config_of
from audio_ssl.interop._files import table_of
from audio_ssl.interop._match import fill, identity
from audio_ssl.interop._names import common_name, fairseq_name
from audio_ssl.interop._safe_pickle import plain
from audio_ssl.interop._settings import Given, sensible, settings
from audio_ssl.model import SSLModel

_SETTINGS = ("cfg", "args")
_PREFIXES = ("w2v_encoder.w2v_model.", "w2v_model.", "")
"""What names begin with in fine-tuned models, and in others."""
_HEADS = (
    *("final_proj", "label_embs_concat", "quantizer.", "project_q.", "project_inp.", "target_glu.", "input_quantizer."),
    *("w2v_encoder.proj.", "proj.", "encoder_cqt_model.", "encoder_mel_model.", "logit_temp"),
)
"""Beginnings of the names of what is trained with the encoder and left out."""


def is_fairseq(content: object) -> bool:
    """Return whether a file's content is a checkpoint of fairseq's: weights beside settings."""
    return isinstance(content, dict) and "model" in content and any(content.get(key) is not None for key in _SETTINGS)


def read_fairseq_content(content: Any, path: Path, given: Given) -> SSLModel:
    """Make a model of what a checkpoint holds.

    Parameters
    ----------
    content
        Of the ``.pt`` file at `path`.
    given
        Instead of what its settings say. WavLM's files do not say the rate.

    Returns
    -------
    SSLModel
        Without heads and targets, which the log names.

    Raises
    ------
    UserError
        If it is no such checkpoint, a weight is missing, unexpected or misshapen, or a setting is missing or cannot be
        had here.
    """
    if not is_fairseq(content):
        raise UserError("no checkpoint of fairseq: it has no `model` beside `cfg` or `args`", where=str(path))
    key = next(key for key in _SETTINGS if content.get(key) is not None)
    try:
        data = plain(content[key])
    except UnpicklingError as error:
        raise UserError(f"`{key}` cannot be read: {error}", where=str(path)) from error
    if not isinstance(data, dict):
        raise UserError(f"`{key}` holds no settings", where=str(path))
    found = FairseqSettings(data)
    state = _weights(content["model"], path)
    prefix = next(p for p in _PREFIXES if not p or any(name.startswith(f"{p}feature_extractor.") for name in state))
    group_norm = f"{prefix}feature_extractor.conv_layers.1.2.1.weight" not in state

    def name(common: str) -> str:
        return prefix + fairseq_name(common, group_norm)

    chosen = settings(given, found.preparation(), f"its `{key}`", path)
    with sensible(path):
        config = config_of(found, state, name, group_norm, chosen, given, path)
    heads = tuple(f"{p}{head}" for p in dict.fromkeys((prefix, "")) for head in _HEADS)
    assert isinstance(config.encoder, transformer.Config)
    assert isinstance(config.frontend, conv.Config)
    # Where the widths are the same, fairseq projects nothing.
    defaults = identity(config.encoder.dim) if config.encoder.dim == config.frontend.channels[-1] else {}
    return fill(config, state, lambda ours: name(common_name(ours)), heads=heads, defaults=defaults, where=path)


def _weights(table: object, path: Path) -> dict[str, Tensor]:
    """Return the tensors of the table; data2vec's average of itself is a table within it."""
    if not isinstance(table, dict):
        raise UserError("`model` holds no table of weights", where=str(path))
    return table_of({name: value for name, value in dict.items(table) if name != "_ema"}, path)
