"""Transformer encoder of wav2vec 2.0, HuBERT and MERT, post-LN (base) or pre-LN (large), exact under padding.

Baevski et al. 2020 (arXiv 2006.11477); Hsu et al. 2021 (arXiv 2106.07447). Hidden state 0 is the input of the first
block, hidden state n the output of block n; with pre-LN the last one has passed the final layer norm, as in
transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.encoders._positions import ConvPositions, frame_mask
from audio_ssl.errors import UserError


@dataclass(frozen=True)
class Config:
    """Sizes and dropouts of the encoder."""

    layers: int = 12
    """Blocks (base: 12, large: 24)."""

    dim: int = 768
    """Width of the hidden states (base: 768, large: 1024)."""

    ffn_dim: int = 3072
    """Width inside the feed-forward part (4 x dim)."""

    heads: int = 12
    """Attention heads (base: 12, large: 16)."""

    pre_norm: bool = False
    """Layer norm before each part (large) or after it (base)."""

    dropout: float = 0.1
    """On the input and on each part's output (base: 0.1)."""

    attention_dropout: float = 0.1
    """On the attention weights (base: 0.1)."""

    activation_dropout: float = 0.0
    """Inside the feed-forward part (base: 0)."""

    input_dropout: float = 0.1
    """On the projected features (fairseq dropout_input; base: 0.1)."""

    layer_drop: float = 0.05
    """Chance that a block is skipped in training (base: 0.05); the number of hidden states stays."""

    position_kernel_frames: int = 128
    """Kernel of the convolutional positions."""

    position_groups: int = 16
    """Groups of the convolutional positions."""


class TransformerEncoder(nn.Module):
    """Feature norm, projection, mask embedding, convolutional positions, blocks."""

    def __init__(self, config: Config, input_dim: int) -> None:
        super().__init__()
        self.dim, self.num_layers = config.dim, config.layers
        self._pre_norm, self._layer_drop = config.pre_norm, config.layer_drop
        self.feature_norm = nn.LayerNorm(input_dim)
        self.projection = nn.Linear(input_dim, config.dim)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim).uniform_())
        self.positions = ConvPositions(config.dim, config.position_kernel_frames, config.position_groups)
        self.norm = nn.LayerNorm(config.dim)
        self.input_dropout, self.dropout = nn.Dropout(config.input_dropout), nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # BERT's initialisation, as in fairseq.
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch frame"] | None = None,
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Return the input of the first block and the output of every block, zero past each clip's frames."""
        inside = frame_mask(frames, features.shape[1])[..., None]
        x = self.input_dropout(self.projection(self.feature_norm(features)))
        if mask is not None:
            x = torch.where(mask[..., None], self.mask_embedding.to(x.dtype), x)
        x = torch.where(inside, x, 0.0)
        x = x + self.positions(x)
        x = self.dropout(x if self._pre_norm else self.norm(x))
        # None lets attention take its fastest path when nothing is padded.
        keys = None if bool(inside.all()) else inside[:, None, None, :, 0]
        states = [x]
        for block in self.blocks:
            if not (self.training and self._layer_drop > 0 and torch.rand(()) < self._layer_drop):
                x = block(x, keys)
            states.append(x)
        if self._pre_norm:
            states[-1] = self.norm(states[-1])
        return [torch.where(inside, state, 0.0) for state in states]


class Block(nn.Module):
    """Self-attention and feed-forward part, each with a residual path."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._heads, self._pre_norm = config.heads, config.pre_norm
        self._attention_dropout = config.attention_dropout
        self.query, self.key = nn.Linear(config.dim, config.dim), nn.Linear(config.dim, config.dim)
        self.value, self.out = nn.Linear(config.dim, config.dim), nn.Linear(config.dim, config.dim)
        self.attention_norm, self.final_norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.inner, self.outer = nn.Linear(config.dim, config.ffn_dim), nn.Linear(config.ffn_dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)

    def forward(self, x: Float[Tensor, "batch frame dim"], keys: Tensor | None) -> Float[Tensor, "batch frame dim"]:
        """Return the block's output; `keys` is True at frames that may be attended to."""
        if self._pre_norm:
            x = x + self.dropout(self._attend(self.attention_norm(x), keys))
            return cast(Tensor, x + self.dropout(self._feed(self.final_norm(x))))
        x = self.attention_norm(x + self.dropout(self._attend(x, keys)))
        return cast(Tensor, self.final_norm(x + self.dropout(self._feed(x))))

    def _attend(self, x: Tensor, keys: Tensor | None) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        dropout = self._attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys, dropout_p=dropout)
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))

    def _feed(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.outer(self.activation_dropout(F.gelu(self.inner(x)))))


def build(config: Config, input_dim: int) -> TransformerEncoder:
    """Make the encoder; UserError where sizes do not divide."""
    if config.dim % config.heads:
        raise UserError(f"`dim` {config.dim} must be a multiple of `heads` {config.heads}")
    if config.dim % config.position_groups:
        raise UserError(f"`dim` {config.dim} must be a multiple of `position_groups` {config.position_groups}")
    return TransformerEncoder(config, input_dim)
