"""On a Ray cluster: one worker a GPU, or one for each two CPU cores; they and this process see the same folders.

Ray finds the cluster as its own programs do (``RAY_ADDRESS``, or one on this machine); without one it starts one here.
"""

from __future__ import annotations

from collections.abc import Callable

import ray
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.features.job import EngineTraits, ProcessShare, SharedJob

TRAITS = EngineTraits(starts_processes=True)

_CORES = 2
"""Of a worker without a GPU."""


def run(job: SharedJob, begin: Callable[[], None]) -> None:
    """Claim the folder, share a job out over workers and wait for all of them.

    Ray restarts a worker that dies, and the worker continues from what is on the disk.

    Raises
    ------
    UserError
        If a worker raises one.
    """
    begin()
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if job.settings.device != "cpu" else 0
        cores = max(1, int(resources.get("CPU", 1)))
        size = job.settings.ray_workers or gpus or max(1, cores // _CORES)
        threads = max(1, min(_CORES, cores // size))
        worker = ray.remote(_part).options(num_cpus=0 if gpus else threads, num_gpus=1 if gpus else 0, max_retries=3)
        ray.get([worker.remote(job, ProcessShare(rank, size), threads) for rank in range(size)])
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, UserError) else error) from None
    finally:
        if started:
            ray.shutdown()


def _part(job: SharedJob, part: ProcessShare, threads: int) -> None:
    # To a worker, Ray shows its own GPU alone, as number 0.
    device = job.settings.torch_device()
    if device.type == "cpu":
        torch.set_num_threads(threads)
    job.run_share(part, device)
