"""Attention with dropout on its weights, for training on a CPU.

torch's ``scaled_dot_product_attention`` has no fast way on a CPU where weights are dropped: it keeps three matrices of
weights per layer and draws slowly. This keeps one matrix and a byte per weight. Scores and softmax are float32 also
where the rest is bfloat16. Without dropout, and elsewhere, it is torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.encoders._fast_dropout import draw_kept, is_fast, share


def attention(
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
    if not is_fast(query, dropout):
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
        ctx.bias, ctx.scale = (None if bias is None else (bias.shape, bias.dtype)), 1 / (1 - share(dropout))
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
