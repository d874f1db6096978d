"""Self-attention of all encoders, how their blocks are run, and checks of their sizes.

Attention is torch's fused kernel where there is one, with optional positions and relaxed logits. Relaxed logits are
PB-Relax (CogView, Ding et al. 2021, arXiv 2105.13290, section 2.4), which WavLM and MERT 330M use against overflow in
float16: the logits are divided by c *before* they are computed, their maximum is subtracted, and only then they are
multiplied by c. MERT's public code has the option but never reaches it. Fused kernels keep their logits in float32,
where nothing overflows. The relaxed path is explicit, needs the memory of all logits, and bounds them in any type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from audio_ssl.base.errors import UserError
from audio_ssl.models.fast.cpu import attention_with_dropout, linear
from audio_ssl.models.points import Point
from audio_ssl.models.positions import DistanceScores, Rotation, rotate


class BlockContext(NamedTuple):
    """What all blocks of one forward pass share."""

    inside: Tensor | None
    """``[batch, frame, 1]`` True at frames of the clip; None where nothing is padded."""

    keys: Tensor | None
    """``[batch, 1, 1, frame]`` True at frames that may be attended to; None lets attention take its fastest path."""

    bias: Tensor | None
    """``[head, frame, frame]`` relative positions before the gate, or with a first axis ``batch``; None: none."""

    rotation: Rotation | None
    """Rotation of queries and keys; None: they are not rotated."""

    spans: list[slice] | None = None
    """Where clips lie that are packed into one row; None: a row is a clip."""

    sinusoids: Tensor | None = None
    """``[frame, dim]`` of the distances between frames (Transformer-XL); None: not used."""

    def of(self, frames: int) -> BlockContext:
        """Return the positions of a clip of that many frames, alone."""
        bias, turn = self.bias, self.rotation
        if bias is not None:
            bias = bias[..., :frames, :frames]
        if turn is not None:
            turn = (turn[0][:frames], turn[1][:frames])
        sinusoids = None if self.sinusoids is None else self.sinusoids[:frames]
        return BlockContext(None, None, bias, turn, None, sinusoids)

    def at(self, places: Int[Tensor, "batch kept"]) -> BlockContext:
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
        self, x: Float[Tensor, "batch frame dim"], context: BlockContext, placed: Tensor | None = None
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
        query, key, value = linear(self.query, about), linear(self.key, about), linear(self.value, x)
        if context.spans is None:
            return linear(self.out, self._mix(context, x, query, key, value))
        mixed = [
            self._mix(context.of(span.stop - span.start), *(part[:, span] for part in (x, query, key, value)))
            for span in context.spans
        ]
        return linear(self.out, mixed[0] if len(mixed) == 1 else torch.cat(mixed, 1))

    def _mix(self, context: BlockContext, x: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
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
            mixed = attention_with_dropout(query, key, value, mask, dropout)
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


def run_blocks(
    blocks: Iterable[nn.Module],
    x: Float[Tensor, "batch frame dim"],
    context: BlockContext,
    layer_drop: float,
    recompute: bool,
    point: Point = "output",
) -> list[Float[Tensor, "batch frame dim"]]:
    """Return the first block's input and every block's state.

    Parameters
    ----------
    blocks
        Called with the frames and the context; with True after them they also return what their feed-forward part gave.
    x
        Input of the first.
    context
        What they share.
    layer_drop
        Chance that a block is skipped; its output is then its input, so the number of states stays.
    recompute
        Keep only each block's input for the backward pass and compute the rest again, with the same dropout.
    point
        Where a block's state is taken. A skipped block has added nothing, so at ``feed_forward`` it gives zeros.
    """
    states = [x]
    asked = () if point == "output" else (True,)
    for block in blocks:
        skipped = layer_drop > 0 and bool(torch.rand(()) < layer_drop)
        if skipped:
            given: Any = (x, torch.zeros_like(x)) if asked else x
        elif recompute and torch.is_grad_enabled():
            given = checkpoint(block, x, context, *asked, use_reentrant=False)
        else:
            given = block(x, context, *asked)
        x, state = given if asked else (given, given)
        states.append(state)
    return states


def zero_padding(states: list[Tensor], context: BlockContext) -> list[Tensor]:
    """Return the states with zeros past each clip's frames."""
    inside = context.inside
    return states if inside is None else [torch.where(inside, state, 0.0) for state in states]


@dataclass(frozen=True)
class Relative:
    """Gated relative positions (WavLM, Chen et al. 2021, arXiv 2110.13900)."""

    buckets: int = 320
    """Buckets of distances, both directions together (WavLM: 320)."""

    max_distance: int = 1280
    """Frames from which on distances share a bucket (WavLM's code: 1280; its checkpoints: 800)."""


def check_attention(dim: int, heads: int, relax: float | None, relative: Relative | None, rotary: bool) -> None:
    """Raise UserError for heads, relaxation or positions that do not fit together."""
    if heads < 1 or dim % heads:
        raise UserError(f"`dim` {dim} must be a multiple of `heads` {heads}")
    if rotary and (dim // heads) % 2:
        raise UserError(
            f"`dim` / `heads` must be even for `positions: rope`, but is {dim // heads}", remedy="give other `heads`"
        )
    if relax is not None and not relax >= 1:
        raise UserError(f"`attention_relax` must be at least 1, but is {relax:g}", remedy="32 is usual; null is off")
    if relative is not None and (relative.buckets < 4 or relative.buckets % 4):
        raise UserError(f"`relative_positions.buckets` must be a multiple of 4, but is {relative.buckets}")
    if relative is not None and relative.max_distance <= relative.buckets // 4:
        raise UserError(
            f"`relative_positions.max_distance` must be above a quarter of `buckets`, {relative.buckets // 4}, but is "
            f"{relative.max_distance}"
        )
