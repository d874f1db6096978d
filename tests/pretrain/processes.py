"""Several processes on one machine, and what they do in tests; kept apart so that they can import it."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing
from safetensors.torch import save_file
from torch import Tensor, nn

from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.data.loader import Batch
from audio_ssl.data.manifest import Clip
from audio_ssl.models.interfaces import Encoder
from audio_ssl.models.normalisation import BatchNorm
from audio_ssl.pretrain.distributed import Team, open_team
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.learner import StepOutput
from audio_ssl.pretrain.loop import train
from tests.pretrain.toy import ToyLearner, toy_job, toy_recipe, toy_setup

Work = Callable[[Team, Path, Path], None]


class Blocks(Encoder):
    def __init__(self, drop: float) -> None:
        super().__init__(16, 3, drop)
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def alike(self) -> list[nn.Module]:
        return list(self.blocks)

    def forward(self, features: Tensor, frames: Tensor, *args: object, **more: object) -> list[Tensor]:
        """Nothing calls it: the learner below runs the blocks by itself."""
        raise AssertionError("the toy's blocks are run by its learner")


class Model(nn.Module):
    def __init__(self, drop: float) -> None:
        super().__init__()
        self.encoder = Blocks(drop)


class BlockLearner(ToyLearner):
    """A toy with blocks, where FSDP2 looks for them, and batch norm; `drop` skips some, one parameter is never used."""

    def __init__(self, drop: float) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.model = Model(drop)
            self.idle = nn.Parameter(torch.ones(3))
            self.norm = BatchNorm(16)
        self.drop = drop
        first = self.layers
        blocks = self.model.encoder.blocks

        def encode(x: Tensor) -> Tensor:
            x = first(x)
            for block in blocks:
                if not (self.training and torch.rand(()) < self.drop):
                    x = x + torch.tanh(block(x))
            y: Tensor = self.norm(x.transpose(1, 2))
            return y.transpose(1, 2)

        self._encode = encode

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        layers, self.layers = self.layers, _Function(self._encode)  # type: ignore[assignment]
        try:
            return super().forward(batch, generator, step)
        finally:
            self.layers = layers

    def trained_encoder(self) -> Encoder:
        return self.model.encoder

    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        self.norm.follow(sum_over_processes)


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x)


def block_job(
    manifest: Path, out: Path, drop: float = 0.0, steps: int = 12, weights_ema: float | None = 0.9
) -> TrainingJob:
    return toy_job(manifest, out, toy_recipe(steps=steps, weights_ema=weights_ema), BlockLearner(drop))


def run_job(job: TrainingJob, team: Team, out: Path, mode: str = "auto") -> None:
    """Train and keep the final parameters."""
    torch.set_num_threads(1)
    train(job, team.with_devices(mode, torch.device("cpu")))  # type: ignore[arg-type]
    if team.leads:
        learner = job.training.learner
        save_file({name: p.detach().clone() for name, p in learner.named_parameters()}, out / "final.safetensors")


def plain(team: Team, manifest: Path, folder: Path) -> None:
    """Train by DDP and by FSDP2, with blocks always used and with blocks skipped."""
    for drop, name in ((0.0, "whole"), (0.5, "dropped")):
        for mode in ("ddp", "fsdp2"):
            out = folder / f"{mode}_{name}"
            run_job(block_job(manifest, out, drop), team, out, mode)


def shared_out(team: Team, manifest: Path, folder: Path) -> None:
    """Train by DDP with blocks always used, and by FSDP2 with blocks skipped."""
    for drop, name, mode in ((0.0, "whole", "ddp"), (0.5, "dropped", "fsdp2")):
        out = folder / f"{mode}_{name}"
        run_job(block_job(manifest, out, drop), team, out, mode)


def stopped_and_moved(team: Team, manifest: Path, folder: Path) -> None:
    """Stop a DDP run by a signal to the last process, and let FSDP2 take it on up to another signal."""
    for mode, calls in (("ddp", 4), ("fsdp2", 3)):
        job = block_job(manifest, folder / "moved")
        learner = job.training.learner
        forward = learner.forward

        def signalled(batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
            if learner.calls == calls and team.rank == team.world_size - 1:  # noqa: B023
                os.kill(os.getpid(), signal.SIGUSR1)
            output: StepOutput = forward(batch, generator, step)  # noqa: B023
            return output

        learner.forward = signalled
        try:
            run_job(job, team, folder, mode)
        except StoppedBySignal as stop:
            (folder / f"{mode}.{team.rank}").write_text(f"{stop.said} {stop}")


def timed_out(team: Team, manifest: Path, folder: Path) -> None:
    """Let the time of the last process alone be over."""
    out = folder / "timed"
    for last in (True, False):
        job = block_job(manifest, out)
        if last and team.rank == team.world_size - 1:
            job = dataclasses.replace(job, deadline=0.0)
        done = train(job, team.with_devices("ddp", torch.device("cpu")))
        (folder / f"timed.{last}.{team.rank}").write_text(str(done))


def by_fairseq2(team: Team, manifest: Path, folder: Path) -> None:
    """Train by fairseq2's trainer, stopped by a signal to the last process and taken on again."""
    from audio_ssl.pretrain.engines import fairseq2

    torch.set_num_threads(1)
    team = team.with_devices("auto", torch.device("cpu"))
    for stops in (True, False):
        job = block_job(manifest, folder / "two", steps=8, weights_ema=None)
        learner = job.training.learner
        forward = learner.forward

        def signalled(batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
            if step == 4 and team.rank == team.world_size - 1 and learner.training:  # noqa: B023
                os.kill(os.getpid(), signal.SIGUSR1)
            output: StepOutput = forward(batch, generator, step)  # noqa: B023
            return output

        if stops:
            learner.forward = signalled
        try:
            fairseq2.train(job, team)
        except StoppedBySignal as stop:
            (folder / f"stopped.{team.rank}").write_text(f"{stop.said} {stop}")


def failing(team: Team, manifest: Path, folder: Path) -> None:
    """Let the targets of one process fail."""
    job = toy_job(manifest, folder / "failing")

    def targets(clip: Clip, start_frame: int, num_frames: int) -> tuple[Tensor, ...]:
        if team.rank == 1:
            raise UserError("the store is gone", where="store", remedy="find it")
        return ()

    job = dataclasses.replace(job, train=dataclasses.replace(job.train, targets=targets if team.rank == 1 else None))
    try:
        run_job(job, team, folder)
    except UserError as error:
        (folder / f"failed.{team.rank}").write_text(f"{error.said} {error}")


def unusable(team: Team, manifest: Path, folder: Path) -> None:
    """Train on clips of which not one can be read."""
    job = toy_job(manifest, folder / "unusable")
    gone = [dataclasses.replace(clip, path=clip.path + ".gone") for clip in job.train.clips]
    setup = toy_setup(gone, job.recipe, folder / f"errors.{team.rank}.jsonl")
    try:
        run_job(dataclasses.replace(job, train=setup), team, folder)
    except UserError as error:
        (folder / f"unusable.{team.rank}").write_text(f"{error.said} {error}")


def several(team: Team, manifest: Path, folder: Path) -> None:
    """Do all that is tried with two processes."""
    for work in (plain, stopped_and_moved, timed_out, failing, unusable):
        work(team, manifest, folder)


def start(work: Work, number: int, manifest: Path, folder: Path) -> None:
    """Run `work` in several processes, as srun would start them."""
    job = random.SystemRandom().randrange(10**6)
    torch.multiprocessing.spawn(_process, (work, number, job, manifest, folder), nprocs=number)


def slurm(rank: int, number: int, job: int) -> dict[str, str]:
    """Return the variables that srun would set."""
    values = {"PROCID": rank, "NTASKS": number, "LOCALID": rank, "JOB_ID": job, "NODELIST": "localhost"}
    return {f"SLURM_{name}": str(value) for name, value in values.items()}


def _process(rank: int, work: Work, number: int, job: int, manifest: Path, folder: Path) -> None:
    os.environ.update(slurm(rank, number, job))
    with open_team() as team:
        work(team, manifest, folder)
