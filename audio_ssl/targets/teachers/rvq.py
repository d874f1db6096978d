"""Codes of our own RVQ-VAE (`audio_ssl.targets.codec`): MERT's discrete teacher for any sample rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.targets.codec.rvq_vae import Codec
from audio_ssl.targets.spec import TargetSpec, TeacherTraits, fingerprint_of


@dataclass(frozen=True)
class Config:
    """Which codec."""

    path: str | None = None
    """Run folder of a codec; None: the recipe trains the codec it names first."""


class RVQTeacher:
    """Codes of one clip."""

    def __init__(self, codec: Codec, device: torch.device) -> None:
        self._codec, self._device = codec.to(device).eval(), device
        self.spec = TargetSpec("codes", codec.config.codebooks, codec.config.codebook_size, codec.grid)
        # The codec's weights say it all; the folder they lay in does not matter.
        self.fingerprint = fingerprint_of(Config(), codec.state_dict())

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of one whole clip."""
        with torch.autocast(self._device.type, enabled=False):
            codes = self._codec.encode(waveform.to(self._device, torch.float32)[None])
        return codes[0].T.contiguous()


def _sample_rate(config: Config) -> int | None:
    return None if config.path is None else Codec.config_of(config.path).sample_rate


TRAITS = TeacherTraits(path=True, codec=True, sample_rate=_sample_rate)


def build(config: Config, sample_rate: int, device: torch.device) -> RVQTeacher:
    """Make the teacher; UserError where there is no codec or it has another sample rate."""
    if config.path is None:
        raise UserError(
            "the rvq teacher has no codec: `path` is null",
            remedy="train one with `audio-ssl pretrain codec_tiny data.manifest=M.jsonl --out RUN` and give its folder",
        )
    codec = Codec.from_pretrained(config.path)
    if codec.config.sample_rate != sample_rate:
        raise UserError(
            f"the codec is for {codec.config.sample_rate} Hz, but data.sample_rate is {sample_rate}", where=config.path
        )
    return RVQTeacher(codec, device)
