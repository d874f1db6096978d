"""Products, dropout and attention that are faster than torch's on a CPU.

**Products** without gradients. torch's linear layers copy the bias first and then add the product to it. oneDNN does
both at once, and GELU too while the result is in registers: 3 to 8 % of a product of the base model's size.

**Dropout**. On a CPU, torch draws a float64 for every element, one after the other: with attention over 5 s of audio
that is an eighth of a training step in bfloat16. Here every 64 random bits decide over four elements. Elsewhere, and
where nothing is dropped, this is torch's own.

**Attention with dropout on its weights**, in training. torch's ``scaled_dot_product_attention`` has no fast way on a
CPU where weights are dropped: it keeps three matrices of weights per layer and draws slowly. This keeps one matrix and
a byte per weight. Scores and softmax are float32 also where the rest is bfloat16. Without dropout, and elsewhere, it is
torch's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
_ONEDNN = _ONEDNN and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def is_inference(x: Tensor) -> bool:
    """Return whether a tensor lies on a CPU and needs no gradient."""
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


def linear(layer: nn.Module, x: Float[Tensor, "*axes inputs"], gelu: bool = False) -> Float[Tensor, "*axes dim"]:
    """Return a layer's output, then GELU if asked for; as a `product` if it is a plain linear layer without hooks."""
    if not is_inference(x):
        y = cast(Tensor, layer(x))
        return F.gelu(y) if gelu else y
    if type(layer) is nn.Linear and not layer._forward_hooks and not layer._forward_pre_hooks:
        return product(x, layer.weight, layer.bias, gelu)
    y = cast(Tensor, layer(x))
    return gelu_(y) if gelu else y


_STEPS = 2**16


def dropout_share(p: float) -> float:
    """Return the chance that is really used: the nearest multiple of 1 / 65536.

    Examples
    --------
    >>> dropout_share(0.5)
    0.5
    >>> abs(dropout_share(0.1) - 0.1) < 1e-5
    True
    """
    return round(p * _STEPS) / _STEPS


def draw_kept(shape: Sequence[int], p: float) -> Shaped[Tensor, ...]:
    """Return a tensor of `shape` on the CPU, False with the chance ``dropout_share(p)``, from torch's own generator."""
    total = torch.Size(shape).numel()
    words = torch.empty((total + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return (words.view(torch.int16)[:total] >= round(p * _STEPS) - _STEPS // 2).view(*shape)


def drops_fast(x: Tensor, p: float) -> bool:
    """Return whether the faster dropout is used."""
    return x.device.type == "cpu" and 0 < p < 1 and not torch.compiler.is_compiling()


class Dropout(nn.Dropout):
    """``nn.Dropout``, faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements in training and scale up the others."""
        if not self.training or not drops_fast(x, self.p):
            return F.dropout(x, self.p, self.training)
        dropped = _Dropout.apply(x, self.p)  # type: ignore[no-untyped-call]
        assert isinstance(dropped, Tensor)
        return dropped


class _Dropout(torch.autograd.Function):
    """Keeps one byte per element for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept = draw_kept(x.shape, p)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - dropout_share(p))
        return (x * kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (grad * kept).mul_(ctx.scale), None


def attention_with_dropout(
    query: Float[Tensor, "batch head frame part"],
    key: Float[Tensor, "batch head key part"],
    value: Float[Tensor, "batch head key part"],
    bias: Shaped[Tensor, ...] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch head frame part"]:
    """Return the mixed values of all heads.

    Parameters
    ----------
    query, key, value
        Of one shape but for the number of frames.
    bias
        Broadcast to ``[batch, head, frame, key]``: True where a key may be seen, or added to the scores.
    dropout
        Chance that a weight is dropped; 0 outside training.
    """
    if not drops_fast(query, dropout):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    if bias is not None and bias.dtype == torch.bool:
        # The lowest number, not -inf: a frame that may see nothing gets the mean and not NaN.
        lowest = torch.finfo(torch.float32).min
        bias = torch.zeros(bias.shape).masked_fill_(~bias, lowest)
    with torch.autocast("cpu", enabled=False):
        mixed = _Attention.apply(query, key, value, bias, dropout)  # type: ignore[no-untyped-call]
    assert isinstance(mixed, Tensor)
    return mixed


class _Attention(torch.autograd.Function):
    """Softmax of scaled products, dropout, and the product with the values."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
        wide = torch.promote_types(query.dtype, torch.float32)
        scores = (query.to(wide) * query.shape[-1] ** -0.5) @ key.to(wide).transpose(-2, -1)
        if bias is not None:
            scores += bias
        weights = torch.softmax(scores, -1, out=scores).to(value.dtype)
        kept = draw_kept(weights.shape, dropout)
        ctx.save_for_backward(query, key, value, weights, kept)
        ctx.bias, ctx.scale = (None if bias is None else (bias.shape, bias.dtype)), 1 / (1 - dropout_share(dropout))
        return ((weights * kept) @ value).mul_(ctx.scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, kept = ctx.saved_tensors
        grad = grad * ctx.scale
        for_value = (weights * kept).transpose(-2, -1) @ grad
        for_weights = (grad @ value.transpose(-2, -1)).mul_(kept)
        scores = torch.ops.aten._softmax_backward_data(for_weights, weights, -1, weights.dtype)
        for_bias = None
        if ctx.needs_input_grad[3]:
            shape, dtype = ctx.bias
            for_bias = scores.float().sum_to_size(shape).to(dtype)
        scores.mul_(query.shape[-1] ** -0.5)
        return scores @ key, scores.transpose(-2, -1) @ query, for_value, for_bias, None
