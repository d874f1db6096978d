"""Training of the RVQ-VAE whose codes are targets for masked prediction.

After EnCodec (Défossez et al. 2022, arXiv 2210.13438): spectral and waveform reconstruction plus commitment, codebooks
by moving average. Left out on purpose: discriminators and loss balancing, which serve listening and not the codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from audio_ssl.codec.losses import SpectralLoss, code_statistics, si_sdr_db, waveform_loss
from audio_ssl.codec.model import Codec, CodecConfig
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.loader import Batch
from audio_ssl.errors import UserError
from audio_ssl.pretrain.clips import Selection
from audio_ssl.pretrain.learner import StepOutput, Training
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.seeds import seeded
from audio_ssl.pretrain.stage import Stage, StageContext

TITLE = "codec"
MODEL_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class Config(Recipe):
    """A recipe of a codec."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    """Sizes of the codec; its sample rate must be that of `data`."""

    spectral_weight: float = 1.0
    """Weight of the multi-scale log-mel loss (EnCodec: 1)."""

    waveform_weight: float = 0.1
    """Weight of the waveform's L1 (EnCodec: 0.1)."""

    commitment_weight: float = 0.25
    """Weight of the distance between latents and codes (VQ-VAE, van den Oord et al. 2017, arXiv 1711.00937)."""


class CodecLearner(nn.Module):
    """The codec and its losses.

    Crops of a micro-batch are cut to the shortest, so that no padding is coded.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.codec = Codec(config.codec)
        # Windows longer than a crop would see little but their own padding.
        crop_samples = config.data.crop_seconds * config.data.sample_rate
        windows = tuple(window for window in (128, 256, 512, 1024, 2048) if window <= crop_samples / 4)
        self.spectral = SpectralLoss(config.codec.sample_rate, windows)
        self._weights = (config.spectral_weight, config.waveform_weight, config.commitment_weight)

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Return the loss summed over clips; `generator` and `step` are not needed."""
        waveform = batch.waveform[:, : int(batch.lengths.min())]
        clips = torch.tensor(float(len(waveform)))
        output = self.codec(waveform)
        with torch.autocast(waveform.device.type, enabled=False):
            audio = output.reconstruction.float()
            losses = (
                self.spectral(audio, waveform),
                waveform_loss(audio, waveform),
                output.commitment.float(),
            )
            total = sum(weight * loss for weight, loss in zip(self._weights, losses, strict=True)) * len(waveform)
            values = dict(zip(("spectral_loss", "waveform_loss", "commitment"), losses, strict=True))
            values["si_sdr_db"] = si_sdr_db(audio, waveform).mean()
        metrics = {name: (value.detach().float() * len(waveform), clips) for name, value in values.items()}
        for codebook, (perplexity, used) in enumerate(
            code_statistics(output.codes.detach(), self.codec.config.codebook_size)
        ):
            metrics[f"code_perplexity_{codebook}"] = (clips * perplexity, clips)
            metrics[f"codes_used_{codebook}"] = (clips * used, clips)
        return StepOutput(total, clips, metrics)

    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Do nothing: the codebooks follow their averages in the forward pass."""


def check(config: Config, selection: Selection) -> None:
    """Raise UserError for anything that would fail later."""
    if config.codec.sample_rate != config.data.sample_rate:
        raise UserError(
            f"`codec.sample_rate` must be `data.sample_rate` = {config.data.sample_rate}, but is "
            f"{config.codec.sample_rate}",
            where="$.codec.sample_rate",
        )
    if config.data.targets is not None:
        raise UserError("a codec has no targets; its audio is what it is trained on", where="$.data.targets")
    frame = frame_grid(config).hop_samples
    if config.data.crop_seconds * config.data.sample_rate < frame:
        raise UserError("a crop must hold at least one frame", where="$.data.crop_seconds")


def frame_grid(config: Config) -> FrameGrid:
    """Return the frames of the codec's codes."""
    hop = 1
    for ratio in config.codec.ratios:
        hop *= ratio
    return FrameGrid(config.codec.sample_rate, hop, hop, "ceil")


def stages(config: Config) -> list[Stage]:
    """Return the stretches of the run: one."""
    return [Stage(config, config.steps)]


def build(config: Config, context: StageContext) -> Training:
    """Build the codec and its losses."""
    with seeded(context.device, config.seed, "codec"):
        learner = CodecLearner(config)
    return Training(learner, learner.codec.grid, None, (), learner.codec.save_pretrained)


def describe(config: Config) -> str:
    """Return a sentence on what was trained, for the model card."""
    sizes = config.codec
    return (
        f"An RVQ-VAE with {sizes.codebooks} codebooks of {sizes.codebook_size} codes at "
        f"{frame_grid(config).frame_rate_hz:g} frames/s, trained for its codes rather than for listening."
    )
