"""In this process, or in those of torchrun or srun."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist

from audio_ssl.base.errors import UserError
from audio_ssl.base.launch import read_place
from audio_ssl.features.job import EngineTraits, ProcessShare, SharedJob

TRAITS = EngineTraits(starts_processes=False)


def run(job: SharedJob, begin: Callable[[], None]) -> None:
    """Do this process's part, and wait for the others.

    Parameters
    ----------
    job
        What the processes share.
    begin
        Claims the folder; no process begins before it has returned in all of them.

    Raises
    ------
    UserError
        In every process if one fails; the process that fails gives the reason.
    """
    place = read_place(os.environ)
    if place is None:
        begin()
        job.run_share(ProcessShare(), job.settings.torch_device())
        return
    # Clips are counted when all have written; how long that takes depends on the audio.
    dist.init_process_group(
        "gloo", init_method=place.meeting, rank=place.rank, world_size=place.world_size, timeout=timedelta(days=30)
    )
    try:
        _together(begin)
        _together(
            lambda: job.run_share(
                ProcessShare(place.rank, place.world_size), job.settings.torch_device(place.local_rank)
            )
        )
    finally:
        dist.destroy_process_group()


def _together(work: Callable[[], None]) -> None:
    """Work and wait for the others; an error in one process, which would leave the others waiting, ends all."""
    error: UserError | None = None
    try:
        work()
    except UserError as raised:
        error = raised
    failed = torch.tensor([int(error is not None)])
    dist.all_reduce(failed, dist.ReduceOp.MAX)
    if error is not None:
        raise error
    if int(failed):
        quiet = UserError("another process of the job has failed")
        quiet.said = True
        raise quiet
