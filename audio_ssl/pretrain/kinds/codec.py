"""Training of the RVQ-VAE whose codes are targets for masked prediction.

After EnCodec (Défossez et al. 2022, arXiv 2210.13438): spectral and waveform reconstruction plus commitment, codebooks
by moving average. Left out on purpose: discriminators and loss balancing, which serve listening and not the codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.base.seeds import seeded
from audio_ssl.data.frames import FrameGrid, frame_mask
from audio_ssl.data.loader import Batch
from audio_ssl.data.subsets import limit_seconds
from audio_ssl.pretrain.jobs import KindTraits, RunStage, StageContext, Training
from audio_ssl.pretrain.learner import Learner, StepOutput
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.selection import Selection
from audio_ssl.targets.codec.quantizer import UpdateSample, draw_lots
from audio_ssl.targets.codec.reconstruction import (
    MOST_SECONDS,
    MelDistance,
    SpectralLoss,
    code_statistics,
    make_reconstructions,
    si_sdr,
    spread_out,
    waveform_loss,
)
from audio_ssl.targets.codec.rvq_vae import Codec, CodecConfig

_LISTEN_SECONDS = 2.0
"""Clips to judge a codec by last at least this long, where there are any."""

_REFERENCE_CLIPS, _REFERENCE_SECONDS, _REFERENCES_KEPT = 8, 0.5, 4


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


class CodecLearner(Learner):
    """The codec and its losses; a frame counts as much in any micro-batch."""

    histogram: Tensor
    reference: Tensor
    referred: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.codec = Codec(config.codec)
        # Windows longer than a crop would see little but their own padding.
        crop_samples = config.data.crop_seconds * config.data.sample_rate
        windows = tuple(window for window in (128, 256, 512, 1024, 2048) if window <= crop_samples / 4)
        self.spectral = SpectralLoss(config.codec.sample_rate, windows)
        self.mel_distance = MelDistance(config.codec.sample_rate)
        self._weights = (config.spectral_weight, config.waveform_weight, config.commitment_weight)
        # Latents are normalised by a few clips of the last update in training, and by those of the last few updates in
        # use. These clips are part of the state, and so in checkpoints.
        samples = int(min(_REFERENCE_SECONDS, config.data.crop_seconds) * config.data.sample_rate)
        self.clips = UpdateSample(2 * _REFERENCE_CLIPS, samples)
        self.register_buffer("reference", torch.zeros(_REFERENCES_KEPT, _REFERENCE_CLIPS, samples))
        self.register_buffer("referred", torch.tensor(False))
        shape = (config.codec.codebooks, config.codec.codebook_size)
        self.register_buffer("histogram", torch.zeros(shape), persistent=False)
        self._settled = False

    def train(self, mode: bool = True) -> Self:
        """Switch to training, or to a validation, whose codes are counted from here on."""
        self.histogram.zero_()
        self._settled = False
        return super().train(mode)

    def settle(self) -> None:
        """Compute the statistics that latents are normalised by in use, for the present weights."""
        if self.referred and not self._settled:
            self.codec.normalise_by(self.reference.flatten(0, 1))
        self._settled = True

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Return the loss summed over frames; what is random follows the crops' keys instead of `generator`."""
        waveform, lengths = batch.waveform, batch.lengths
        if self.training:
            width = self.reference.shape[2]
            beginnings = F.pad(waveform[:, :width], (0, max(0, width - waveform.shape[1])))
            self.clips.add(beginnings, draw_lots(batch.keys, 1)[:, 0].to(waveform.device))
        else:
            self.settle()
        reference = self.reference[0] if self.training and self.referred else None
        output = self.codec(waveform, lengths, batch.keys, reference)
        frames = self.codec.grid.num_frames(lengths).to(torch.float32)
        with torch.autocast(waveform.device.type, enabled=False):
            audio = output.reconstruction.float()
            losses = {
                "spectral_loss": self.spectral(audio, waveform, lengths),
                "waveform_loss": waveform_loss(audio, waveform, lengths),
                "commitment": output.commitment.sum(1) / frames,
            }
            per_clip = sum(weight * loss for weight, loss in zip(self._weights, losses.values(), strict=True))
            total = (per_clip * frames).sum()
        metrics = {name: ((loss.detach() * frames).sum(), frames.sum()) for name, loss in losses.items()}
        metrics.update(self._metrics(audio.detach(), output.codes, batch))
        return StepOutput(total, frames.sum(), metrics)

    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let the codebooks follow the frames of update `step`."""
        self.codec.after_update(step, sum_over_processes)
        chosen = self.clips.gather(sum_over_processes)
        self.clips.clear()
        newest = chosen[torch.arange(self.reference.shape[1]) % len(chosen)]
        kept = self.reference[:-1].clone() if self.referred else newest[None].expand_as(self.reference[1:])
        self.reference.copy_(torch.cat([newest[None], kept]))
        self.referred.fill_(True)

    @torch.no_grad()
    def _metrics(self, audio: Tensor, codes: Tensor, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return SI-SDR and mel distance, the mean over clips, and how the codes are used."""
        clips = torch.tensor(float(len(audio)))
        metrics = {"si_sdr": (si_sdr(audio, batch.waveform, batch.lengths).sum(), clips)}
        quantizer = self.codec.quantizer
        if self.training:
            # The averages of the updates before: more frames than an update has, and the same in every micro-batch.
            if quantizer.started:
                perplexities, _ = code_statistics(quantizer.sizes)
                usage = (~quantizer.dead).double().mean(1).tolist()
                metrics.update(_by_codebook(perplexities, usage, clips))
            return metrics
        metrics["mel_distance"] = (self.mel_distance(audio, batch.waveform, batch.lengths).sum(), clips)
        before = code_statistics(self.histogram)
        first = torch.tensor(0.0 if self.histogram.sum() > 0 else 1.0)
        inside = frame_mask(self.codec.grid.num_frames(batch.lengths), codes.shape[1])
        for book, counts in enumerate(self.histogram):
            counts += torch.bincount(codes[inside][:, book], minlength=len(counts))
        # Neither is a mean over micro-batches. Each adds what it changes to a sum that is divided by one, so that the
        # numbers logged are those of the whole validation (of each process, where there are several).
        now = code_statistics(self.histogram)
        change = [[new - old for new, old in zip(*pair, strict=True)] for pair in zip(now, before, strict=True)]
        metrics.update(
            {name: (value, first) for name, (value, _) in _by_codebook(change[0], change[1], torch.tensor(1.0)).items()}
        )
        return metrics


def _by_codebook(
    perplexities: Sequence[float], usages: Sequence[float], weight: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    metrics = {}
    for book, (perplexity, usage) in enumerate(zip(perplexities, usages, strict=True)):
        metrics[f"code_perplexity_{book}"] = (weight * perplexity, weight)
        metrics[f"code_usage_{book}"] = (weight * usage, weight)
    return metrics


def check(config: Config, selection: Selection) -> None:
    """Raise UserError for anything that would fail later."""
    if config.codec.sample_rate != config.data.sample_rate:
        raise UserError(
            f"`codec.sample_rate` must be `data.sample_rate` = {config.data.sample_rate}, but is "
            f"{config.codec.sample_rate}",
            where="$.codec.sample_rate",
        )
    if config.optim.layer_decay is not None:
        raise UserError(
            "a codec has no layers whose rates could differ", where="$.optim.layer_decay", remedy="leave it out"
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


def stages(config: Config) -> list[RunStage]:
    """Return the stretches of the run: one."""
    return [RunStage(config, config.steps)]


def build(config: Config, context: StageContext) -> Training:
    """Build the codec and its losses."""
    with seeded(context.device, config.seed, "codec"):
        learner = CodecLearner(config)
    return Training(learner, learner.codec.grid, None, (), lambda folder: _save(learner, context, folder))


def _save(learner: CodecLearner, context: StageContext, folder: Path) -> None:
    """Write the codec, and a few clips to judge it by ear."""
    learner.eval()
    learner.settle()
    learner.codec.save_pretrained(folder)
    held_out = bool(context.clips.valid)
    # By hash, as the clips that validate are chosen: neighbours in a manifest are alike.
    order = limit_seconds(context.clips.valid if held_out else context.clips.train, math.inf, MOST_SECONDS)
    clips = spread_out([clip for clip in order if clip.seconds >= _LISTEN_SECONDS] or order)
    make_reconstructions(learner.codec, clips, held_out, context.reader, context.ledger, folder)


def describe(config: Config) -> str:
    """Return a sentence on what was trained, for the model card."""
    sizes = config.codec
    return (
        f"An RVQ-VAE with {sizes.codebooks} codebooks of {sizes.codebook_size} codes at "
        f"{frame_grid(config).frame_rate_hz:g} frames/s, trained for its codes rather than for listening."
    )


TRAITS = KindTraits("codec", check, stages, build, describe)
