"""Codec: SEANet encoder and decoder of the encodec package around a residual quantiser, at any rate and size.

An RVQ-VAE after EnCodec (Défossez et al. 2022, arXiv 2210.13438) without the discriminators: it is trained for its
codes, not for listening. Causal convolutions, one code vector per hop.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import torch
from encodec.modules import SEANetDecoder, SEANetEncoder
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.atomic import atomic_write, write_json
from audio_ssl.codec.quantizer import ResidualQuantizer
from audio_ssl.config import structure, unstructure
from audio_ssl.data.frames import FrameGrid
from audio_ssl.errors import UserError

FORMAT = "audio_ssl codec 1"


@dataclass(frozen=True)
class CodecConfig:
    """Sizes; the defaults are EnCodec's at 24 kHz."""

    sample_rate: int = 24_000
    """Of the waveforms, in Hz."""

    ratios: tuple[int, ...] = (8, 5, 4, 2)
    """Strides of the encoder; their product is the hop (EnCodec: 320)."""

    filters: int = 32
    """Channels of the first layer; each stride doubles them (EnCodec: 32)."""

    dim: int = 128
    """Dimension of the latent (EnCodec: 128)."""

    lstm_layers: int = 2
    """LSTM layers after the convolutions (EnCodec: 2); 0 makes the codec's memory short and the training fast."""

    codebooks: int = 8
    """Residual quantisers (MERT uses 8)."""

    codebook_size: int = 1024
    """Codes of each (EnCodec: 1024)."""

    decay: float = 0.99
    """Of the codebooks' moving average."""

    dead_below: int = 2
    """Codes used less than this per batch, on average, are replaced."""


class CodecOutput(NamedTuple):
    """What a training pass gives."""

    reconstruction: Tensor
    """``[batch, sample]``."""

    codes: Tensor
    """``[batch, codebook, frame]``."""

    commitment: Tensor
    """Distance between latents and codes."""


class Codec(nn.Module):
    """RVQ-VAE."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        hop = math.prod(config.ratios)
        self.grid = FrameGrid(config.sample_rate, hop, hop, "ceil")
        sizes = {
            "channels": 1,
            "dimension": config.dim,
            "n_filters": config.filters,
            "ratios": list(config.ratios),
            "lstm": config.lstm_layers,
            "causal": True,
        }
        with warnings.catch_warnings():
            # The package uses torch's older weight norm.
            warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
            self.encoder, self.decoder = SEANetEncoder(**sizes), SEANetDecoder(**sizes)
        # Latents of zero mean and unit variance: without this they drift faster than the codebooks can follow, and all
        # frames get one code until the learning rate has decayed.
        self.norm = nn.BatchNorm1d(config.dim, affine=False)
        self.quantizer = ResidualQuantizer(
            config.dim, config.codebooks, config.codebook_size, config.decay, config.dead_below
        )

    def forward(self, waveform: Float[Tensor, "batch sample"]) -> CodecOutput:
        """Reconstruct a batch; in training, update the codebooks."""
        quantized = self.quantizer(self.norm(self.encoder(waveform[:, None])))
        audio = self.decoder(quantized.values)[:, 0]
        return CodecOutput(_fit(audio, waveform.shape[1]), quantized.codes, quantized.commitment)

    def encode(self, waveform: Float[Tensor, "batch sample"]) -> Int[Tensor, "batch codebook frame"]:
        """Return the codes of clips of equal length."""
        if waveform.shape[1] == 0:
            return torch.zeros(len(waveform), self.config.codebooks, 0, dtype=torch.long)
        codes: Tensor = self.quantizer.encode(self.norm(self.encoder(waveform[:, None])))
        return codes

    def decode(self, codes: Int[Tensor, "batch codebook frame"]) -> Float[Tensor, "batch sample"]:
        """Return the audio of codes, a whole number of hops long."""
        audio: Tensor = self.decoder(self.quantizer.decode(codes))
        return audio[:, 0]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, each whole or not at all."""
        folder = Path(folder)
        with atomic_write(folder / "model.safetensors") as partial:
            save_file({name: value.contiguous() for name, value in self.state_dict().items()}, partial)
        write_json(folder / "config.json", {"format": FORMAT, **unstructure(self.config)})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a saved codec; UserError where the folder is none or its weights do not fit."""
        folder = Path(folder)
        try:
            data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError("not a codec: config.json cannot be read", where=str(folder)) from error
        if data.pop("format", None) != FORMAT:
            raise UserError(
                "not a codec: the folder holds something else",
                where=str(folder),
                remedy="give the run folder of a codec recipe",
            )
        codec = cls(structure(CodecConfig, data))
        try:
            codec.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"weights do not fit: {str(error).splitlines()[0]}", where=str(folder)) from error
        return codec.eval()


def _fit(audio: Tensor, samples: int) -> Tensor:
    """Cut or pad to the input's length: the decoder gives whole hops."""
    return F.pad(audio, (0, max(0, samples - audio.shape[1])))[:, :samples]
