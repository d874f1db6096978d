"""Writes a model as a folder that other libraries open as well, where they have such a model, with its README.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.run import STATE_FOLDER
from audio_ssl.base.checksums import write_seals
from audio_ssl.base.config import kind_of
from audio_ssl.base.documents import as_written, read_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write, write_json, write_text
from audio_ssl.interop.transformers import PREPROCESSOR_FILE, config_json, model_type_of, to_transformers_weights
from audio_ssl.interop.weights import read_safetensors
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import SSLModel, config_data, fingerprint
from audio_ssl.models.weights import CONFIG_FILE, WEIGHTS_FILE, stored, write_stored

CARD_FILE = "README.md"
_OTHERS = (
    *("pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json"),
    *(RECIPE_FILE, STATE_FOLDER),
)
"""Files of other models and of runs; a run has a README.md of its own."""


def export(
    model: SSLModel,
    folder: str | Path,
    *,
    name: str | None = None,
    facts: Mapping[str, object] | None = None,
    licence: str | None = None,
    weights: str = "float32",
) -> Path:
    """Write ``config.json``, ``model.safetensors``, ``preprocessor_config.json`` and ``README.md``.

    Models with the conv frontend and a transformer with convolutional positions open with ``transformers.AutoModel`` as
    HuBERT, WavLM or data2vec audio and give the same numbers there. Others are written as saved models of ours, which
    ``AutoModel`` opens where audio_ssl is imported, and the card says so. `read_model` reads either back to an equal
    config and, from float32, equal weights.

    Parameters
    ----------
    model
        The model.
    folder
        Where to write; an existing folder must contain no other model.
    name
        For the card, such as ``org/name`` on the hub; None: the folder's.
    facts
        Names and values for the card's section on where the model comes from, such as those of a run.
    licence
        Of the weights; None: the card asks the owner to name it.
    weights
        How they are stored: ``float32``, or ``float16`` or ``bfloat16`` at half the length
        (`audio_ssl.models.weights`).

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If the folder contains another model, or a weight does not fit the number format.
    """
    folder, config = Path(folder), model.config
    kind = model_type_of(config)
    if kind is None:
        data = config_data(config) | {"architectures": ["AudioSSLModel"]}
        named = model.state_dict()
    else:
        # Newer versions of transformers compute in the format of the file unless this says otherwise.
        computes = {"torch_dtype": "float32"} if weights != "float32" else {}
        data, named = config_json(config, kind) | computes, to_transformers_weights(model)
    card = model_card(model, name or folder.resolve().name, kind, facts, licence)
    return write_folder(
        folder, data, stored(named, weights), {PREPROCESSOR_FILE: preparation_of_waveforms(model, kind)}, card, weights
    )


def write_folder(
    folder: Path,
    config: dict[str, Any],
    table: dict[str, torch.Tensor],
    files: Mapping[str, Mapping[str, Any]],
    card: str,
    weights: str,
) -> Path:
    """Write a model's folder, config.json last: with it the folder is a model.

    Parameters
    ----------
    folder
        Where to write; an existing folder must contain no other model.
    config
        ``config.json``.
    table
        What `stored` returned.
    files
        Name to content of other JSON files.
    card
        ``README.md``.
    weights
        How the table is stored.

    Raises
    ------
    UserError
        If the folder contains another model.
    """
    data = as_written(config)
    _check_free(folder, data, table)
    with atomic_write(folder / WEIGHTS_FILE) as partial:
        write_stored(table, partial, weights)
    write_seals(folder, [WEIGHTS_FILE])
    for file, content in files.items():
        write_json(folder / file, content)
    write_text(folder / CARD_FILE, card)
    write_json(folder / CONFIG_FILE, data)
    return folder


def preparation_of_waveforms(model: SSLModel, kind: str | None) -> dict[str, Any]:
    """Return ``preprocessor_config.json`` of a model that is written as a type of transformers, or as ours (None)."""
    config = model.config
    group = kind is not None and isinstance(config.frontend, conv.Config) and config.frontend.norm == "group"
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": config.sample_rate,
        "padding_value": 0.0,
        "padding_side": "right",
        # A model of ours does this itself, as exactly as it was trained.
        "do_normalize": config.normalize and kind is not None,
        # transformers uses models with one group norm without a mask.
        "return_attention_mask": not group,
    }


def _check_free(folder: Path, data: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
    """Raise UserError if the folder contains another model; the same model may be written again."""
    found = [name for name in (CONFIG_FILE, WEIGHTS_FILE, *_OTHERS) if (folder / name).exists()]
    if folder.is_file() or (found and not _same(folder, data, weights)):
        raise UserError(
            f"the folder contains another model: {', '.join(found)}" if found else "this is a file",
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


_TEMPLATE = """---
library_name: {library}
tags: [audio, self-supervised, feature-extraction]
---
# {title}

{what}

| | |
|---|---|
| frontend, encoder | {frontend}, {encoder} |
| blocks, width | {layers}, {dim} |
| parameters | {parameters:,} |
| sample rate | {rate} Hz; resample other audio before |
| frames | {frames:g} per second, each from {window} samples |
| waveforms | {normalised} |
| fingerprint | {fingerprint} |

## Use

```python
import audio_ssl

model = audio_ssl.load("{name}")
```
{transformers}
## Licence

{licence}

## Where it comes from

{provenance}
"""

_TRANSFORMERS = """
or, {without}:

```python
{imported}from transformers import AutoFeatureExtractor, AutoModel

prepare = AutoFeatureExtractor.from_pretrained("{name}")
model = AutoModel.from_pretrained("{name}").eval()
inputs = prepare(waveform, sampling_rate={rate}, return_tensors="pt")
hidden_states = model(**inputs, output_hidden_states=True).hidden_states
```

{same}{caveat}
"""
_NATIVE = {
    "without": "without audio_ssl, with transformers (no remote code)",
    "imported": "",
    "same": "On one clip both give the same numbers.",
}
_OURS = {
    "without": "with transformers, which has no class for such a model and takes audio_ssl's",
    "imported": "import audio_ssl  # tells transformers of its models\n",
    "same": "Both give the same numbers, in padded batches as well.",
}
_CAVEAT = (
    " In a padded batch they differ: {why}, so a clip's features depend on the other clips of the batch. Give "
    "transformers clips of one length, or one at a time; audio_ssl leaves padding out."
)
_GROUP = "the norm of the first convolution runs over time, and transformers includes the padding"
_STACKED = "the second positional convolution reads what the first computed from the padding"
_UNSTATED = (
    "Not stated yet. Whoever publishes this model has to name the licence here and as `license:` in the lines at the "
    "top.\nThe licence must agree with those of the training audio and of any model it was made from."
)
_STATED = "Licence of the weights: {licence}. The training audio keeps its own licences, which are listed below."


def model_card(
    model: SSLModel, name: str, model_type: str | None, facts: Mapping[str, object] | None, licence: str | None
) -> str:
    """Return the text.

    Parameters
    ----------
    model
        The model.
    name
        Folder, or name on the hub.
    model_type
        Of transformers; None: it has none.
    facts
        Where the model comes from, as names and values; None: not known.
    licence
        Of the weights; None: not known.
    """
    config, grid = model.config, model.grid
    title = name.rsplit("/", 1)[-1]
    how = _OURS if model_type is None else _NATIVE
    caveat = _caveat(model, model_type)
    code = _TRANSFORMERS.format(name=name, rate=config.sample_rate, caveat=caveat, **how)
    return _TEMPLATE.format(
        library="audio_ssl" if model_type is None else "transformers",
        title=title,
        what=f"A model of audio that turns waveforms into frames, {_what(model, model_type)}.",
        frontend=kind_of(config.frontend),
        encoder=kind_of(config.encoder),
        layers=model.num_layers,
        dim=model.dim,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        rate=config.sample_rate,
        frames=config.sample_rate / grid.hop_samples,
        window=grid.window_samples,
        normalised="standardised, each to zero mean and unit variance" if config.normalize else "as they are",
        fingerprint=fingerprint(model),
        name=name,
        transformers=code,
        licence=licence_text(licence),
        provenance=facts_table(facts or {}),
    )


def licence_text(licence: str | None) -> str:
    """Return what a card says of the licence of the weights, where it is known or not."""
    return _UNSTATED if licence is None else _STATED.format(licence=licence)


def facts_table(facts: Mapping[str, object]) -> str:
    """Return the table of a card of where a model comes from."""
    rows = (f"| {key} | {value} |" for key, value in facts.items())
    return "\n".join(["| | |", "|---|---|", *rows]) if facts else "Not stated."


def _caveat(model: SSLModel, model_type: str | None) -> str:
    frontend = model.config.frontend
    if model_type is not None and isinstance(frontend, conv.Config) and frontend.norm == "group":
        return _CAVEAT.format(why=_GROUP)
    return _CAVEAT.format(why=_STACKED) if model_type == "data2vec-audio" else ""


def _what(model: SSLModel, model_type: str | None) -> str:
    names = {"hubert": "in the layout of HuBERT and wav2vec 2.0", "wavlm": "in the layout of WavLM"}
    if model_type is None:
        return "in the layout of audio_ssl"
    encoder = model.config.encoder
    size = "pre-LN" if isinstance(encoder, transformer.Config) and encoder.pre_norm else "post-LN"
    return f"{names.get(model_type, 'in the layout of data2vec audio')}, {size}"
