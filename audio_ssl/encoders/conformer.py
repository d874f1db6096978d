"""Conformer encoder, as in MusicFM, MuQ and w2v-BERT, exact under padding.

Gulati et al. 2020 (arXiv 2005.08100): half a feed-forward part, attention, convolution, another half, layer norm.
MusicFM (Won et al. 2023, arXiv 2311.03318) and MuQ (Zhu et al. 2025, arXiv 2501.01108) train 12 blocks of 1024 by
BEST-RQ (Chiu et al. 2022, arXiv 2202.01855). The convolution's batch norm, whose statistics depend on padding and on
the batch, is a layer norm here, as in w2v-BERT 2.0. Rotation acts on queries and keys as in RoFormer; the transformers
model that MusicFM and MuQ use rotates the frames before they are projected. Their last layer norm after all blocks is
left out: it would follow the last block's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.encoders._attention import Context, SelfAttention
from audio_ssl.encoders._blocks import cut, run_blocks
from audio_ssl.encoders._checks import Relative, check_attention
from audio_ssl.encoders._fast_dropout import Dropout
from audio_ssl.encoders._frames import frame_mask, hide, key_mask
from audio_ssl.encoders._packed import may_pack
from audio_ssl.encoders._positions import RelativePositions, rotation
from audio_ssl.errors import UserError


@dataclass(frozen=True)
class Config:
    """Sizes, positions and dropouts of the encoder; the defaults are those of MusicFM and MuQ."""

    layers: int = 12
    """Blocks (MusicFM, MuQ: 12)."""

    dim: int = 1024
    """Width of the hidden states (MusicFM, MuQ: 1024)."""

    ffn_dim: int = 4096
    """Width inside each half feed-forward part (4 x dim)."""

    heads: int = 16
    """Attention heads (width 64 each, as in wav2vec 2.0 Conformer large)."""

    kernel_frames: int = 31
    """Kernel of the depthwise convolution, odd (MusicFM, MuQ: 31; Gulati et al.: 32)."""

    dropout: float = 0.1
    """On each part's output (Gulati et al.: 0.1)."""

    attention_dropout: float = 0.1
    """On the attention weights."""

    activation_dropout: float = 0.1
    """Inside the feed-forward parts (Gulati et al.: 0.1)."""

    input_dropout: float = 0.1
    """On the projected features."""

    layer_drop: float = 0.0
    """Chance that a block is skipped in training; the number of hidden states stays."""

    positions: str = "rope"
    """``rope`` (RoFormer, Su et al. 2021, arXiv 2104.09864) or ``none``; the convolutions tell neighbours apart."""

    rope_base: float = 10000.0
    """Of the wavelengths of ``rope`` (RoFormer: 10000)."""

    relative_positions: Relative | None = None
    """Gated relative positions (WavLM, Chen et al. 2021, arXiv 2110.13900), beside the others; null: none."""

    attention_relax: float | None = None
    """The c of PB-Relax, against overflowing logits in float16 (32); null: fused attention."""

    checkpoint_activations: bool = False
    """Compute each block again in the backward pass: less memory, a third more work."""


class ConformerEncoder(nn.Module):
    """Feature norm, projection, mask embedding, blocks."""

    def __init__(self, config: Config, input_dim: int) -> None:
        super().__init__()
        self.dim, self.num_layers = config.dim, config.layers
        self._config = config
        self.feature_norm = nn.LayerNorm(input_dim)
        self.projection = nn.Linear(input_dim, config.dim)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim).uniform_())
        self.input_dropout = Dropout(config.input_dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        relative = config.relative_positions
        self.relative = (
            None if relative is None else RelativePositions(config.heads, relative.buckets, relative.max_distance)
        )

    def forward(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch frame"] | None = None,
        layers: int | None = None,
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Return the input of the first block and the output of `layers` blocks (None: all), zero past each clip."""
        config, total = self._config, features.shape[1]
        inside = frame_mask(frames, total)[..., None]
        if may_pack(self, features) and not bool(inside.all()):
            return self._clip_by_clip(features, frames, mask, layers)
        x = self.input_dropout(self.projection(self.feature_norm(features)))
        x = hide(x, mask, self.mask_embedding, inside)
        turn = None
        if config.positions == "rope":
            turn = rotation(total, config.dim // config.heads, config.rope_base, x.device)
        padded = not bool(inside.all())
        bias = None if self.relative is None else self.relative(total)
        context = Context(inside if padded else None, key_mask(frames, total) if padded else None, bias, turn)
        layer_drop = config.layer_drop if self.training else 0.0
        recompute = config.checkpoint_activations and self.training
        states = run_blocks(self.blocks[:layers], x, context, layer_drop, recompute)
        return cut(states, context)

    def _clip_by_clip(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch frame"] | None,
        layers: int | None,
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Do the same without padding, which on a CPU then costs nothing and changes no bit."""
        total = features.shape[1]
        depth = len(self.blocks) if layers is None else layers
        states = [features.new_zeros(len(features), total, self.dim) for _ in range(depth + 1)]
        for row, count in enumerate(frames.tolist()):
            if count:
                own = None if mask is None else mask[row : row + 1, :count]
                found = self(features[row : row + 1, :count], frames[row : row + 1], own, layers)
                for state, part in zip(states, found, strict=True):
                    state[row, :count] = part[0]
        return states


class Block(SelfAttention):
    """Half a feed-forward part, self-attention, convolution, half a feed-forward part, layer norm."""

    def __init__(self, config: Config) -> None:
        gated = config.relative_positions is not None
        super().__init__(config.dim, config.heads, config.attention_dropout, config.attention_relax, gated)
        self.first, self.second = FeedForward(config), FeedForward(config)
        self.attention_norm, self.final_norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.convolution = Convolution(config.dim, config.kernel_frames)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "batch frame dim"], context: Context) -> Float[Tensor, "batch frame dim"]:
        """Return the block's output."""
        x = torch.add(x, self.dropout(self.first(x)), alpha=0.5)
        x = x + self.dropout(self.attend(self.attention_norm(x), context))
        x = x + self.dropout(self.convolution(x, context.inside))
        x = torch.add(x, self.dropout(self.second(x)), alpha=0.5)
        return cast(Tensor, self.final_norm(x))


class FeedForward(nn.Module):
    """Layer norm, wide layer with swish, narrow layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.inner, self.outer = nn.Linear(config.dim, config.ffn_dim), nn.Linear(config.ffn_dim, config.dim)
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """Return what the residual path gets, before its dropout and half."""
        return cast(Tensor, self.outer(self.dropout(F.silu(self.inner(self.norm(x))))))


class Convolution(nn.Module):
    """Layer norm, gated linear unit, depthwise convolution over the clip's own frames, layer norm, swish, layer."""

    def __init__(self, dim: int, kernel_frames: int) -> None:
        super().__init__()
        self.norm, self.depthwise_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.gated, self.out = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.depthwise = nn.Conv1d(dim, dim, kernel_frames, padding=kernel_frames // 2, groups=dim, bias=False)

    def forward(self, x: Float[Tensor, "batch frame dim"], inside: Tensor | None) -> Float[Tensor, "batch frame dim"]:
        """Return what the residual path gets; `inside` is None where nothing is padded."""
        y = F.glu(self.gated(self.norm(x)), dim=-1)
        if inside is not None:
            y = torch.where(inside, y, 0.0)
        y = self.depthwise(y.transpose(1, 2)).transpose(1, 2)
        return cast(Tensor, self.out(F.silu(self.depthwise_norm(y))))


def build(config: Config, input_dim: int) -> ConformerEncoder:
    """Make the encoder; UserError where sizes or options do not go together."""
    if config.positions not in ("rope", "none"):
        raise UserError(f"`positions` must be rope or none, but is `{config.positions}`")
    rotary = config.positions == "rope"
    check_attention(config.dim, config.heads, config.attention_relax, config.relative_positions, rotary)
    if config.kernel_frames < 1 or config.kernel_frames % 2 == 0:
        raise UserError(f"`kernel_frames` must be odd, but is {config.kernel_frames}", remedy="31 is usual")
    return ConformerEncoder(config, input_dim)
