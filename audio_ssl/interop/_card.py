"""README.md of an exported model: what is known of it, and what its owner still has to say."""

from __future__ import annotations

from collections.abc import Mapping

from audio_ssl.config import kind_of
from audio_ssl.encoders import transformer
from audio_ssl.frontends import conv
from audio_ssl.model import SSLModel, fingerprint

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
or, without audio_ssl, with transformers (no remote code):

```python
from transformers import AutoFeatureExtractor, AutoModel

prepare = AutoFeatureExtractor.from_pretrained("{name}")
model = AutoModel.from_pretrained("{name}").eval()
inputs = prepare(waveform, sampling_rate={rate}, return_tensors="pt")
hidden_states = model(**inputs, output_hidden_states=True).hidden_states
```

On one clip both give the same numbers.{caveat}
"""
_CAVEAT = (
    " In a padded batch they do not: {why}, so that a clip's features depend on the clips beside it. Give transformers "
    "clips of one length, or one at a time; audio_ssl leaves padding out."
)
_GROUP = "the first convolution's norm runs over time, and transformers counts the padding in"
_STACKED = "the second of the convolutions for positions sees what the first made of the padding"
_UNSTATED = (
    "Not stated yet. Whoever publishes this model has to name the licence here and as `license:` in the lines at the "
    "top, and\nmay do so only as far as the audio it was trained on, and any model it came from, allow."
)
_STATED = "Of the weights: {licence}. The audio it was trained on keeps its own licences, which stand below."
LICENCE = "licence of the weights"
"""Among the facts, where it is known."""

_OURS_ONLY = """
Only audio_ssl opens this folder: transformers has no model with these parts.
"""


def card(model: SSLModel, name: str, model_type: str | None, facts: Mapping[str, object] | None) -> str:
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
    """
    config, grid = model.config, model.grid
    title = name.rsplit("/", 1)[-1]
    code = _TRANSFORMERS.format(name=name, rate=config.sample_rate, caveat=_caveat(model, model_type))
    known = "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in (facts or {}).items())])
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
        transformers=_OURS_ONLY if model_type is None else code,
        licence=_STATED.format(licence=facts[LICENCE]) if facts and LICENCE in facts else _UNSTATED,
        provenance=known if facts else "Not stated.",
    )


def _caveat(model: SSLModel, model_type: str | None) -> str:
    frontend = model.config.frontend
    if isinstance(frontend, conv.Config) and frontend.norm == "group":
        return _CAVEAT.format(why=_GROUP)
    return _CAVEAT.format(why=_STACKED) if model_type == "data2vec-audio" else ""


def _what(model: SSLModel, model_type: str | None) -> str:
    names = {"hubert": "in the layout of HuBERT and wav2vec 2.0", "wavlm": "in the layout of WavLM"}
    if model_type is None:
        return "in the layout of audio_ssl"
    encoder = model.config.encoder
    size = "pre-LN" if isinstance(encoder, transformer.Config) and encoder.pre_norm else "post-LN"
    return f"{names.get(model_type, 'in the layout of data2vec audio')}, {size}"
