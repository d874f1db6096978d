"""Conformer encoder, as in MusicFM, MuQ and w2v-BERT, exact under padding.

Gulati et al. 2020 (arXiv 2005.08100): half a feed-forward part, attention, convolution, another half, layer norm.
MusicFM (Won et al. 2023, arXiv 2311.03318) and MuQ (Zhu et al. 2025, arXiv 2501.01108) train 12 blocks of 1024 by
BEST-RQ (Chiu et al. 2022, arXiv 2202.01855), with transformers' ``Wav2Vec2ConformerEncoder``; SpeechBrain trains
BEST-RQ (Whetten et al. 2024, arXiv 2405.04296) with a Conformer of its own. Both differ in norms, biases and positions
from w2v-BERT 2.0's, whose convolution has a layer norm, which knows neither padding nor the batch: see `form`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_choice
from audio_ssl.base.versions import added
from audio_ssl.data.frames import frame_mask
from audio_ssl.models.attention import BlockContext, Relative, SelfAttention, check_attention, run_blocks, zero_padding
from audio_ssl.models.fast.cpu import Dropout
from audio_ssl.models.interfaces import Encoder, EncoderTraits
from audio_ssl.models.normalisation import BatchNorm
from audio_ssl.models.padding import Visible, hide, key_mask, may_pack, nothing_padded
from audio_ssl.models.points import Point
from audio_ssl.models.positions import RelativePositions, rotate, rotation, sinusoids_of

TRAITS = EncoderTraits(
    points=("output", "feed_forward"),
    heads=lambda config: config.heads,
    training=(
        *("dropout", "attention_dropout", "activation_dropout", "input_dropout", "layer_drop"),
        *("attention_relax", "checkpoint_activations"),
    ),
)

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"swish": F.silu, "gelu": F.gelu}
FORMS = ("w2v_bert", "muq", "speechbrain", "wav2vec2")
_BATCH_NORMED = ("muq", "wav2vec2")
"""Forms by transformers' Wav2Vec2-Conformer."""
POSITIONS = ("rope", "transformer_xl", "none")


@dataclass(frozen=True)
class Config:
    """Sizes, positions and dropouts of the encoder; the default sizes are those of MusicFM and MuQ."""

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

    form: str = added("w2v_bert")
    """Whose norms, biases and first weights: ``w2v_bert`` (w2v-BERT 2.0: a norm and a projection of the features, layer
    norm in the convolutions); ``muq`` (MusicFM and MuQ, by transformers' Wav2Vec2-Conformer: neither, batch norm in the
    convolutions, a norm after all blocks, ``rope`` before queries and keys are made, torch's first weights);
    ``wav2vec2`` (wav2vec 2.0 Conformer: as ``muq``, with a norm and a projection of the features); or ``speechbrain``
    (its BEST-RQ: a projection without norm, a norm after all blocks, biases in the convolutions and not in queries,
    keys and values, no dropout after attention, Xavier normal weights)."""

    activation: str = added("swish")
    """``swish`` (Gulati et al.) or ``gelu`` (SpeechBrain's BEST-RQ), in feed-forward parts and convolutions."""

    positions: str = "rope"
    """``rope`` (RoFormer, Su et al. 2021, arXiv 2104.09864), ``transformer_xl`` (Dai et al. 2019, arXiv 1901.02860, as
    in SpeechBrain) or ``none``; the convolutions tell neighbours apart."""

    rope_base: float = 10000.0
    """Of the wavelengths of ``rope`` (RoFormer: 10000)."""

    relative_positions: Relative | None = None
    """Gated relative positions (WavLM, Chen et al. 2021, arXiv 2110.13900), beside the others; null: none."""

    attention_relax: float | None = None
    """The c of PB-Relax, against overflowing logits in float16 (32); null: fused attention."""

    checkpoint_activations: bool = False
    """Compute each block again in the backward pass: less memory, a third more work."""


class ConformerEncoder(Encoder):
    """Feature norm, projection, mask embedding, blocks."""

    def __init__(self, config: Config, input_dim: int) -> None:
        super().__init__(config.dim, config.layers, config.layer_drop)
        self._config = config
        form = config.form
        self.feature_norm = nn.LayerNorm(input_dim) if form in ("w2v_bert", "wav2vec2") else nn.Identity()
        self.projection = nn.Identity() if form == "muq" else nn.Linear(input_dim, config.dim)
        eps = 1e-6 if form == "speechbrain" else 1e-5
        self.last_norm = None if form == "w2v_bert" else nn.LayerNorm(config.dim, eps=eps)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim).uniform_())
        self.input_dropout = Dropout(config.input_dropout)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))
        start_weights(self, config.form)
        relative = config.relative_positions
        self.relative = (
            None if relative is None else RelativePositions(config.heads, relative.buckets, relative.max_distance)
        )

    def forward(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch frame"] | None = None,
        visible: Visible | None = None,
        *,
        layers: int | None = None,
        point: Point = "output",
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Return the input of the first block and the state of every block; see `Encoder.forward`."""
        assert visible is None, "refused by the checks of a recipe"
        config, total = self._config, features.shape[1]
        inside = frame_mask(frames, total)[..., None]
        padded = not nothing_padded(inside)
        if may_pack(self, features) and padded:
            return self._clip_by_clip(features, frames, mask, layers, point)
        x = self.input_dropout(self.projection(self.feature_norm(features)))
        x = hide(x, mask, self.mask_embedding, inside)
        turn = None
        if config.positions == "rope":
            turn = rotation(total, config.dim // config.heads, config.rope_base, x.device)
        bias = None if self.relative is None else self.relative(total)
        far = sinusoids_of(total, config.dim, x.device) if config.positions == "transformer_xl" else None
        keys = key_mask(frames, total) if padded else None
        context = BlockContext(inside if padded else None, keys, bias, turn, sinusoids=far)
        layer_drop = config.layer_drop if self.training else 0.0
        recompute = config.checkpoint_activations and self.training
        states = run_blocks(self.blocks[:layers], x, context, layer_drop, recompute, point)
        if self.last_norm is not None and point == "output" and len(states) > self.num_layers:
            states[-1] = self.last_norm(states[-1])
        return zero_padding(states, context)

    def _clip_by_clip(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch frame"] | None,
        layers: int | None,
        point: Point,
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Do the same without padding, which on a CPU then costs nothing and changes no bit."""
        total = features.shape[1]
        depth = len(self.blocks) if layers is None else layers
        states = [features.new_zeros(len(features), total, self.dim) for _ in range(depth + 1)]
        for row, count in enumerate(frames.tolist()):
            if count:
                own = None if mask is None else mask[row : row + 1, :count]
                found = self(features[row : row + 1, :count], frames[row : row + 1], own, layers=layers, point=point)
                for state, part in zip(states, found, strict=True):
                    state[row, :count] = part[0]
        return states

    def alike(self) -> list[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)

    def closing(self) -> list[nn.Module]:
        """Return the norm after the last block, if there is one."""
        return [] if self.last_norm is None else [self.last_norm]


class ConformerBlock(SelfAttention):
    """Half a feed-forward part, self-attention, convolution, half a feed-forward part, layer norm."""

    def __init__(self, config: Config) -> None:
        gated, plain = config.relative_positions is not None, config.form == "speechbrain"
        distances = config.positions == "transformer_xl"
        super().__init__(
            config.dim, config.heads, config.attention_dropout, config.attention_relax, gated, not plain, distances
        )
        self.first, self.second = FeedForward(config), FeedForward(config)
        self.attention_norm, self.final_norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.convolution = Convolution(config)
        self._turns_frames = config.form in _BATCH_NORMED
        self.dropout = Dropout(config.dropout)
        self.after_attention = nn.Identity() if plain else self.dropout

    def forward(
        self, x: Float[Tensor, "batch frame dim"], context: BlockContext, both: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the block's output, ``[batch, frame, dim]``; with `both` also that of its last feed-forward part."""
        x = torch.add(x, self.dropout(self.first(x)), alpha=0.5)
        x = x + self.after_attention(self._attended(self.attention_norm(x), context))
        x = x + self.dropout(self.convolution(x, context.inside))
        fed = self.second(x)
        x = self.final_norm(torch.add(x, self.dropout(fed), alpha=0.5))
        return (x, fed) if both else x

    def _attended(self, x: Tensor, context: BlockContext) -> Tensor:
        if not self._turns_frames or context.rotation is None:
            return self.attend(x, context)
        placed = rotate(self._split(x), context.rotation).transpose(1, 2).flatten(2)
        return self.attend(x, context._replace(rotation=None), placed)


class FeedForward(nn.Module):
    """Layer norm, wide layer, activation, narrow layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.inner, self.outer = nn.Linear(config.dim, config.ffn_dim), nn.Linear(config.ffn_dim, config.dim)
        self.dropout = Dropout(config.activation_dropout)
        self._activate = ACTIVATIONS[config.activation]

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """Return what the residual path gets, before its dropout and half."""
        return cast(Tensor, self.outer(self.dropout(self._activate(self.inner(self.norm(x))))))


class Convolution(nn.Module):
    """Layer norm, gated linear unit, depthwise convolution over the clip's frames, norm, activation, layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim, kernel, bias = config.dim, config.kernel_frames, config.form == "speechbrain"
        self.norm = nn.LayerNorm(dim)
        self.depthwise_norm: nn.Module = BatchNorm(dim) if config.form in _BATCH_NORMED else nn.LayerNorm(dim)
        self.gated, self.out = nn.Linear(dim, 2 * dim, bias=bias), nn.Linear(dim, dim, bias=bias)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=bias)
        self._activate = ACTIVATIONS[config.activation]

    def forward(self, x: Float[Tensor, "batch frame dim"], inside: Tensor | None) -> Float[Tensor, "batch frame dim"]:
        """Return what the residual path gets; `inside` is None where nothing is padded."""
        y = F.glu(self.gated(self.norm(x)), dim=-1)
        if inside is not None:
            y = torch.where(inside, y, 0.0)
        y = self.depthwise(y.transpose(1, 2))
        if isinstance(self.depthwise_norm, BatchNorm):
            y = self.depthwise_norm(y, None if inside is None else inside.transpose(1, 2))
            # Before the axes change: torch 2.14 captures no graph of open length that activates a transposed tensor.
            y = self._activate(y).transpose(1, 2)
        else:
            y = self._activate(self.depthwise_norm(y.transpose(1, 2)))
        return cast(Tensor, self.out(y))


def start_weights(encoder: nn.Module, form: str) -> None:
    """Draw the weights of linear layers and, where a form says so, of the others, as its authors do."""
    if form == "speechbrain":
        for name, parameter in encoder.named_parameters():
            if parameter.dim() > 1 and not name.endswith("gate_scale"):
                # Queries, keys and values are one matrix there, three times as high.
                joined = name.endswith(("query.weight", "key.weight", "value.weight"))
                nn.init.xavier_normal_(parameter, 0.5**0.5 if joined else 1.0)
        return
    if form in _BATCH_NORMED:
        return
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def build(config: Config, input_dim: int) -> ConformerEncoder:
    """Make the encoder; UserError where sizes or options do not go together."""
    for name, known in (("form", FORMS), ("activation", tuple(ACTIVATIONS)), ("positions", POSITIONS)):
        check_choice(name, getattr(config, name), known)
    if config.form == "muq" and input_dim != config.dim:
        raise UserError(
            f"with `form: muq` the frontend's width must be `dim` {config.dim}, but is {input_dim}",
            remedy="give both the same `dim`, or take another form",
        )
    rotary = config.positions == "rope"
    check_attention(config.dim, config.heads, config.attention_relax, config.relative_positions, rotary)
    if config.positions == "transformer_xl" and config.dim % 2:
        raise UserError(f"`dim` must be even for `positions: transformer_xl`, but is {config.dim}")
    if config.kernel_frames < 1 or config.kernel_frames % 2 == 0:
        raise UserError(f"`kernel_frames` must be odd, but is {config.kernel_frames}", remedy="31 is usual")
    return ConformerEncoder(config, input_dim)
