"""A model made ready for inference: the same call, the same hidden states but for rounding, weights laid out once.

- ``float32``: as the model itself, with the positional convolution by Fourier transforms.
- ``bfloat16``: products of bfloat16 numbers; norms, softmax and residual paths stay float32. On a CPU without
  instructions for them the weights are those of bfloat16 and the sums are float32: no faster than ``float32``.
- ``float16``: the same on GPUs, which compute a convolutional frontend and a plain transformer in rows, see
  `audio_ssl.models.fast.unpadded`.

Hidden states are float32 in any precision, and do not depend on the batch.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.models.encoders.transformer import TransformerEncoder
from audio_ssl.models.fast import unpadded
from audio_ssl.models.fast.convolutions_by_piece import ColumnsLayer
from audio_ssl.models.fast.cpu import product
from audio_ssl.models.fast.positions import FEWEST_FRAMES, FourierPositions
from audio_ssl.models.frontends.conv import ConvFrontend
from audio_ssl.models.interfaces import check_point
from audio_ssl.models.model import ClipStatistics, ModelOutput, SSLModel
from audio_ssl.models.points import Point
from audio_ssl.models.positions import ConvPositions

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
        # On a CPU, `lower` has replaced the layers already.
        in_rows = device.type != "cpu" and unpadded.can_run_unpadded(model)
        self._rows = unpadded.UnpaddedModel(model, getattr(torch, precision)).to(device) if in_rows else None

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
        check_point(point, self.config.encoder)
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
        if device.type == "cpu" or not unpadded.can_run_unpadded(made):
            lower(made, precision, device)
    return PreparedModel(made, precision, device)


def _exact_convolutions() -> AbstractContextManager[None]:
    """Compute float32 convolutions in full precision, where newer GPUs would round to 10 bits (TF32)."""
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


_KEPT = ("gate",)
"""Linear layers too small to be worth it, by their last name."""


class HalfLinear(nn.Module):
    """A linear map in bfloat16 whose result is float32, or bfloat16 where products come next."""

    def __init__(self, weight: Tensor, bias: Tensor | None, wide: bool = True) -> None:
        super().__init__()
        self._weight = nn.Parameter(weight.bfloat16().contiguous(), requires_grad=False)
        self._bias = None if bias is None else nn.Parameter(bias.bfloat16(), requires_grad=False)
        self._wide = wide

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of frames."""
        y = product(x.bfloat16(), self._weight, self._bias)
        return y.float() if self._wide else y


def lower(model: SSLModel, precision: str, device: torch.device) -> None:
    """Replace layers of a model by those of a precision."""
    if device.type != "cpu":
        if precision != "float32":
            _convert(model, getattr(torch, precision))
        return
    if precision == "bfloat16" and not has_bfloat16():
        _round(model)
    elif precision != "float32":
        _swap(model)
    if isinstance(model.frontend, ConvFrontend):
        plain = model.frontend.layers_after_first()
        if precision == "bfloat16" and has_bfloat16():
            model.frontend.prepared = [ColumnsLayer.of(layer, HalfLinear) for layer in plain]
        else:
            model.frontend.prepared = list(plain)
    encoder = model.encoder
    positions = encoder.positions if isinstance(encoder, TransformerEncoder) else None
    if isinstance(positions, ConvPositions) and cast(nn.Conv1d, positions.conv).kernel_size[0] >= FEWEST_FRAMES:
        encoder.positions = FourierPositions(positions)


def has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 numbers faster than float32 ones."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _swap(model: SSLModel) -> None:
    """Replace linear layers by ones that compute in bfloat16."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and name not in _KEPT
    ]
    for parent, name, child in found:
        wide = name not in ("query", "key", "value")
        setattr(parent, name, HalfLinear(child.weight.detach(), child.bias, wide))


def _round(model: SSLModel) -> None:
    """Round the weights of products to bfloat16."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d)) and not parametrize.is_parametrized(module):
            module.weight = nn.Parameter(module.weight.bfloat16().float(), requires_grad=False)


def _convert(model: SSLModel, dtype: torch.dtype) -> None:
    """Store the weights of products in a dtype, in which autocast then finds them."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) and not parametrize.is_parametrized(module):
            module.to(dtype)
