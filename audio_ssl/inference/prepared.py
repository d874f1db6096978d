"""A model made ready for inference: the same call, the same hidden states but for rounding, weights laid out once.

- ``float32``: as the model itself, with the positional convolution by Fourier transforms.
- ``bfloat16``: products of bfloat16 numbers; norms, softmax and residual paths stay float32. On a CPU without
  instructions for them the weights are those of bfloat16 and the sums are float32: no faster than ``float32``.
- ``float16``: the same on GPUs, which compute a convolutional frontend and a plain transformer in rows, see
  `audio_ssl.inference._rows`.

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
from audio_ssl.inference._layers import lower
from audio_ssl.model import ClipStatistics, ModelOutput, SSLModel

Precision = Literal["float32", "bfloat16", "float16"]
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
        in_rows = device.type != "cpu" and _rows.fits(model)
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
        lowered = _HALVES.get(self.precision) if self.device.type != "cpu" else None
        with torch.autocast(self.device.type, lowered, enabled=lowered is not None):
            hidden, frames, features = self._model(waveform, lengths, mask, layers, statistics, point)
        return ModelOutput([state.float() for state in hidden], frames, features.float())


def prepare(model: SSLModel, precision: Precision, device: torch.device) -> PreparedModel:
    """Return a model ready for inference; the given one stays as it is, and shares weights that are not converted.

    Parameters
    ----------
    model
        Its weights must not change afterwards.
    precision
        ``float32``, ``bfloat16`` or ``float16`` (GPUs).
    device
        Where it runs.

    Raises
    ------
    UserError
        If the device has no such precision.
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


def check_precision(precision: str, device: torch.device) -> None:
    """Raise UserError where a device has no such precision."""
    known_precision(precision)
    if precision == "float16" and device.type == "cpu":
        raise UserError("`precision` float16 needs a GPU", remedy="on a CPU give precision=bfloat16")


def known_precision(precision: str, where: str | None = None) -> None:
    """Raise UserError for what is not a precision; `where` is the setting's path."""
    if precision == "int8":
        raise UserError(
            "`precision` must be float32, bfloat16 or float16, but is int8, which was removed: it was 1.27 times as "
            "fast as float32 and less exact",
            where=where,
            remedy="give precision=bfloat16, or leave it out for float32",
        )
    if precision not in get_args(Precision):
        raise unknown_name("precision", precision, get_args(Precision), where)
