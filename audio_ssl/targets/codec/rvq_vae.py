"""Codec: SEANet encoder and decoder of the encodec package around a residual quantiser, at any rate and size.

An RVQ-VAE after EnCodec (Défossez et al. 2022, arXiv 2210.13438) without the discriminators: it is trained for its
codes, not for listening. Causal convolutions, one code vector per hop.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.catalog import optional_packages, torchaudio_or_nothing
from audio_ssl.base.config import structure, unstructure
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write, write_json
from audio_ssl.data.frames import FrameGrid, frame_mask
from audio_ssl.models.weights import CONFIG_FILE, WEIGHTS_FILE, load_weights
from audio_ssl.targets.codec.quantizer import LatentNorm, ResidualQuantizer, UpdateSample, draw_lots

FORMAT = "audio_ssl codec 2"

_SAMPLED_PER_CODE = 8
"""Frames kept of an update to start and revive codes with, per code of a codebook."""


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
    """Of the codebooks' moving averages, per update (EnCodec: 0.99)."""

    dead_share: float = 0.1
    """Codes used less than this share of the mean code are replaced by frames (SoundStream: by count); 0: never."""

    codebook_dropout: float = 0.0
    """Share of training clips made of the first few codebooks only, as many as drawn (SoundStream, section III-C)."""


class CodecOutput(NamedTuple):
    """What a pass gives; past the end of a clip all of it is zero."""

    reconstruction: Float[Tensor, "batch sample"]
    """Audio."""

    codes: Int[Tensor, "batch frame codebook"]
    """Zero as well during the first update."""

    commitment: Float[Tensor, "batch frame"]
    """Distance between latent and code."""


class Codec(nn.Module):
    """RVQ-VAE.

    A clip gives the same in any batch. Its codebooks change in `after_update` only: they start from the latents of the
    first update, which quantises nothing itself.
    """

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
        # Imported here, as only building a codec needs the package.
        with optional_packages("a codec"), torchaudio_or_nothing():
            from encodec.modules import SEANetDecoder, SEANetEncoder
        with warnings.catch_warnings():
            # The package uses torch's older weight norm.
            warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
            self.encoder, self.decoder = SEANetEncoder(**sizes), SEANetDecoder(**sizes)
        self.norm = LatentNorm(config.dim)
        self.quantizer = ResidualQuantizer(
            config.dim, config.codebooks, config.codebook_size, config.decay, config.dead_share
        )
        self.sample = UpdateSample(_SAMPLED_PER_CODE * config.codebook_size, config.dim)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"] | None = None,
        keys: Sequence[int] | None = None,
        reference: Float[Tensor, "clip sample"] | None = None,
    ) -> CodecOutput:
        """Reconstruct a batch; in training, gather what `after_update` needs.

        Parameters
        ----------
        waveform
            Padded with zeros.
        lengths
            Samples of each clip; None: all.
        keys
            A random number per clip, for what is drawn; None: counted up.
        reference
            Clips of equal length that say what latents are normalised by; None: those given to `normalise_by`.
        """
        keys = range(len(waveform)) if keys is None else keys
        if lengths is None:
            lengths = torch.full((len(waveform),), waveform.shape[1], device=waveform.device)
        latents = self._latents(waveform)
        others = None if reference is None else self._latents(reference).flatten(0, 1)
        inside = frame_mask(self.grid.num_frames(lengths), latents.shape[1])
        with torch.autocast(waveform.device.type, enabled=False):
            frames = latents.float()[inside]
            frames = self.norm(frames, None if others is None else others.float())
            if self.training:
                self.sample.add(frames, draw_lots(keys, latents.shape[1]).to(frames.device)[inside])
            quantized = self.quantizer(frames, self._used(keys, inside))
        values = latents.new_zeros(latents.shape, dtype=quantized.values.dtype)
        values[inside] = quantized.values
        codes = torch.zeros(*inside.shape, self.config.codebooks, dtype=torch.long, device=inside.device)
        codes[inside] = quantized.codes
        commitment = torch.zeros(inside.shape, device=inside.device)
        commitment[inside] = quantized.commitment
        audio = self.decoder(values.transpose(1, 2))[:, 0, : waveform.shape[1]]
        heard = frame_mask(lengths, waveform.shape[1])
        return CodecOutput(audio * heard, codes, commitment)

    @torch.no_grad()
    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let the codebooks follow the frames of update `step`, of all processes.

        Parameters
        ----------
        step
            Number of the update; seeds what is drawn.
        sum_over_processes
            Adds a tensor up over all processes.
        """
        if not self.quantizer.started:
            frames = self.sample.gather(sum_over_processes)
            self.norm.set(frames)
            self.quantizer.start(self.norm(frames), step)
        else:
            self.quantizer.follow(sum_over_processes)
            # Sums over all processes decide, so that all revive or none.
            if self.quantizer.dead.any():
                self.quantizer.revive(self.sample.gather(sum_over_processes), step)
        self.sample.clear()

    @torch.no_grad()
    def normalise_by(self, reference: Float[Tensor, "clip sample"]) -> None:
        """Normalise latents from here on by the mean and variance over these clips of equal length."""
        with torch.autocast(reference.device.type, enabled=False):
            self.norm.set(self._latents(reference).flatten(0, 1))

    def encode(self, waveform: Float[Tensor, "batch sample"]) -> Int[Tensor, "batch codebook frame"]:
        """Return the codes of clips of equal length."""
        if waveform.shape[1] == 0:
            return torch.zeros(len(waveform), self.config.codebooks, 0, dtype=torch.long)
        latents = self._latents(waveform)
        codes: Tensor = self.quantizer.encode(self.norm(latents.flatten(0, 1)))
        return codes.view(*latents.shape[:2], -1).transpose(1, 2)

    def decode(self, codes: Int[Tensor, "batch codebook frame"]) -> Float[Tensor, "batch sample"]:
        """Return the audio of codes, a whole number of hops long; the first codebooks alone are enough."""
        frames = codes.transpose(1, 2)
        values = self.quantizer.decode(frames.flatten(0, 1)).view(*frames.shape[:2], -1)
        audio: Tensor = self.decoder(values.transpose(1, 2))
        return audio[:, 0]

    def _latents(self, waveform: Tensor) -> Tensor:
        """Return ``[batch, frame, dim]``, the waveform filled up with zeros to whole hops."""
        # The package would fill every layer up by itself, so that a clip's end would depend on its batch.
        whole = F.pad(waveform, (0, -waveform.shape[1] % self.grid.hop_samples))
        latents: Tensor = self.encoder(whole[:, None])
        return latents.transpose(1, 2)

    def _used(self, keys: Sequence[int], inside: Tensor) -> Tensor | None:
        """Draw how many codebooks make up the frames of each clip; None: all."""
        if not self.training or self.config.codebook_dropout == 0:
            return None
        number = self.config.codebooks
        drawn = []
        for key in keys:
            generator = torch.Generator().manual_seed(key)
            fewer = float(torch.rand((), generator=generator)) < self.config.codebook_dropout
            drawn.append(int(torch.randint(1, number + 1, (), generator=generator)) if fewer else number)
        return torch.tensor(drawn, device=inside.device)[:, None].expand(inside.shape)[inside]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, each whole or not at all."""
        folder = Path(folder)
        with atomic_write(folder / WEIGHTS_FILE) as partial:
            save_file({name: value.contiguous() for name, value in self.state_dict().items()}, partial)
        write_json(folder / CONFIG_FILE, {"format": FORMAT, **unstructure(self.config)})

    @staticmethod
    def config_of(folder: str | Path) -> CodecConfig:
        """Read the settings of a saved codec; UserError where the folder is none."""
        folder = Path(folder)
        if not (folder / CONFIG_FILE).is_file():
            raise UserError(f"not a codec: {CONFIG_FILE} is missing", where=str(folder))
        data = read_object(folder / CONFIG_FILE)
        if data.pop("format", None) != FORMAT:
            raise UserError(
                "not a codec: the folder holds something else",
                where=str(folder),
                remedy="give the run folder of a codec recipe",
            )
        return structure(CodecConfig, data)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a saved codec; UserError where the folder is none or its weights do not fit."""
        codec = cls(cls.config_of(folder))
        load_weights(codec, Path(folder) / WEIGHTS_FILE)
        return codec.eval()
