"""A captured graph as ONNX, for onnxruntime and other runtimes; with integer products if asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.interop.graphs.agreement import Graph
from audio_ssl.interop.graphs.capture import BLOCKS, INPUTS, GraphModel, quietly

OLDEST_OPSET = 18
"""That torch's exporter writes; all runtimes of the last three years read it."""

_MOST_BYTES = 2**31 - 2**20
"""Of weights in one file; ONNX's format ends at 2 GB."""


def check_opset(opset: int) -> None:
    """Raise UserError for an opset that cannot be written or run."""
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise UserError(
            f"`opset` must be {OLDEST_OPSET} to {newest}, but is {opset}", remedy=f"`--opset {OLDEST_OPSET}` is usual"
        )


def write_onnx(
    program: torch.export.ExportedProgram, model: GraphModel, path: Path, opset: int, facts: Mapping[str, str]
) -> None:
    """Write a graph.

    Parameters
    ----------
    program
        Of `capture`.
    model
        What was captured.
    path
        The file; it is written in place, so give a temporary one.
    opset
        Version of ONNX's operators.
    facts
        Names and values that the file carries as metadata.

    Raises
    ------
    UserError
        If the opset or the size of the model is not possible, or an operation has no counterpart in ONNX.
    """
    check_opset(opset)
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if size > _MOST_BYTES:
        raise UserError(
            f"the weights have {size / 2**30:.1f} GiB, and a file of ONNX holds 2",
            remedy="export it with `--to torch` or `--to transformers`",
        )
    with quietly():
        try:
            made = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=opset,
                input_names=list(INPUTS),
                output_names=list(model.outputs),
                verbose=False,
            )
        # Errors of many kinds, which have no common class.
        except Exception as error:
            raise UserError(
                f"torch cannot write this model as ONNX: {str(error).strip().splitlines()[0]}",
                remedy="export it with `--to torch` or `--to transformers`",
            ) from error
    assert made is not None
    proto = made.model_proto
    for axis_of in (*proto.graph.input, *proto.graph.output):
        _name_axes(axis_of)
    for name, value in facts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = name, value
    onnx.save(proto, path)


def _name_axes(value: onnx.ValueInfoProto) -> None:
    """Give the axes of an input or output names that say what they are, in place of formulas."""
    names = {INPUTS[0]: ("batch", "sample"), INPUTS[1]: ("batch",), "frames": ("batch",)}
    axes = value.type.tensor_type.shape.dim
    for axis, name in zip(axes, names.get(value.name, ("batch", "frame")), strict=False):
        axis.ClearField("dim_value")
        axis.dim_param = name


def write_int8(source: Path, path: Path) -> None:
    """Write a graph in which the blocks' products of frames and weights are of 8-bit integers.

    Weights are rounded once, each output by its own scale; frames when they are computed, by one scale a product.
    Spectra, convolutions, the projection of the features and attention stay as they are.

    Parameters
    ----------
    source
        A float32 graph.
    path
        The file to write, in place.
    """
    with quietly():
        # Seven bits of weights: processors without VNNI instructions add pairs of products in 16 bits, which overflow.
        quantize_dynamic(
            source,
            path,
            nodes_to_quantize=_linear_layers(onnx.load(source)),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


def _linear_layers(model: onnx.ModelProto) -> list[str]:
    """Return the names of the products of frames and weights in the encoder's blocks."""
    weights = {one.name for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and weights.intersection(node.input) and BLOCKS in _scopes(node)
    ]


def _scopes(node: onnx.NodeProto) -> str:
    """Return the modules that an operation was in, as torch's exporter writes them."""
    return next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"), "")


def open_onnx(path: Path, threads: int) -> Graph:
    """Return a graph as onnxruntime runs it on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Warnings of the optimiser about what it leaves as it is.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(waveform: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        given = {INPUTS[0]: waveform.numpy(), INPUTS[1]: lengths.numpy()}
        return [torch.from_numpy(value) for value in session.run(None, given)]

    return run
