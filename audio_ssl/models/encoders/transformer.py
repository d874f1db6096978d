"""Transformer encoder of wav2vec 2.0, HuBERT, MERT, WavLM and data2vec, exact under padding.

Post-LN (base), pre-LN (large) or DeepNorm; Baevski et al. 2020 (arXiv 2006.11477); Hsu et al. 2021 (arXiv 2106.07447).
Hidden state 0 is the input of the first block, hidden state n the output of block n; with pre-LN the last one has
passed the final layer norm, as in transformers. A state may be taken before the last residual sum instead
(`audio_ssl.models.points`).

It can leave masked frames out, as in data2vec 2.0 (Baevski et al. 2022, arXiv 2212.07525): convolutional positions come
from all frames with the masked ones zero, the blocks see the visible ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.base.errors import UserError, check_at_least, check_choice
from audio_ssl.base.versions import added
from audio_ssl.data.frames import frame_mask
from audio_ssl.models.attention import BlockContext, Relative, SelfAttention, check_attention, run_blocks, zero_padding
from audio_ssl.models.fast.cpu import Dropout, linear
from audio_ssl.models.interfaces import Encoder, EncoderTraits
from audio_ssl.models.padding import (
    Visible,
    hide,
    key_mask,
    may_pack,
    nothing_padded,
    pack,
    spans,
    take_visible,
    unpack,
)
from audio_ssl.models.points import Point
from audio_ssl.models.positions import ConvPositions, LinearBias, RelativePositions, StackedConvPositions, rotation

TRAITS = EncoderTraits(
    leaves_out=True,
    points=("output", "feed_forward"),
    heads=lambda config: config.heads,
    training=(
        *("dropout", "attention_dropout", "activation_dropout", "input_dropout", "layer_drop"),
        *("attention_relax", "checkpoint_activations", "projection_init"),
    ),
)


@dataclass(frozen=True)
class Config:
    """Sizes, positions and dropouts of the encoder."""

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

    deepnorm: bool = False
    """Post-LN with scaled residual paths and small first weights (DeepNet, Wang et al. 2022, arXiv 2203.00555)."""

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

    positions: str = "conv"
    """``conv`` (wav2vec 2.0), ``rope`` (RoFormer, Su et al. 2021, arXiv 2104.09864) or ``none``."""

    position_kernel_frames: int = 128
    """Kernel of the convolutional positions (wav2vec 2.0: 128; data2vec: 19)."""

    position_groups: int = 16
    """Groups of the convolutional positions."""

    position_layers: int = 1
    """Convolutions; above 1 each has a layer norm and no weight norm (wav2vec 2.0: 1; data2vec audio: 5)."""

    rope_base: float = 10000.0
    """Of the wavelengths of ``rope`` (RoFormer: 10000)."""

    relative_positions: Relative | None = None
    """Gated relative positions, beside the others (WavLM: 320 buckets); null: none."""

    alibi: bool = False
    """Bias of minus the distance, beside the positions, times a learnt factor per head (data2vec 2.0)."""

    attention_relax: float | None = None
    """The c of PB-Relax, against overflowing logits in float16 (MERT 330M, WavLM: 32); null: fused attention."""

    checkpoint_activations: bool = False
    """Compute each block again in the backward pass: less memory, a third more work."""

    feature_norm: bool = True
    """Layer norm of the features before the projection (DistilHuBERT: none)."""

    projection_init: str = added("normal")
    """First weights of the projection of the features: ``normal``, of deviation 0.02 as in the blocks, or ``torch``,
    as its Linear starts (wav2vec 2.0, HuBERT, MERT, WavLM, data2vec 1 and 2). A trained model has its own."""


class TransformerEncoder(Encoder):
    """Feature norm, projection, mask embedding, positions, blocks."""

    def __init__(self, config: Config, input_dim: int) -> None:
        super().__init__(config.dim, config.layers, config.layer_drop)
        self._config = config
        self.feature_norm = nn.LayerNorm(input_dim) if config.feature_norm else nn.Identity()
        self.projection = nn.Linear(input_dim, config.dim)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim).uniform_())
        self.positions = _positions(config)
        self.norm = nn.LayerNorm(config.dim)
        self.input_dropout, self.dropout = Dropout(config.input_dropout), Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.layers))
        for module in (self if config.projection_init == "normal" else self.blocks).modules():
            if isinstance(module, nn.Linear):
                # BERT's initialisation, as in fairseq.
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        relative = config.relative_positions
        self.relative = (
            None if relative is None else RelativePositions(config.heads, relative.buckets, relative.max_distance)
        )
        self.alibi = LinearBias(config.heads) if config.alibi else None
        if config.deepnorm:
            for block in self.blocks:
                cast(TransformerBlock, block).init_deepnorm((8 * config.layers) ** -0.25)

    def forward(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "row frame"] | None = None,
        visible: Visible | None = None,
        *,
        layers: int | None = None,
        point: Point = "output",
    ) -> list[Float[Tensor, "row kept dim"]]:
        """Return the input of the first block and the state of every block; see `Encoder.forward`."""
        if visible is None and may_pack(self, features):
            return self._packed(features, frames.tolist(), mask, layers, point)
        config = self._config
        x = self.input_dropout(self.projection(self.feature_norm(features)))
        embedding: Tensor = self.mask_embedding
        if visible is not None:
            clones = len(visible.frames) // len(frames)
            x, frames = x.repeat_interleave(clones, 0), frames.repeat_interleave(clones)
            embedding = torch.zeros_like(embedding)
        inside = frame_mask(frames, features.shape[1])[..., None]
        x = hide(x, mask, embedding, inside)
        if self.positions is not None:
            x = x + self.positions(x, inside)
        if visible is None:
            context = self._context(frames, inside)
        else:
            x = take_visible(x, visible)
            left = frame_mask(visible.frames, x.shape[1])[..., None]
            context = self._context(visible.frames, left, features.shape[1]).at(visible.places)
        x = self.dropout(x if config.pre_norm else self.norm(x))
        layer_drop = config.layer_drop if self.training else 0.0
        recompute = config.checkpoint_activations and self.training
        states = run_blocks(self.blocks[:layers], x, context, layer_drop, recompute, point)
        return zero_padding(self._finished(states, point), context)

    def alike(self) -> list[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)

    def closing(self) -> list[nn.Module]:
        """Return the norm after the last block, which a pre-LN encoder has."""
        return [self.norm] if self._config.pre_norm else []

    def _finished(self, states: list[Tensor], point: Point) -> list[Tensor]:
        """Return the states with the last output of a pre-LN encoder normalised."""
        if self._config.pre_norm and point == "output" and len(states) > self.num_layers:
            return [*states[:-1], self.norm(states[-1])]
        return states

    def _packed(
        self, features: Tensor, counts: list[int], mask: Tensor | None, layers: int | None, point: Point
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Do the same without gradients, on the clips' own frames in one row."""
        x = self.projection(self.feature_norm(pack(features, counts)))
        if mask is not None:
            x = torch.where(pack(mask, counts)[..., None], self.mask_embedding.to(x.dtype), x)
        places = spans(counts)
        if self.positions is not None and places:
            x = x + self.positions.packed(x, places)
        # The positions of the longest clip hold those of all.
        longest = max(1, *counts)
        context = self._place(longest, x.device)._replace(spans=places)
        x = x if self._config.pre_norm else self.norm(x)
        states = run_blocks(self.blocks[:layers] if places else (), x, context, 0.0, False, point)
        wanted = (self.num_layers if layers is None else layers) + 1
        states += states[-1:] * (wanted - len(states))
        return [unpack(state, counts, features.shape[1]) for state in self._finished(states, point)]

    def _context(self, frames: Tensor, inside: Tensor, total: int | None = None) -> BlockContext:
        """Return what blocks share; `total` is the number of places, if it is not that of the frames."""
        present = inside.shape[1]
        context = self._place(present if total is None else total, inside.device)
        if nothing_padded(inside):
            return context
        return BlockContext(inside, key_mask(frames, present), context.bias, context.rotation)

    def _place(self, places: int, device: torch.device) -> BlockContext:
        config, turn = self._config, None
        if config.positions == "rope":
            turn = rotation(places, config.dim // config.heads, config.rope_base, device)
        bias = next((part(places) for part in (self.relative, self.alibi) if part is not None), None)
        return BlockContext(None, None, bias, turn)


class TransformerBlock(SelfAttention):
    """Self-attention and feed-forward part, each with a residual path."""

    def __init__(self, config: Config) -> None:
        gated = config.relative_positions is not None
        super().__init__(config.dim, config.heads, config.attention_dropout, config.attention_relax, gated)
        self._pre_norm = config.pre_norm
        self._residual = (2 * config.layers) ** 0.25 if config.deepnorm else 1.0
        self.attention_norm, self.final_norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.inner, self.outer = nn.Linear(config.dim, config.ffn_dim), nn.Linear(config.ffn_dim, config.dim)
        self.dropout = Dropout(config.dropout)
        self.activation_dropout = Dropout(config.activation_dropout)

    def forward(
        self, x: Float[Tensor, "batch frame dim"], context: BlockContext, both: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the block's output, ``[batch, frame, dim]``; with `both` also that of its feed-forward part."""
        if self._pre_norm:
            x = x + self.dropout(self.attend(self.attention_norm(x), context))
            fed = self._feed(self.final_norm(x))
            x = x + self.dropout(fed)
        else:
            x = self.attention_norm(torch.add(self.dropout(self.attend(x, context)), x, alpha=self._residual))
            fed = self._feed(x)
            x = self.final_norm(torch.add(self.dropout(fed), x, alpha=self._residual))
        return (x, fed) if both else x

    def init_deepnorm(self, gain: float) -> None:
        """Start all but queries and keys `gain` times smaller (DeepNet, figure 2)."""
        for part in (self.query, self.key):
            nn.init.xavier_normal_(part.weight)
        for part in (self.value, self.out, self.inner, self.outer):
            nn.init.xavier_normal_(part.weight, gain=gain)

    def _feed(self, x: Tensor) -> Tensor:
        return linear(self.outer, self.activation_dropout(linear(self.inner, x, gelu=True)))


def _positions(config: Config) -> ConvPositions | StackedConvPositions | None:
    if config.positions != "conv":
        return None
    sizes = (config.dim, config.position_kernel_frames, config.position_groups)
    return (
        ConvPositions(*sizes) if config.position_layers == 1 else StackedConvPositions(*sizes, config.position_layers)
    )


def build(config: Config, input_dim: int) -> TransformerEncoder:
    """Make the encoder; UserError where sizes or options do not go together."""
    check_choice("positions", config.positions, ("conv", "rope", "none"))
    rotary = config.positions == "rope"
    check_attention(config.dim, config.heads, config.attention_relax, config.relative_positions, rotary)
    if config.positions == "conv" and config.dim % config.position_groups:
        raise UserError(f"`dim` {config.dim} must be a multiple of `position_groups` {config.position_groups}")
    check_choice("projection_init", config.projection_init, ("normal", "torch"))
    check_at_least(config, 1, "position_layers")
    if config.alibi and config.relative_positions is not None:
        raise UserError("`alibi` and `relative_positions` are both a bias by distance", remedy="give one of them")
    if config.pre_norm and config.deepnorm:
        raise UserError("`deepnorm` is post-LN, so `pre_norm` must be false with it", remedy="set one of them to false")
    return TransformerEncoder(config, input_dim)
