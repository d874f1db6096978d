"""In this process, or in those of torchrun or srun."""

from __future__ import annotations

import os
from datetime import timedelta

import torch.distributed as dist

from audio_ssl.features.job import Job, Part, run_part
from audio_ssl.place import read_place


def run(job: Job) -> None:
    """Do this process's part, and wait for the others."""
    place = read_place(os.environ)
    if place is None:
        run_part(job, Part(), job.settings.torch_device())
        return
    # Nobody begins before the folder is claimed, nobody counts before all have written; how long that takes is the
    # audio's affair.
    dist.init_process_group(
        "gloo", init_method=place.meeting, rank=place.rank, world_size=place.world_size, timeout=timedelta(days=30)
    )
    try:
        dist.barrier()
        run_part(job, Part(place.rank, place.world_size), job.settings.torch_device(place.local_rank))
        dist.barrier()
    finally:
        dist.destroy_process_group()
