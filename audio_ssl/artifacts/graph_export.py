"""What an exported graph is and how exact: ``graph.json`` beside ``model.onnx`` or ``model.pt2``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.artifacts.records import absent, write_record
from audio_ssl.base.documents import JsonObject

GRAPH_RECORD_FILE = "graph.json"


@dataclass(frozen=True)
class GraphFile:
    """One graph, compared with the model it was made from, on noise and tones that a seed gives."""

    name: str
    """Of the file."""
    weights: str
    """``float32``, or ``int8`` for the products of the encoder."""
    file_bytes: int
    largest_difference: tuple[float, ...]
    """Of each hidden state: the largest difference of a number, over the state's largest number or 1, whichever is
    larger."""
    relative_error: tuple[float, ...]
    """Of each hidden state: the root mean square of the differences over that of the state."""


@dataclass(frozen=True)
class GraphExport:
    """A model as graphs: what a program must know to run them."""

    model: str
    """As it was named."""
    fingerprint: str
    format: str
    """``onnx`` or ``torch``."""
    sample_rate: int
    """Of the waveforms, in Hz; they need no other preparation."""
    hop_samples: int
    """From one frame to the next."""
    shortest_samples: int
    """Fewest samples on the axis of a batch; shorter clips are padded, and `lengths` says how long they are."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    files: tuple[GraphFile, ...]
    compared_samples: tuple[int, ...]
    """Lengths of the clips of the comparison: each alone, then all in one padded batch."""
    versions: dict[str, str]
    """Of the packages that wrote the graphs."""
    opset: int | None = absent(None)
    """Of ONNX."""
    more: JsonObject = field(default_factory=dict)


def write_graph_export(folder: Path, export: GraphExport) -> None:
    """Write what a folder of graphs holds."""
    write_record(folder / GRAPH_RECORD_FILE, export)
