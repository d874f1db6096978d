"""A model made ready for inference: the same call, the same hidden states but for rounding, weights laid out once.

- ``float32``: as the model itself, with the positional convolution by Fourier transforms.
- ``bfloat16``: products of bfloat16 numbers; norms, softmax and residual paths stay float32. On a CPU without
  instructions for them the weights are those of bfloat16 and the sums are float32: no faster than ``float32``.
- ``float16``: the same on GPUs, which compute a convolutional frontend and a plain transformer in rows, see
  `audio_ssl.inference._rows`.
- ``int8``: linear layers on CPUs, see `audio_ssl.inference._int8`; clip after clip, as each has scales of its own.
  Convolutions stay float32.

Hidden states are float32 in any precision, and do not depend on the batch.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.config import kind_of
from audio_ssl.encoders._points import Point, check_point
from audio_ssl.errors import UserError, unknown_name
from audio_ssl.inference import _rows
from audio_ssl.inference._int8 import engine
from audio_ssl.inference._layers import lower, swapped
from audio_ssl.model import ClipStatistics, ModelOutput, SSLModel

Precision = Literal["float32", "bfloat16", "float16", "int8"]
_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class PreparedModel(nn.Module):
    """Called like the `SSLModel` it was made from; without gradients. Made by `prepare`."""

    def __init__(self, model: SSLModel, precision: Precision, device: torch.device) -> None:
        super().__init__()
        self.precision, self.device = precision, device
        self.config, self.grid = model.config, model.grid
        self.num_layers, self.dim = model.num_layers, model.dim
        self.statistics = model.statistics
        self._model = model
        # Elsewhere than on a CPU, where `lower` has done its work.
        in_rows = device.type != "cpu" and precision != "int8" and _rows.fits(model)
        self._rows = _rows.RowsModel(model, getattr(torch, precision)).to(device) if in_rows else None

    @torch.inference_mode()
    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"] | None = None,
        mask: Bool[Tensor, "batch frame"] | None = None,
        layers: int | None = None,
        statistics: ClipStatistics | None = None,
        point: Point = "output",
    ) -> ModelOutput:
        """Encode a padded batch as `SSLModel.forward` does; hidden states are float32 on the device."""
        check_point(point, self._model.encoder, kind_of(self.config.encoder))
        waveform = waveform.to(self.device)
        if lengths is None:
            lengths = torch.full((len(waveform),), waveform.shape[1])
        with _exact_convolutions() if self.device.type == "cuda" else nullcontext():
            return self._forward(waveform, lengths, mask, layers, statistics, point)

    def _forward(
        self,
        waveform: Tensor,
        lengths: Tensor,
        mask: Tensor | None,
        layers: int | None,
        statistics: ClipStatistics | None,
        point: Point,
    ) -> ModelOutput:
        if self._rows is not None:
            output: ModelOutput = self._rows(waveform, lengths, mask, layers, statistics, point)
            return output
        lengths = lengths.to(self.device)
        if self.precision == "int8" and len(waveform) > 1:
            return self._one_by_one(waveform, lengths, mask, layers, statistics, point)
        lowered = _HALVES.get(self.precision) if self.device.type != "cpu" else None
        with torch.autocast(self.device.type, lowered, enabled=lowered is not None):
            hidden, frames, features = self._model(waveform, lengths, mask, layers, statistics, point)
        return ModelOutput([state.float() for state in hidden], frames, features.float())

    def _one_by_one(
        self,
        waveform: Tensor,
        lengths: Tensor,
        mask: Tensor | None,
        layers: int | None,
        statistics: ClipStatistics | None,
        point: Point,
    ) -> ModelOutput:
        frames, states = self.grid.num_frames(lengths), {}
        for row, (samples, count) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
            # A clip without frames has nothing to compute.
            if count or not bool(frames.any()):
                given = None if mask is None else mask[row : row + 1, :count]
                output = self._model(waveform[row : row + 1, :samples], None, given, layers, statistics, point)
                states[row] = [*output.hidden, output.features]
        total = int(self.grid.num_frames(waveform.shape[1]))
        layers_of_rows = zip(*states.values(), strict=True)
        hidden = [_padded(dict(zip(states, rows, strict=True)), len(frames), total) for rows in layers_of_rows]
        return ModelOutput(hidden[:-1], frames, hidden[-1])


def prepare(model: SSLModel, precision: Precision, device: torch.device) -> PreparedModel:
    """Return a model ready for inference; the given one stays as it is, and shares weights that are not converted.

    Parameters
    ----------
    model
        Its weights must not change afterwards.
    precision
        ``float32``, ``bfloat16``, ``float16`` (GPUs) or ``int8`` (CPUs).
    device
        Where it runs.

    Raises
    ------
    UserError
        If the device or the model has no such precision.
    """
    check_precision(precision, device)
    shared = {id(parameter): parameter for parameter in model.parameters()} if device.type == "cpu" else {}
    with torch.no_grad():
        made = copy.deepcopy(model, shared).eval().to(device)
        if device.type == "cpu" or not _rows.fits(made):
            lower(made, precision, device)
    return PreparedModel(made, precision, device)


def _exact_convolutions() -> AbstractContextManager[None]:
    """Let convolutions in float32 have all their bits, of which newer GPUs else take 10."""
    cudnn = torch.backends.cudnn
    kept: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )
    return kept


def check_precision(precision: str, device: torch.device, model: SSLModel | None = None) -> None:
    """Raise UserError where a device, or a model, has no such precision."""
    if precision not in get_args(Precision):
        raise unknown_name("precision", precision, get_args(Precision))
    if precision == "float16" and device.type == "cpu":
        raise UserError("`precision` float16 needs a GPU", remedy="on a CPU give precision=bfloat16 or precision=int8")
    if precision == "int8" and device.type != "cpu":
        raise UserError("`precision` int8 is for CPUs", remedy="on a GPU give precision=bfloat16 or precision=float16")
    if precision == "int8" and engine() is None:
        raise UserError(
            "this build of torch has no quantised products", remedy="give precision=float32 or precision=bfloat16"
        )
    if precision == "int8" and model is not None:
        swapped(model, precision)


def _padded(rows: dict[int, Tensor], count: int, total: int) -> Tensor:
    first = next(iter(rows.values()))
    out = first.new_zeros(count, total, first.shape[2])
    for number, row in rows.items():
        out[number, : row.shape[1]] = row[0]
    return out
