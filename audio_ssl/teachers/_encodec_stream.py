"""EnCodec's encoder and quantiser over whole files in bounded memory, faster than the package and equal to it.

Défossez et al. 2022, arXiv 2210.13438; the module reads the weights of the encodec package's 24 kHz model.

Every convolution is causal, so a chunk needs only the last few rows of the chunk before (kept by each layer) and the
state of the LSTM. The package pads by reflection: on the left at the start of a file, and on the right of its end up
to a whole number of strides; the first and the last chunk do the same. Activations are ``[batch, time, channel]``:
convolutions of width 1 are then matrix products, and the others run without a change of layout. The layers at a high
rate take a chunk in tiles that stay in a core's cache. What the package computes and codes do not need (decoder,
weight norm at every call) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.catalog import torchaudio_or_nothing
from audio_ssl.teachers._kmeans_nearest import half_squares, nearest

with torchaudio_or_nothing():
    from encodec import EncodecModel
    from encodec.modules.conv import SConv1d, pad1d
    from encodec.modules.lstm import SLSTM
    from encodec.modules.seanet import SEANetResnetBlock

_TILE_SAMPLES = 9600
"""Samples that the layers at a high rate take at a time."""

_TILED_LAYERS = 5
"""Convolution, residual block, stride 2, residual block, stride 4: these run tile by tile."""

_CHUNK_FRAMES = 375
"""Frames computed at a time. Memory grows with it, values do not depend on it; 16 are longer than any reflection."""


class _Place:
    """Whether a chunk is the first or the last of its file."""

    def __init__(self, first: bool, last: bool) -> None:
        self.first, self.last = first, last


class _Conv:
    """A causal convolution, its weight norm folded; `State` is what it keeps of the rows before."""

    def __init__(self, conv: SConv1d, activated: bool) -> None:
        inner = conv.conv.conv
        self.kernel, self.stride = inner.kernel_size[0], inner.stride[0]
        self.keeps = self.kernel - self.stride
        # [out, in, 1, kernel]: oneDNN and cuDNN take rows of channels as they lie through 2-D convolutions.
        weight = _folded(inner)[:, :, None]
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = inner.bias.detach()
        self._activated = activated

    def __call__(
        self, rows: Float[Tensor, "batch time channel"], before: Tensor | None, place: _Place
    ) -> tuple[Float[Tensor, "batch time channel"], Tensor]:
        """Return the output and the rows to keep for the next chunk."""
        padded = self._pad(rows, before, place)
        kept = padded[:, padded.shape[1] - self.keeps :].clone()
        image = padded[:, None].permute(0, 3, 1, 2)
        out = F.conv2d(image, self.weight, self.bias, (1, self.stride))
        return out.permute(0, 2, 3, 1)[:, 0], kept

    def _pad(self, rows: Tensor, before: Tensor | None, place: _Place) -> Tensor:
        samples = rows.shape[1]
        extra = -samples % self.stride if place.last else 0
        if before is None and samples <= max(self.keeps, extra):
            # Too short to reflect: the package's own rule.
            rows = F.elu(rows) if self._activated else rows
            short: Tensor = pad1d(rows.mT, (self.keeps, extra), mode="reflect").mT.contiguous()
            return short
        end = self.keeps + samples
        padded = rows.new_empty(rows.shape[0], end + extra, rows.shape[2])
        if self._activated:
            torch._C._nn.elu(rows, out=padded[:, self.keeps : end])  # type: ignore[call-arg]
        else:
            padded[:, self.keeps : end] = rows
        if before is None:
            before = padded[:, self.keeps + 1 : 2 * self.keeps + 1].flip(1)
        padded[:, : self.keeps] = before
        if extra:
            padded[:, end:] = padded[:, end - 1 - extra : end - 1].flip(1)
        return padded


class _Residual:
    """Convolution of width 3, then of width 1, beside a shortcut of width 1: the last two are one sum of products."""

    def __init__(self, block: SEANetResnetBlock) -> None:
        self._first = _Conv(block.block[1], activated=True)
        second, shortcut = block.block[3].conv.conv, block.shortcut.conv.conv
        self._second = _folded(second)[:, :, 0].T.contiguous()
        self._shortcut = _folded(shortcut)[:, :, 0].T.contiguous()
        self._bias = (second.bias + shortcut.bias).detach()

    def __call__(
        self, rows: Float[Tensor, "batch time channel"], before: Tensor | None, place: _Place
    ) -> tuple[Float[Tensor, "batch time channel"], Tensor]:
        hidden, kept = self._first(rows, before, place)
        out = torch.addmm(self._bias, rows.flatten(0, 1), self._shortcut)
        out.addmm_(F.elu_(hidden).flatten(0, 1), self._second)
        return out.view(*rows.shape[:2], -1), kept


class _Recurrent:
    """The LSTM with its skip connection."""

    def __init__(self, lstm: SLSTM) -> None:
        self._lstm: nn.LSTM = lstm.lstm

    def __call__(
        self, rows: Float[Tensor, "batch time channel"], before: tuple[Tensor, Tensor] | None, place: _Place
    ) -> tuple[Float[Tensor, "batch time channel"], tuple[Tensor, Tensor]]:
        by_time = rows.transpose(0, 1).contiguous()
        out, state = self._lstm(by_time, before)
        return out.add_(by_time).transpose(0, 1), state


class CodeStream:
    """Turns waveforms of equal length into codes, chunk by chunk.

    Parameters
    ----------
    model
        The package's causal 24 kHz model with its weights.
    codebooks
        How many residual codebooks to use.
    """

    def __init__(self, model: EncodecModel, codebooks: int) -> None:
        self._layers = list(_layers(model.encoder.model))
        self._hop = int(model.encoder.hop_length)
        self._chunk = _CHUNK_FRAMES * self._hop
        embeddings = [layer._codebook.embed for layer in model.quantizer.vq.layers[:codebooks]]
        self._codes = [(e, half_squares(e)) for e in embeddings]

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, "batch sample"]) -> Int[Tensor, "batch frame codebook"]:
        """Return the codes of whole clips, as many as hops have started; the clips lie on the weights' device."""
        samples = waveform.shape[1]
        states: list[Any] = [None] * len(self._layers)
        codes = []
        for start in range(0, samples, self._chunk):
            end = min(start + self._chunk, samples)
            latent = self._encode(waveform[:, start:end, None], states, _Place(start == 0, end == samples))
            codes.append(self._quantize(latent))
        if not codes:
            return waveform.new_zeros(len(waveform), 0, len(self._codes), dtype=torch.int64)
        return torch.cat(codes, dim=1)

    def _encode(self, rows: Tensor, states: list[Any], place: _Place) -> Tensor:
        """Run a chunk through all layers; `states` is replaced by what the next chunk needs."""
        tiles = []
        # A remainder shorter than a frame's reflection joins the tile before it.
        count = max(1, rows.shape[1] // _TILE_SAMPLES)
        bounds = [tile * _TILE_SAMPLES for tile in range(count)] + [rows.shape[1]]
        for first, last in pairwise(bounds):
            tile = rows[:, first:last]
            where = _Place(place.first and first == 0, place.last and last == rows.shape[1])
            for index in range(_TILED_LAYERS):
                tile, states[index] = self._layers[index](tile, states[index], where)
            tiles.append(tile)
        rows = torch.cat(tiles, dim=1)
        for index in range(_TILED_LAYERS, len(self._layers)):
            rows, states[index] = self._layers[index](rows, states[index], place)
        return rows

    def _quantize(self, latent: Float[Tensor, "batch frame dim"]) -> Int[Tensor, "batch frame codebook"]:
        residual = latent.flatten(0, 1)
        codes = []
        for embedding, bias in self._codes:
            found, _ = nearest(residual, embedding, bias)
            residual = residual - embedding[found]
            codes.append(found)
        return torch.stack(codes, dim=1).view(*latent.shape[:2], len(codes))


def _layers(modules: nn.Sequential) -> Iterator[_Conv | _Residual | _Recurrent]:
    activated = False
    for module in modules:
        if isinstance(module, SConv1d):
            yield _Conv(module, activated)
        elif isinstance(module, SEANetResnetBlock):
            yield _Residual(module)
        elif isinstance(module, SLSTM):
            yield _Recurrent(module)
        activated = isinstance(module, nn.ELU)


def _folded(conv: nn.Conv1d) -> Float[Tensor, "output input kernel"]:
    """Return the weight that the package's weight norm makes at every call."""
    direction, scale = conv.get_parameter("weight_v").detach(), conv.get_parameter("weight_g").detach()
    folded: Tensor = direction * (scale / direction.norm(dim=(1, 2), keepdim=True))
    return folded
