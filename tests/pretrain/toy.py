"""A small learner with dropout, a buffer and use of its generator: all that must survive a resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from audio_ssl.data.batching import Batching
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.loader import Batch, LoaderSetup
from audio_ssl.data.manifest import Clip, read_manifest
from audio_ssl.pretrain.jobs import Training, TrainingJob
from audio_ssl.pretrain.learner import Learner, StepOutput
from audio_ssl.pretrain.optim import OptimConfig
from audio_ssl.pretrain.recipe import CheckpointConfig, DataConfig, Recipe

RATE = 16000
GRID = FrameGrid(RATE, 160, 160)


class ToyLearner(Learner):
    def __init__(self, dropout: float = 0.1, noise: float = 0.01) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(160, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(dropout))
            self.head = nn.Linear(16, 160)
        self.noise = noise
        self.register_buffer("average", torch.zeros(16))
        self.break_at: set[int] = set()
        self.calls = 0

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        frames = batch.waveform[:, : batch.waveform.shape[1] // 160 * 160].unflatten(1, (-1, 160))
        inside = torch.arange(frames.shape[1]) < batch.frames[:, None]
        noisy = frames
        if self.training:
            noisy = frames + self.noise * torch.randn(frames.shape, generator=generator)
        hidden = self.layers(noisy)
        if self.training:
            average: Tensor = self.average
            average.lerp_(hidden.detach()[inside].mean(0), 0.1)
        error = (self.head(hidden) - frames).square().mean(-1)[inside]
        loss = error.sum()
        if self.training and self.calls in self.break_at:
            loss = loss * float("nan")
        self.calls += self.training
        return StepOutput(loss, inside.sum(), {"mse": (error.detach().sum(), inside.sum())})


def toy_recipe(**changes: object) -> Recipe:
    data = DataConfig(sample_rate=RATE, crop_seconds=1.0, seconds_per_update=2.0, seconds_per_batch=1.0)
    recipe = Recipe(
        seed=3,
        steps=12,
        device="cpu",
        data=data,
        optim=OptimConfig(lr=1e-2, warmup_steps=2),
        checkpoint=CheckpointConfig(every=4, valid_every=6),
    )
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


def toy_setup(
    clips: Sequence[Clip], recipe: Recipe, ledger: Path, update_seconds: float = 2.0, batch_seconds: float = 1.0
) -> LoaderSetup:
    lengths = tuple(int(clip.seconds * RATE) for clip in clips)
    batching = Batching(
        lengths, GRID.hop_samples, RATE, int(update_seconds * RATE), int(batch_seconds * RATE), recipe.seed
    )
    return LoaderSetup(clips, batching, GRID, ClipReader(RATE), None, ErrorLedger(ledger))


def toy_job(manifest: Path, out: Path, recipe: Recipe | None = None, learner: ToyLearner | None = None) -> TrainingJob:
    recipe = recipe or toy_recipe()
    clips = read_manifest(manifest)
    setup = toy_setup(clips, recipe, out / "errors.jsonl")
    training = Training(learner or ToyLearner(), GRID, None, (), lambda folder: None)
    return TrainingJob("toy", recipe, recipe.steps, training, setup, setup, out / "state", out)
