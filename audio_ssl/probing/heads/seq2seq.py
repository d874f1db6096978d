"""A transformer encoder-decoder on frames, greedy or with a beam: fairseq's s2t_transformer (Wang et al. 2020).

Two strided convolutions shorten the frames four times, as in SUPERB's and LeBenchmark's translation probes; they have
GELU and kernels of 3 where fairseq's have gated units and kernels of 5, and the norms come first in every block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import frame_mask
from audio_ssl.probing.head import Head, HeadBatch
from audio_ssl.probing.task import Output

_PAD, _START, _END = 0, 1, 2
_SPECIALS = 3
_STRIDE = 4


@dataclass(frozen=True)
class Config:
    """Sizes; LeBenchmark's head has 6 + 3 layers of 256, SUPERB's 3 + 3 of 512."""

    dim: int = 256
    """Width of encoder and decoder."""

    heads: int = 4
    """Attention heads."""

    encoder_layers: int = 3
    """Encoder blocks."""

    decoder_layers: int = 3
    """Decoder blocks."""

    dropout: float = 0.1
    """Everywhere."""

    label_smoothing: float = 0.1
    """Share of the target spread over all tokens (SUPERB, LeBenchmark: 0.1)."""

    max_tokens: int = 60
    """Longest output."""

    projection_dim: int | None = None
    """Width of a linear layer before the convolutions (LeBenchmark has one); left out: none."""

    beam: int = 1
    """Hypotheses kept at each step (SUPERB: 20, LeBenchmark: 5); 1: the most likely token each time."""

    length_normalisation: bool = True
    """Compare hypotheses by their mean log-probability per token; only with a beam."""


class Seq2SeqHead(Head):
    """Tokens from frames, one after another."""

    outputs: tuple[Output, ...] = ("tokens",)

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        self._config = config
        width = config.projection_dim or input_dim
        self.projection = nn.Linear(input_dim, width) if config.projection_dim else nn.Identity()
        self.first = nn.Conv1d(width, config.dim, 3, stride=2, padding=1)
        self.second = nn.Conv1d(config.dim, config.dim, 3, stride=2, padding=1)
        options = {"dropout": config.dropout, "batch_first": True, "norm_first": True}
        block = nn.TransformerEncoderLayer(config.dim, config.heads, 4 * config.dim, **options)  # type: ignore[arg-type]
        self.encoder = nn.TransformerEncoder(
            block, config.encoder_layers, nn.LayerNorm(config.dim), enable_nested_tensor=False
        )
        decoder_block = nn.TransformerDecoderLayer(config.dim, config.heads, 4 * config.dim, **options)  # type: ignore[arg-type]
        self.decoder = nn.TransformerDecoder(decoder_block, config.decoder_layers, nn.LayerNorm(config.dim))
        self.embedding = nn.Embedding(classes + _SPECIALS, config.dim, padding_idx=_PAD)
        nn.init.normal_(self.embedding.weight, std=config.dim**-0.5)

    def loss(self, batch: HeadBatch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the smoothed cross-entropy per token."""
        device = batch.features.device
        start, end = torch.tensor([_START], device=device), torch.tensor([_END], device=device)
        units = [target.to(device) + _SPECIALS for target in targets]
        given = pad_sequence([torch.cat([start, unit]) for unit in units], batch_first=True)
        wanted = pad_sequence([torch.cat([unit, end]) for unit in units], batch_first=True)
        memory, padding = self._encode(batch)
        logits = self._decode(given, memory, padding)
        return F.cross_entropy(
            logits.flatten(0, 1),
            wanted.flatten(),
            ignore_index=_PAD,
            label_smoothing=self._config.label_smoothing,
        )

    @torch.no_grad()
    def predict(self, batch: HeadBatch) -> list[Tensor]:
        """Return the tokens of each clip, on the CPU."""
        memory, padding = self._encode(batch)
        if self._config.beam == 1:
            return self._greedy(memory, padding)
        # Imported here: speechbrain takes a second, and greedy decoding does without.
        from audio_ssl.probing.heads._beam import search

        def step(tokens: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
            return self._following(tokens, memory, ~frame_mask(lengths, memory.shape[1]))

        config = self._config
        found = search(
            step,
            memory,
            (~padding).sum(1),
            classes=self.embedding.num_embeddings,
            ends=(_START, _END),
            beam=config.beam,
            max_tokens=config.max_tokens,
            length_normalisation=config.length_normalisation,
        )
        return [tokens - _SPECIALS for tokens in found]

    def _greedy(self, memory: Float[Tensor, "batch frame dim"], padding: Tensor) -> list[Tensor]:
        """Return the most likely token at each step, until the end token."""
        tokens = torch.full((len(memory), 1), _START, device=memory.device)
        ended = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
        for _ in range(self._config.max_tokens):
            following = torch.where(ended, _PAD, self._following(tokens, memory, padding).argmax(-1))
            tokens = torch.cat([tokens, following[:, None]], dim=1)
            ended |= following == _END
            if bool(ended.all()):
                break
        return [row[row >= _SPECIALS] - _SPECIALS for row in tokens.cpu()]

    def _following(self, tokens: Tensor, memory: Tensor, padding: Tensor) -> Float[Tensor, "batch class"]:
        """Return the log-probabilities of the next token; padding and start token never come."""
        logits = self._decode(tokens, memory, padding)[:, -1]
        logits[:, :_END] = -torch.inf
        return F.log_softmax(logits, dim=-1)

    def _encode(self, batch: HeadBatch) -> tuple[Float[Tensor, "batch frame dim"], Tensor]:
        mask = frame_mask(batch.frames, batch.features.shape[1])[:, None]
        x = F.gelu(self.first(torch.where(mask, self.projection(batch.features).transpose(1, 2), 0.0)))
        # Padding is zero again before the second convolution, so that a clip's frames do not see it.
        x = torch.where(mask[..., ::2][..., : x.shape[-1]], x, 0.0)
        x = F.gelu(self.second(x)).transpose(1, 2)
        frames = (batch.frames + _STRIDE - 1) // _STRIDE
        padding = ~frame_mask(frames, x.shape[1])
        x = x + _positions(x.shape[1], x)
        return self.encoder(x, src_key_padding_mask=padding), padding

    def _decode(
        self, tokens: Int[Tensor, "batch token"], memory: Tensor, padding: Tensor
    ) -> Float[Tensor, "batch token class"]:
        count = tokens.shape[1]
        x = self.embedding(tokens) * self._config.dim**0.5
        x = x + _positions(count, x)
        future = torch.triu(torch.ones(count, count, dtype=torch.bool, device=x.device), diagonal=1)
        x = self.decoder(
            x,
            memory,
            tgt_mask=future,
            tgt_is_causal=False,  # A hint only; without it, torch compares the mask's values at every step.
            tgt_key_padding_mask=tokens == _PAD,
            memory_key_padding_mask=padding,
        )
        return F.linear(x, self.embedding.weight)


def _positions(count: int, like: Float[Tensor, "... dim"]) -> Float[Tensor, "token dim"]:
    """Return sine positions (Vaswani et al. 2017), on the device and in the precision of what they are added to."""
    dim = like.shape[-1]
    rates = torch.exp(torch.arange(0, dim, 2, device=like.device) * (-math.log(10_000.0) / dim))
    angles = torch.arange(count, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim].to(like.dtype)


def build(config: Config, input_dim: int, classes: int, output: Output) -> Seq2SeqHead:
    """Make the head; UserError for widths or numbers that do not fit."""
    if config.beam < 1 or config.max_tokens < 1:
        raise UserError(f"`beam` and `max_tokens` must be at least 1, but are {config.beam} and {config.max_tokens}")
    if config.dim % config.heads:
        raise UserError(f"`dim` must be a multiple of `heads`, but they are {config.dim} and {config.heads}")
    return Seq2SeqHead(config, input_dim, classes)
