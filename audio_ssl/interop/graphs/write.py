"""Writes a model as a folder with its graph, a record and a card; the graph is compared with the model first."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import torch

from audio_ssl.artifacts.graph_export import GRAPH_RECORD_FILE, GraphExport, GraphFile, write_graph_export
from audio_ssl.base.catalog import optional_packages
from audio_ssl.base.checksums import write_seals
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write, write_text
from audio_ssl.base.progress import Progress
from audio_ssl.interop.graphs.agreement import TOLERANCE, Graph, compare, compared_lengths
from audio_ssl.interop.graphs.capture import INPUTS, GraphModel, capture, quietly
from audio_ssl.interop.graphs.card import graph_card
from audio_ssl.models.model import SSLModel, fingerprint

ONNX_FILE, INT8_FILE, TORCH_FILE = "model.onnx", "model.int8.onnx", "model.pt2"
_MINE = frozenset((ONNX_FILE, INT8_FILE, TORCH_FILE, GRAPH_RECORD_FILE, "README.md", "files.json"))


def export_onnx(
    model: SSLModel,
    folder: Path,
    *,
    name: str,
    int8: bool = False,
    opset: int | None = None,
    facts: Mapping[str, str] | None = None,
) -> GraphExport:
    """Write ``model.onnx``, its record and a card; with `int8` also ``model.int8.onnx``.

    Inputs are ``waveform`` ``[batch, sample]``, float32, and ``lengths`` ``[batch]``, int64; outputs are ``hidden_0``
    and so on, ``[batch, frame, dim]``, and ``frames`` ``[batch]``. Clips, samples and frames may be any number.

    Parameters
    ----------
    model
        The model.
    folder
        Where to write; no other model may be in it.
    name
        Of the model, for record and card.
    int8
        Write a graph of integer products beside the float32 one.
    opset
        Version of ONNX's operators; None: the oldest that can be written, which most runtimes read.
    facts
        Names and values for the card's section on where the model comes from.

    Raises
    ------
    UserError
        If the model has no such graph, a package is missing, the opset is too old, or a number of the float32 graph
        differs from the model's by more than `TOLERANCE`.
    """
    with optional_packages("export to ONNX"):
        # What torch's exporter writes operators with.
        import_module("onnxscript")
        from audio_ssl.interop.graphs.onnx import OLDEST_OPSET, check_opset, open_onnx, write_int8, write_onnx

    opset = OLDEST_OPSET if opset is None else opset
    check_opset(opset)
    _check_free(folder)
    graph = GraphModel(model)
    about = {
        "fingerprint": fingerprint(model),
        "sample_rate": str(graph.sample_rate),
        "hop_samples": str(model.grid.hop_samples),
        "shortest_samples": str(graph.shortest_samples),
    }
    with tempfile.TemporaryDirectory(prefix="audio_ssl-") as work, Progress("writing the graph", total=4) as progress:
        program = capture(graph)
        progress.advance()
        first = Path(work) / ONNX_FILE
        write_onnx(program, graph, first, opset, about)
        progress.advance()
        made = {ONNX_FILE: ("float32", first)}
        if int8:
            made[INT8_FILE] = ("int8", Path(work) / INT8_FILE)
            write_int8(first, made[INT8_FILE][1])
        progress.advance()
        record = _record(model, graph, name, "onnx", made, lambda path: open_onnx(path, torch.get_num_threads()), opset)
        progress.advance()
        _write(folder, model, record, made, facts)
    return record


def export_torch(model: SSLModel, folder: Path, *, name: str, facts: Mapping[str, str] | None = None) -> GraphExport:
    """Write ``model.pt2``, its record and a card: what `torch.export.load` opens without this package.

    Parameters
    ----------
    model, folder, name, facts
        As of `export_onnx`; so are inputs and outputs.

    Raises
    ------
    UserError
        As of `export_onnx`.
    """
    _check_free(folder)
    graph = GraphModel(model)
    with tempfile.TemporaryDirectory(prefix="audio_ssl-") as work, Progress("writing the graph", total=2) as progress:
        path = Path(work) / TORCH_FILE
        torch.export.save(capture(graph), path)
        progress.advance()
        made = {TORCH_FILE: ("float32", path)}
        record = _record(model, graph, name, "torch", made, _open_torch)
        progress.advance()
        _write(folder, model, record, made, facts)
    return record


def _open_torch(path: Path) -> Graph:
    with quietly():
        module = torch.export.load(path).module()
    return lambda waveform, lengths: module(waveform, lengths)


def _record(
    model: SSLModel,
    graph: GraphModel,
    name: str,
    form: str,
    made: Mapping[str, tuple[str, Path]],
    open_graph: Callable[[Path], Graph],
    opset: int | None = None,
) -> GraphExport:
    """Compare every graph with the model, and return what is known of them."""
    lengths = compared_lengths(graph.shortest_samples, graph.sample_rate)
    files = []
    for file, (weights, path) in made.items():
        found = compare(model, open_graph(path), lengths)
        worst = max(found.largest_difference)
        if weights == "float32" and not worst <= TOLERANCE:
            raise UserError(
                f"the graph's hidden states differ from the model's by {worst:.1e} of their largest number, and "
                f"{TOLERANCE:g} is allowed; nothing was written",
                remedy="export it with `--to transformers`",
            )
        files.append(GraphFile(file, weights, path.stat().st_size, *found))
    packages = ("torch", "onnx", "onnxruntime", "onnxscript") if form == "onnx" else ("torch",)
    return GraphExport(
        model=name,
        fingerprint=fingerprint(model),
        format=form,
        sample_rate=graph.sample_rate,
        hop_samples=model.grid.hop_samples,
        shortest_samples=graph.shortest_samples,
        inputs=INPUTS,
        outputs=graph.outputs,
        files=tuple(files),
        compared_samples=lengths,
        versions={package: version(package) for package in packages},
        opset=opset,
    )


def _check_free(folder: Path) -> None:
    """Raise UserError if the folder holds anything but an earlier export of a graph."""
    if folder.is_file():
        raise UserError("this is a file", where=str(folder), remedy="give an empty or new folder")
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in found if name not in _MINE and not name.startswith(".")]
    if others or (found and "README.md" in found and GRAPH_RECORD_FILE not in found):
        raise UserError(
            f"the folder contains something else: {', '.join((others or found)[:5])}",
            where=str(folder),
            remedy="give an empty or new folder",
        )


def _write(
    folder: Path,
    model: SSLModel,
    record: GraphExport,
    made: Mapping[str, tuple[str, Path]],
    facts: Mapping[str, str] | None,
) -> None:
    for name in _MINE - made.keys() - {"README.md"}:
        (folder / name).unlink(missing_ok=True)
    for file, (_, path) in made.items():
        with atomic_write(folder / file, needed_bytes=path.stat().st_size) as partial:
            shutil.copyfile(path, partial)
    write_seals(folder, list(made))
    write_text(folder / "README.md", graph_card(model, record, facts or {}))
    # Written last: with it the folder is an export.
    write_graph_export(folder, record)
