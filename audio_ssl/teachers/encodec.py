"""EnCodec codes, MERT's discrete teacher (Défossez et al. 2022, arXiv 2210.13438).

24 kHz, 75 frames/s, 2 to 32 codebooks of 1024. The encoder has an LSTM, so that a code depends on all audio before
it: codes are those of the whole clip, and crops are sliced from them, as MERT does. The encodec package loads the
weights; ``_encodec_stream.py`` computes the package's codes with them, in bounded memory.
"""

from __future__ import annotations

import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor

from audio_ssl.catalog import torchaudio_or_nothing
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.teachers._base import fingerprint_of
from audio_ssl.teachers._encodec_stream import CodeStream

with torchaudio_or_nothing():
    from encodec import EncodecModel

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
