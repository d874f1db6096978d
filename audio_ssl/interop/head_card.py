"""README.md of a model with a head: how the pipelines of transformers use it, what differs in padded batches."""

from __future__ import annotations

from collections.abc import Mapping

from audio_ssl.base.config import kind_of
from audio_ssl.interop.write import facts_table, licence_text
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import SSLModel

_TEMPLATE = """---
library_name: transformers
pipeline_tag: {task}
tags: [audio]
---
# {title}

{what}

| | |
|---|---|
| class in transformers | {architecture} |
| frontend, encoder | {frontend}, {encoder} |
| blocks, width | {layers}, {dim} |
| sample rate | {rate} Hz; the pipeline resamples other audio |

## Use

```python
{imported}from transformers import pipeline

{call}
```
{padding}
## Licence

{licence}

## Where it comes from

{provenance}
"""
_TASKS = {
    "automatic-speech-recognition": (
        "Speech recognition: the text of a clip, by CTC.",
        'recognise = pipeline("automatic-speech-recognition", "{name}")\n'
        'print(recognise({{"raw": waveform, "sampling_rate": {rate}}})["text"])',
    ),
    "audio-classification": (
        "Classes of a clip.",
        'classify = pipeline("audio-classification", "{name}")\n'
        'print(classify({{"raw": waveform, "sampling_rate": {rate}}}))',
    ),
}
_IMPORT = "import audio_ssl  # tells transformers of its models\n"
_CUT = """
Give the pipeline one clip at a time, as it does by itself. In a padded batch, transformers answers for frames of
padding as well: cut each clip's logits to its own frames before you decode them.
"""
_ALONE = """
Give the pipeline one clip at a time, as it does by itself, or clips of one length. In a padded batch, transformers
lets the padding into a clip's frames, so its answer depends on the other clips.
"""


def head_card(
    model: SSLModel,
    model_type: str | None,
    architecture: str,
    name: str,
    facts: Mapping[str, object],
    licence: str | None,
) -> str:
    """Return the text.

    Parameters
    ----------
    model
        The model below the head.
    model_type
        Of transformers; None: the class is ours.
    architecture
        The class: ``HubertForCTC`` and the like.
    name
        Of the folder.
    facts
        Where the model comes from, as names and values.
    licence
        Of the weights; None: not known.
    """
    config = model.config
    task = "automatic-speech-recognition" if architecture.endswith("ForCTC") else "audio-classification"
    what, call = _TASKS[task]
    padding = ""
    if model_type is not None:
        group = isinstance(config.frontend, conv.Config) and config.frontend.norm == "group"
        padding = _ALONE if group or model_type == "data2vec-audio" else _CUT if architecture.endswith("ForCTC") else ""
    return _TEMPLATE.format(
        task=task,
        title=name,
        what=what,
        architecture=architecture,
        frontend=kind_of(config.frontend),
        encoder=kind_of(config.encoder),
        layers=model.num_layers,
        dim=model.dim,
        rate=config.sample_rate,
        imported=_IMPORT if model_type is None else "",
        call=call.format(name=name, rate=config.sample_rate),
        padding=padding,
        licence=licence_text(licence),
        provenance=facts_table(facts),
    )
