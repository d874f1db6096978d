"""Products of frames with weights on a CPU where nothing is learnt, asked for in the way that is fastest.

torch's linear layers copy the bias first and then add the product to it; oneDNN does both at once, and GELU too while
the result is in registers: 3 to 8 % of a product of the base model's size.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
_ONEDNN = _ONEDNN and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def is_inference(x: Tensor) -> bool:
    """Return whether a tensor lies on a CPU and nothing is learnt from it."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def gelu_(x: Tensor) -> Tensor:
    """Replace the values of a contiguous tensor by their GELU (torch 2.9 writes others to the wrong places)."""
    done: Tensor = torch.ops.aten.gelu_(x)
    return done


def product(
    x: Float[Tensor, "*axes inputs"], weight: Float[Tensor, "dim inputs"], bias: Tensor | None, gelu: bool = False
) -> Float[Tensor, "*axes dim"]:
    """Return the linear map of frames, then GELU if asked for; `is_inference` holds."""
    if _ONEDNN and x.dtype == weight.dtype == torch.float32 and x.numel():
        done: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none")
        return done
    y = F.linear(x, weight, bias)
    return gelu_(y) if gelu else y


def apply(layer: nn.Module, x: Float[Tensor, "*axes inputs"], gelu: bool = False) -> Float[Tensor, "*axes dim"]:
    """Return a layer's output, then GELU if asked for; as a `product` if it is a plain linear layer without hooks."""
    if not is_inference(x):
        y = cast(Tensor, layer(x))
        return F.gelu(y) if gelu else y
    if type(layer) is nn.Linear and not layer._forward_hooks and not layer._forward_pre_hooks:
        return product(x, layer.weight, layer.bias, gelu)
    y = cast(Tensor, layer(x))
    return gelu_(y) if gelu else y
