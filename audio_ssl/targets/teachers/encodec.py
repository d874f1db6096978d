"""EnCodec codes, MERT's discrete teacher (Défossez et al. 2022, arXiv 2210.13438).

24 kHz, 75 frames/s, 2 to 32 codebooks of 1024. The encoder has an LSTM, so that a code depends on all audio before
it: codes are those of the whole clip, and crops are sliced from them, as MERT does. The encodec package loads the
weights; `CodeStream` computes the package's codes with them, in bounded memory.

`CodeStream` is faster than the package and gives the same codes. Every convolution is causal, so a chunk needs only the
last few rows of the chunk before (kept by each layer) and the state of the LSTM. The package pads by reflection: on the
left at the start of a file, and on the right of its end up to a whole number of strides; the first and the last chunk
do the same. Activations are ``[batch, time, channel]``: convolutions of width 1 are then matrix products, and the
others run without a change of layout. The layers at a high rate take a chunk in tiles that stay in a core's cache. What
the package computes and codes do not need (decoder, weight norm at every call) is left out.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.catalog import torchaudio_or_nothing
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.targets.clustering import half_squares, nearest
from audio_ssl.targets.spec import TargetSpec, TeacherTraits, fingerprint_of

SAMPLE_RATE = 24_000


@dataclass(frozen=True)
class Config:
    """Where the weights are and how many codebooks."""

    path: str | None = None
    """Weights, ``.th`` or ``.safetensors``; None: the package fetches its own from its authors' site."""

    codebooks: int = 8
    """2, 4, 8, 16 or 32 (MERT: 8, which is 6 kbit/s)."""

    random_weights: bool = False
    """Codes of an untrained EnCodec: meaningless, for trying a recipe where the weights cannot be had."""

    seed: int = 0
    """Of the random weights."""


class EncodecTeacher:
    """Codes of one clip, or of several of one length."""

    def __init__(self, config: Config, model: EncodecModel, device: torch.device) -> None:
        self._stream, self._device = CodeStream(model.to(device).eval(), config.codebooks), device
        self.spec = TargetSpec("codes", config.codebooks, 1024, FrameGrid(SAMPLE_RATE, 320, 320, "ceil"))
        self.fingerprint = fingerprint_of(config, model.state_dict())

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of one whole clip."""
        return self.batch(waveform[None])[0]

    def batch(self, waveforms: Float[Tensor, "batch sample"]) -> Int[Tensor, "batch frame codebook"]:
        """Return ``[batch, frame, codebook]`` of whole clips of one length, the codes that each has alone."""
        # A float32 island: a code is the nearest of many, and half precision picks another.
        with torch.autocast(self._device.type, enabled=False):
            return self._stream(waveforms.to(self._device, torch.float32))


TRAITS = TeacherTraits(
    path=True,
    untrained=lambda config: config.path is None and config.random_weights,
    sample_rate=lambda _: SAMPLE_RATE,
)


def build(config: Config, sample_rate: int, device: torch.device) -> EncodecTeacher:
    """Make the teacher; UserError for another sample rate, an unknown number of codebooks or missing weights."""
    if sample_rate != SAMPLE_RATE:
        raise UserError(
            f"EnCodec is for {SAMPLE_RATE} Hz, but data.sample_rate is {sample_rate}",
            remedy="set data.sample_rate=24000, or use the rvq teacher, which has a codec of any rate",
        )
    if config.codebooks not in (2, 4, 8, 16, 32):
        raise UserError(f"`codebooks` must be 2, 4, 8, 16 or 32, but is {config.codebooks}")
    return EncodecTeacher(config, _load(config), device)


def _load(config: Config) -> EncodecModel:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # The package uses torch's older weight norm.
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        torch.manual_seed(config.seed)
        if config.path is None and not config.random_weights:
            return _fetch()
        model = EncodecModel.encodec_model_24khz(pretrained=False)
    if config.path is not None:
        _load_weights(model, Path(config.path))
    else:
        # An untrained quantiser has all-zero codebooks, and so one code only.
        generator = torch.Generator().manual_seed(config.seed)
        for layer in model.quantizer.vq.layers:
            layer._codebook.embed.normal_(std=0.02, generator=generator)
    return model


def _fetch() -> EncodecModel:
    try:
        return EncodecModel.encodec_model_24khz(pretrained=True)
    except (URLError, OSError) as error:
        raise UserError(
            f"EnCodec's weights could not be fetched: {error}",
            remedy="give teachers.N.path=encodec_24khz.th; or, only to try the recipe, teachers.N.random_weights=true",
        ) from error


def _load_weights(model: EncodecModel, path: Path) -> None:
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        model.load_state_dict(state)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(f"not EnCodec 24 kHz weights: {str(error).splitlines()[0]}", where=str(path)) from error


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
