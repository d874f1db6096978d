"""Self-attention of all encoders: fused where torch can fuse it, with optional positions and relaxed logits.

Relaxed logits are PB-Relax (CogView, Ding et al. 2021, arXiv 2105.13290, section 2.4), which WavLM and MERT 330M name
as what keeps training in float16 from overflowing: the logits are made c times smaller *before* they are computed,
their maximum is taken away, and only then they are made large again. MERT's public code has the option but never
reaches it. Fused kernels keep their logits in float32, where nothing overflows; the relaxed path is explicit, needs the
memory of all logits, and bounds them in any type.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.encoders._fast_attention import attention
from audio_ssl.encoders._positions import Rotation, rotate
from audio_ssl.encoders._transformer_xl import DistanceScores
from audio_ssl.products import apply


class Context(NamedTuple):
    """What all blocks of one forward pass share."""

    inside: Tensor | None
    """``[batch, frame, 1]`` True at frames of the clip; None where nothing is padded."""

    keys: Tensor | None
    """``[batch, 1, 1, frame]`` True at frames that may be attended to; None lets attention take its fastest path."""

    bias: Tensor | None
    """``[head, frame, frame]`` relative positions before the gate, or with a first axis ``batch``; None: none."""

    rotation: Rotation | None
    """Of queries and keys; None: they are not turned."""

    spans: list[slice] | None = None
    """Where clips lie that are packed into one row; None: a row is a clip."""

    sinusoids: Tensor | None = None
    """``[frame, dim]`` of the distances between frames (Transformer-XL); None: not used."""

    def of(self, frames: int) -> Context:
        """Return the positions of a clip of that many frames, alone."""
        bias, turn = self.bias, self.rotation
        if bias is not None:
            bias = bias[..., :frames, :frames]
        if turn is not None:
            turn = (turn[0][:frames], turn[1][:frames])
        sinusoids = None if self.sinusoids is None else self.sinusoids[:frames]
        return Context(None, None, bias, turn, None, sinusoids)

    def at(self, places: Int[Tensor, "batch kept"]) -> Context:
        """Return the positions of the frames that lie at `places` of the whole clips."""
        bias, turn = self.bias, self.rotation
        if bias is not None:
            bias = bias[:, places[:, :, None], places[:, None, :]].transpose(0, 1)
        if turn is not None:
            turn = (turn[0][places][:, None], turn[1][places][:, None])
        return self._replace(bias=bias, rotation=turn)


class SelfAttention(nn.Module):
    """Multi-head attention; blocks derive from it, which keeps the names of published checkpoints' parts flat.

    Parameters
    ----------
    dim
        Width of the frames.
    heads
        Number of heads.
    dropout
        On the attention weights.
    relax
        The c of PB-Relax; None: fused attention.
    gated
        Gates the context's relative positions by the frame that asks (WavLM).
    bias
        Queries, keys and values have one; SpeechBrain's Conformer has none.
    distances
        Attention looks at the context's sinusoids of distances (Transformer-XL).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        dropout: float,
        relax: float | None,
        gated: bool,
        bias: bool = True,
        distances: bool = False,
    ) -> None:
        super().__init__()
        self._heads, self._attention_dropout, self._relax = heads, dropout, relax
        self.query, self.key = nn.Linear(dim, dim, bias=bias), nn.Linear(dim, dim, bias=bias)
        self.value, self.out = nn.Linear(dim, dim, bias=bias), nn.Linear(dim, dim)
        self.distances = DistanceScores(dim, heads) if distances else None
        self.gate = nn.Linear(dim // heads, 8) if gated else None
        self.gate_scale = nn.Parameter(torch.ones(1, heads, 1, 1)) if gated else None

    def attend(
        self, x: Float[Tensor, "batch frame dim"], context: Context, placed: Tensor | None = None
    ) -> Float[Tensor, "batch frame dim"]:
        """Return what each frame gathers from the frames of its clip.

        Parameters
        ----------
        x
            The frames.
        context
            What blocks share.
        placed
            Frames that know their places, of which queries and keys are made; None: `x`.
        """
        about = x if placed is None else placed
        query, key, value = apply(self.query, about), apply(self.key, about), apply(self.value, x)
        if context.spans is None:
            return apply(self.out, self._mix(context, x, query, key, value))
        mixed = [
            self._mix(context.of(span.stop - span.start), *(part[:, span] for part in (x, query, key, value)))
            for span in context.spans
        ]
        return apply(self.out, mixed[0] if len(mixed) == 1 else torch.cat(mixed, 1))

    def _mix(self, context: Context, x: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the mixed values of all heads, side by side."""
        query, key, value = self._split(query), self._split(key), self._split(value)
        if context.rotation is not None:
            query, key = rotate(query, context.rotation), rotate(key, context.rotation)
        bias = context.bias
        if bias is not None:
            bias = (bias if self.gate is None else self._gated(x, bias)).to(query.dtype)
        if self.distances is not None:
            assert context.sinusoids is not None
            query, apart = self.distances(query, context.sinusoids)
            bias = apart if bias is None else bias + apart
        dropout = self._attention_dropout if self.training else 0.0
        if self._relax is not None:
            mixed = relaxed_attention(query, key, value, context.keys, bias, self._relax, dropout)
        else:
            mask = context.keys
            if bias is not None:
                mask = bias if mask is None else torch.where(mask, bias, float("-inf"))
            mixed = attention(query, key, value, mask, dropout)
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self._heads, x.shape[-1] // self._heads).transpose(1, 2)

    def _gated(self, x: Tensor, bias: Tensor) -> Tensor:
        """Scale the bias by an update and a reset gate of the asking frame (WavLM)."""
        assert self.gate is not None
        assert self.gate_scale is not None
        gates = torch.sigmoid(torch.stack(self.gate(self._split(x)).split(4, -1), -1).sum(-2))
        update, reset = gates.chunk(2, dim=-1)
        return (update * (reset * self.gate_scale - 1.0) + 2.0) * bias


def relaxed_attention(
    query: Float[Tensor, "batch head frame dim"],
    key: Float[Tensor, "batch head frame dim"],
    value: Float[Tensor, "batch head frame dim"],
    keys: Tensor | None,
    bias: Tensor | None,
    relax: float,
    dropout: float,
) -> Float[Tensor, "batch head frame dim"]:
    """Attention whose logits s are computed as ``(s / c - max(s / c)) * c``: equal weights, c times the range.

    Parameters
    ----------
    query, key, value
        Of each head.
    keys
        True at frames that may be attended to, at least one per clip; None: all.
    bias
        Added to the logits after the maximum has gone.
    relax
        The c of PB-Relax.
    dropout
        On the attention weights.
    """
    small = (query * (query.shape[-1] ** -0.5 / relax)) @ key.transpose(-1, -2)
    if keys is not None:
        small = small.masked_fill(~keys, float("-inf"))
    # The maximum cancels in the softmax, so it needs no gradient.
    logits = (small - small.detach().amax(-1, keepdim=True)) * relax
    weights = (logits if bias is None else logits + bias).softmax(-1).to(value.dtype)
    return F.dropout(weights, dropout) @ value
