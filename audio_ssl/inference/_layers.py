"""What `prepare` puts in the place of a model's layers."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from audio_ssl.encoders._positions import ConvPositions
from audio_ssl.encoders.transformer import TransformerEncoder
from audio_ssl.frontends._conv_inference import ColumnsLayer
from audio_ssl.frontends.conv import ConvFrontend
from audio_ssl.inference._positions import FEWEST_FRAMES, FourierPositions
from audio_ssl.model import SSLModel
from audio_ssl.products import product

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
    """Let linear layers compute in bfloat16."""
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
    """Give products the weights that bfloat16 can hold."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d)) and not parametrize.is_parametrized(module):
            module.weight = nn.Parameter(module.weight.bfloat16().float(), requires_grad=False)


def _convert(model: SSLModel, dtype: torch.dtype) -> None:
    """Store the weights of products in a dtype, in which autocast then finds them."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) and not parametrize.is_parametrized(module):
            module.to(dtype)
