"""A model captured as one graph of plain operations, for any number of clips of any lengths."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from audio_ssl.base.config import kind_of
from audio_ssl.base.errors import UserError
from audio_ssl.interop.graphs.spectra import make_portable
from audio_ssl.models.encoders.gru import GRUEncoder
from audio_ssl.models.interfaces import Frontend
from audio_ssl.models.model import SSLModel

INPUTS = ("waveform", "lengths")
BLOCKS = "_model.encoder.blocks."
"""Begins the name of what is inside an encoder's blocks."""
LONGEST_SECONDS = 24 * 3600
"""Of a clip; a limit that a graph's shapes are proved for."""
MOST_CLIPS = 4096
_EXAMPLE_SECONDS = 1.7


class GraphModel(nn.Module):
    """A copy of a model with positional arguments and plain tensors for results.

    Parameters
    ----------
    model
        The model; it stays as it is.
    """

    def __init__(self, model: SSLModel) -> None:
        super().__init__()
        if isinstance(model.encoder, GRUEncoder):
            kind = kind_of(model.config.encoder)
            raise UserError(
                f"a {kind} encoder computes one frame after the other, which a graph of any length cannot hold",
                remedy="export it with `--to transformers`",
            )
        self._model = copy.deepcopy(model).float().cpu().eval()
        make_portable(self._model)
        _make_plain(self._model)
        self.shortest_samples = _shortest(model)
        self.sample_rate = model.config.sample_rate
        self.outputs = (*(f"hidden_{layer}" for layer in range(model.num_layers + 1)), "frames")

    def forward(self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]) -> tuple[Tensor, ...]:
        """Return all hidden states, ``[batch, frame, dim]`` each and zero past a clip's frames, and the frames."""
        # One frame more: the length is then a multiple of the hop but for a constant, whatever the caller's is, so that
        # counts of frames which the parts make in their own ways are proved to be equal.
        grid = self._model.grid
        total = grid.num_frames(waveform.shape[1])
        more = total * grid.hop_samples + grid.num_samples(1) - waveform.shape[1]
        hidden, frames, _ = self._model(F.pad(waveform, (0, more)), lengths)
        return (*(state[:, :total] for state in hidden), frames)


def capture(model: GraphModel) -> torch.export.ExportedProgram:
    """Return the graph of a model, with the number of clips and of samples left open.

    Raises
    ------
    UserError
        If a part of the model cannot be captured; it says what torch said.
    """
    samples = max(2 * model.shortest_samples, round(_EXAMPLE_SECONDS * model.sample_rate))
    waveform = torch.zeros(2, samples)
    lengths = torch.tensor([samples, samples - samples // 3])
    with quietly(), torch.no_grad():
        try:
            return torch.export.export(model, (waveform, lengths), dynamic_shapes=open_shapes(model), strict=False)
        # Errors of many kinds, which have no common class.
        except Exception as error:
            raise UserError(
                f"torch cannot capture this model as a graph: {str(error).strip().splitlines()[0]}",
                remedy="export it with `--to transformers`",
            ) from error


def open_shapes(model: GraphModel) -> tuple[dict[int, object], dict[int, object]]:
    """Return which axes of the inputs are open, and how far."""
    clips = torch.export.Dim("clips", min=1, max=MOST_CLIPS)
    samples = torch.export.Dim("samples", min=model.shortest_samples, max=LONGEST_SECONDS * model.sample_rate)
    return {0: clips, 1: samples}, {0: clips}


def _make_plain(module: nn.Module) -> None:
    """Replace, in place, convolutions whose weights are computed at every call by ones that have them."""
    for name, child in list(module.named_children()):
        if not parametrize.is_parametrized(child):
            _make_plain(child)
            continue
        # Removing the parametrization would change the class, which the original shares.
        conv = cast(nn.Conv1d, child)
        sizes = (conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0])
        plain = nn.Conv1d(*sizes, conv.padding[0], groups=conv.groups)
        plain.load_state_dict({"weight": conv.weight.detach(), "bias": cast(Tensor, conv.bias).detach()})
        setattr(module, name, plain)


def _shortest(model: SSLModel) -> int:
    """Return the samples of two frames, of the frontend as of its parts: code for one frame is code for one only."""
    grids = [module.grid for module in model.frontend.modules() if isinstance(module, Frontend)]
    return max(grid.num_samples(2) for grid in grids)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what torch's exporters say of themselves off the terminal."""
    # onnxruntime's advice on quantisation goes to the root.
    names = (None, "torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
