"""Writes a model with a linear head as a recogniser or a classifier of transformers: `HubertForCTC` and its like.

The head answers from one layer, which becomes the last of the exported model. What it was given in training
(standardised frames) is folded into its weights by whoever makes it; here are weights, their names and the files beside
them. Models with other parts or heads have no class in transformers (`audio_ssl.probing.auto_heads` has ours).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audio_ssl.interop.ctc_tokenizer import TokenizerFiles, tokenizer_files
from audio_ssl.interop.head_card import head_card
from audio_ssl.interop.heads import LinearWeights
from audio_ssl.interop.transformers import (
    MODEL_TYPES,
    PREPROCESSOR_FILE,
    config_json,
    model_type_of,
    to_transformers_weights,
)
from audio_ssl.interop.write import preparation_of_waveforms, write_folder
from audio_ssl.models.encoders import transformer
from audio_ssl.models.model import ModelConfig, SSLModel
from audio_ssl.models.weights import stored

_CLASSES = {"hubert": "Hubert", "wavlm": "WavLM", "data2vec-audio": "Data2VecAudio"}
_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.")
NEVER = -1e4
"""Logit of a class that is never chosen; within float16."""


@dataclass(frozen=True)
class Transcriber:
    """Symbols by CTC from each frame of a layer."""

    output: LinearWeights
    """Logits of the blank, then of `symbols`."""

    symbols: tuple[str, ...]
    """As `audio_ssl.interop.ctc_tokenizer` takes them."""


@dataclass(frozen=True)
class Labeller:
    """Classes from the mean over a clip of one layer."""

    output: LinearWeights
    """Logits of `labels`."""

    labels: tuple[str, ...]
    several: bool
    """Whether a clip may have several (tags)."""


def why_not_native(config: ModelConfig, layer: int, layers: int) -> str | None:
    """Return why transformers has no class for a head on one layer of a model, or None.

    Parameters
    ----------
    config
        Of the model.
    layer
        That the head sees; 0 is the encoder's input.
    layers
        Blocks of the model.
    """
    if model_type_of(config) is None:
        return "transformers has no model with these parts"
    encoder = config.encoder
    assert isinstance(encoder, transformer.Config)
    if layer == 0:
        return "the head sees layer 0, the encoder's input"
    if encoder.pre_norm and layer < layers:
        return f"the head sees layer {layer} of {layers}, and transformers' pre-LN models end with a norm"
    return None


def write_head(
    model: SSLModel,
    layer: int,
    head: Transcriber | Labeller,
    folder: Path,
    *,
    facts: Mapping[str, object],
    licence: str | None = None,
    weights: str = "float32",
) -> Path:
    """Write a folder for ``transformers.pipeline``.

    Parameters
    ----------
    model
        The model, for which `why_not_native` has no reason.
    layer
        The layer that the head sees, from 1 on; those above it are left out.
    head
        The head, for frames of the layer as they are.
    folder
        Where to write; an existing folder must contain no other model.
    facts
        Names and values for the card.
    licence
        Of the weights; None: the card asks the owner to name it.
    weights
        How they are stored: ``float32``, ``float16`` or ``bfloat16``.

    Raises
    ------
    UserError
        If the folder contains another model, or a weight does not fit the number format.
    """
    kind = model_type_of(model.config)
    assert kind is not None
    short = cut(model, layer)
    computes = {"torch_dtype": "float32"} if weights != "float32" else {}
    config = config_json(short.config, kind) | computes
    named = {f"{MODEL_TYPES[kind]}.{name}": value for name, value in to_transformers_weights(short).items()}
    files: dict[str, Mapping[str, Any]] = {}
    if isinstance(head, Transcriber):
        tokens = tokenizer_files(head.symbols)
        files |= tokens.files
        config |= {"architectures": [f"{_CLASSES[kind]}ForCTC"], **transcriber_settings(tokens)}
        weight, bias = _with_unknown(head.output)
        named |= {"lm_head.weight": weight, "lm_head.bias": bias}
    else:
        config |= {
            "architectures": [f"{_CLASSES[kind]}ForSequenceClassification"],
            **labeller_settings(head.labels, head.several),
        }
        config |= {"classifier_proj_size": len(head.labels), "use_weighted_layer_sum": False}
        named |= {"projector.weight": head.output.weight, "projector.bias": head.output.bias}
        # The mean of the projected frames is the answer already.
        named |= {"classifier.weight": torch.eye(len(head.labels)), "classifier.bias": torch.zeros(len(head.labels))}
    prepared = preparation_of_waveforms(short, kind)
    if isinstance(head, Transcriber):
        prepared["processor_class"] = "Wav2Vec2Processor"
    files[PREPROCESSOR_FILE] = prepared
    card = head_card(short, kind, config["architectures"][0], folder.resolve().name, facts, licence)
    return write_folder(folder, config, stored(named, weights), files, card, weights)


def cut(model: SSLModel, layers: int) -> SSLModel:
    """Return a model of the first blocks of a transformer, with the same weights."""
    encoder = model.config.encoder
    assert isinstance(encoder, transformer.Config)
    if layers == encoder.layers:
        return model
    config = dataclasses.replace(model.config, encoder=dataclasses.replace(encoder, layers=layers))
    with torch.device("meta"):
        short = SSLModel(config)
    state = {name: value for name, value in model.state_dict().items() if _kept(name, layers)}
    short.load_state_dict(state, assign=True)
    return short.eval()


def _kept(name: str, layers: int) -> bool:
    found = _BLOCK.match(name)
    return found is None or int(found[1]) < layers


def _with_unknown(output: LinearWeights) -> tuple[Tensor, Tensor]:
    """Return weight and bias with one more class, for symbols that training lacks: it is never chosen."""
    weight = torch.cat([output.weight, torch.zeros(1, output.weight.shape[1])])
    return weight, torch.cat([output.bias, torch.full((1,), NEVER)])


def transcriber_settings(tokens: TokenizerFiles) -> dict[str, Any]:
    """Return what ``config.json`` says of a CTC head."""
    return {
        "vocab_size": tokens.tokens,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "ctc_loss_reduction": "mean",
        "ctc_zero_infinity": True,
        "tokenizer_class": tokens.kind,
    }


def labeller_settings(labels: tuple[str, ...], several: bool) -> dict[str, Any]:
    """Return what ``config.json`` says of classes."""
    kind = "multi_label_classification" if several else "single_label_classification"
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        # One class alone is a regression to transformers, whatever else is said.
        **({"problem_type": kind} if several or len(labels) > 1 else {}),
    }
