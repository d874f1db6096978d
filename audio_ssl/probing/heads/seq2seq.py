"""A small transformer encoder-decoder on frames, greedy: fairseq's s2t_transformer (Wang et al. 2020) in small.

Two strided convolutions shorten the frames four times, as in SUPERB's and LeBenchmark's translation probes.
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

from audio_ssl.probing.heads._base import Batch, Head, inside
from audio_ssl.probing.tasks._base import Output

_PAD, _START, _END = 0, 1, 2
_SPECIALS = 3
_STRIDE = 4


@dataclass(frozen=True)
class Config:
    """Sizes; SUPERB's translation head has 3 + 3 layers of 256."""

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


class Seq2SeqHead(Head):
    """Tokens from frames, one after another."""

    outputs: tuple[Output, ...] = ("tokens",)

    def __init__(self, config: Config, input_dim: int, classes: int) -> None:
        super().__init__()
        self._config = config
        self.first = nn.Conv1d(input_dim, config.dim, 3, stride=2, padding=1)
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

    def loss(self, batch: Batch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the smoothed cross-entropy per token."""
        start, end = torch.tensor([_START]), torch.tensor([_END])
        given = pad_sequence([torch.cat([start, t + _SPECIALS]) for t in targets], batch_first=True)
        wanted = pad_sequence([torch.cat([t + _SPECIALS, end]) for t in targets], batch_first=True)
        memory, padding = self._encode(batch)
        logits = self._decode(given, memory, padding)
        return F.cross_entropy(
            logits.flatten(0, 1),
            wanted.flatten(),
            ignore_index=_PAD,
            label_smoothing=self._config.label_smoothing,
        )

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Tensor]:
        """Return the most likely token at each step, until the end token."""
        memory, padding = self._encode(batch)
        tokens = torch.full((len(memory), 1), _START)
        ended = torch.zeros(len(memory), dtype=torch.bool)
        for _ in range(self._config.max_tokens):
            logits = self._decode(tokens, memory, padding)[:, -1]
            logits[:, :_END] = -torch.inf
            following = torch.where(ended, _PAD, logits.argmax(-1))
            tokens = torch.cat([tokens, following[:, None]], dim=1)
            ended |= following == _END
            if bool(ended.all()):
                break
        return [row[row >= _SPECIALS] - _SPECIALS for row in tokens]

    def _encode(self, batch: Batch) -> tuple[Float[Tensor, "batch frame dim"], Tensor]:
        mask = inside(batch.frames, batch.features.shape[1])[:, None]
        x = F.gelu(self.first(torch.where(mask, batch.features.transpose(1, 2), 0.0)))
        # Padding is zero again before the second convolution, so that a clip's frames do not see it.
        x = torch.where(mask[..., ::2][..., : x.shape[-1]], x, 0.0)
        x = F.gelu(self.second(x)).transpose(1, 2)
        frames = (batch.frames + _STRIDE - 1) // _STRIDE
        padding = torch.arange(x.shape[1]) >= frames[:, None]
        x = x + _positions(x.shape[1], x.shape[2])
        return self.encoder(x, src_key_padding_mask=padding), padding

    def _decode(
        self, tokens: Int[Tensor, "batch token"], memory: Tensor, padding: Tensor
    ) -> Float[Tensor, "batch token class"]:
        count = tokens.shape[1]
        x = self.embedding(tokens) * self._config.dim**0.5 + _positions(count, self._config.dim)
        future = torch.triu(torch.ones(count, count, dtype=torch.bool), diagonal=1)
        x = self.decoder(
            x,
            memory,
            tgt_mask=future,
            tgt_key_padding_mask=tokens == _PAD,
            memory_key_padding_mask=padding,
        )
        return F.linear(x, self.embedding.weight)


def _positions(count: int, dim: int) -> Float[Tensor, "token dim"]:
    """Return sine positions (Vaswani et al. 2017)."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


def build(config: Config, input_dim: int, classes: int, output: Output) -> Seq2SeqHead:
    """Make the head."""
    return Seq2SeqHead(config, input_dim, classes)
