"""The README.md beside a graph: how to run it, what goes in and comes out, and how exact it is."""

from __future__ import annotations

from collections.abc import Mapping

from audio_ssl.artifacts.graph_export import GraphExport, GraphFile
from audio_ssl.base.config import kind_of
from audio_ssl.models.model import SSLModel

_TEMPLATE = """# {name}

A model of audio as a graph of plain operations: waveforms go in, the hidden states of all layers come out. It needs no
audio_ssl.

| | |
|---|---|
| frontend, encoder | {frontend}, {encoder} |
| blocks, width | {layers}, {dim} |
| sample rate | {rate} Hz, mono; resample other audio before |
| frames | one each {hop} samples, {frames:g} per second |
| fingerprint | {fingerprint} |

## Use

```python
{code}
```

- `waveform` is `[batch, sample]`, float32, from -1 to 1, with at least {shortest} samples. Clips of several lengths are
  padded with anything at the end.
- `lengths` is `[batch]`, int64: the samples of each clip. What lies past them has no influence.
- `hidden_0` is the input of the first block, `hidden_{layers}` the output of the last. Each is `[batch, frame, {dim}]`,
  zero past a clip's frames. `frames` is `[batch]`.
- Waveforms are {normalised}.

## How exact

Compared with the model in PyTorch on {clips} clips of {lengths} samples, each alone and all in one padded batch.

{table}

The largest difference is that of one number, over the largest number of its layer or 1. The error is the root mean
square of all differences over that of the numbers. Both are those of the worst layer.

## Where it comes from

{provenance}
"""

_HEADER = ("| file | MB | largest difference | error of all numbers |", "|---|---|---|---|")
_ONNX = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
waveform = np.zeros((1, {rate}), np.float32)  # one second of audio
lengths = np.array([waveform.shape[1]])
(states,) = session.run(["hidden_{layers}"], {{"waveform": waveform, "lengths": lengths}})"""

_TORCH = """import torch

model = torch.export.load("{file}").module()
waveform = torch.zeros(1, {rate})  # one second of audio
*hidden, frames = model(waveform, torch.tensor([waveform.shape[1]]))"""


def graph_card(model: SSLModel, record: GraphExport, facts: Mapping[str, str]) -> str:
    """Return the text.

    Parameters
    ----------
    model
        What the graph was made from.
    record
        What is known of the graph.
    facts
        Where the model comes from, as names and values; empty: not known.
    """
    config, code = model.config, _ONNX if record.format == "onnx" else _TORCH
    rows = [f"| {key} | {value} |" for key, value in facts.items()]
    return _TEMPLATE.format(
        name=record.model,
        frontend=kind_of(config.frontend),
        encoder=kind_of(config.encoder),
        layers=model.num_layers,
        dim=model.dim,
        rate=record.sample_rate,
        hop=record.hop_samples,
        frames=record.sample_rate / record.hop_samples,
        fingerprint=record.fingerprint,
        code=code.format(file=record.files[0].name, rate=record.sample_rate, layers=model.num_layers),
        shortest=record.shortest_samples,
        normalised="standardised in the graph, each to zero mean and unit variance"
        if config.normalize
        else "used as they are",
        clips=len(record.compared_samples),
        lengths=f"{min(record.compared_samples)} to {max(record.compared_samples)}",
        table="\n".join([*_HEADER, *map(_row, record.files)]),
        provenance="\n".join(["| | |", "|---|---|", *rows]) if rows else "Not stated.",
    )


def _row(file: GraphFile) -> str:
    worst, error = max(file.largest_difference), max(file.relative_error)
    return f"| {file.name} ({file.weights}) | {file.file_bytes / 1e6:.1f} | {worst:.1e} | {100 * error:.2g} % |"
