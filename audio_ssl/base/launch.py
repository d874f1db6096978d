"""The rank of a process in a job, read from the environment variables of torchrun and srun.

These are the only environment variables that are read, as launchers have no other way to pass the rank.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.base.errors import UserError

_FIRST_PORT, _PORTS = 15_000, 20_000


@dataclass(frozen=True)
class Place:
    """A process of a job with several processes."""

    rank: int
    """Number of the process, from 0."""

    world_size: int
    """Number of processes."""

    local_rank: int
    """Number of the process on its machine, from 0; also the number of its GPU."""

    meeting: str
    """Address of the rendezvous: ``env://`` under torchrun, which provides it, else ``tcp://host:port``."""


def read_place(environment: Mapping[str, str]) -> Place | None:
    """Return the place of this process; None if it is the only one.

    Raises
    ------
    UserError
        If only some variables of a launcher are set.

    Examples
    --------
    >>> read_place({}) is None
    True
    >>> slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "70007"}
    >>> read_place({**slurm, "SLURM_NODELIST": "gpu[07-08]"})
    Place(rank=3, world_size=4, local_rank=1, meeting='tcp://gpu07:25007')
    """
    if "WORLD_SIZE" in environment and "RANK" in environment:
        return _torchrun(environment)
    # A batch script has the number of tasks as well, but only processes started by srun are tasks.
    alone = environment.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in environment
    if "SLURM_PROCID" not in environment or alone:
        return None
    return _slurm(environment)


def is_leader(environment: Mapping[str, str]) -> bool:
    """Return whether this process is the only one or the first of its job, which alone prints messages."""
    place = read_place(environment)
    return place is None or place.rank == 0


def tell_launcher(environment: Mapping[str, str], text: str) -> None:
    """Write the reason why this process ends to the file that torchrun prints in its summary.

    torchrun raises an error if a process ends with a status other than 0. Without this file, its summary has no reason.
    Other launchers need nothing.
    """
    path = environment.get("TORCHELASTIC_ERROR_FILE")
    if path is not None:
        reason = {"message": {"message": text, "extraInfo": {"timestamp": str(int(time.time()))}}}
        # torchrun creates the folder; if it is gone, there is no reader.
        with contextlib.suppress(OSError):
            Path(path).write_text(json.dumps(reason), encoding="ascii")


def first_host(nodes: str) -> str:
    """Return the first host of SLURM's list of nodes.

    Examples
    --------
    >>> [first_host(nodes) for nodes in ("a1,a2", "gpu[003-005,9],b", "rack[2-3]n[01-16]", "login-1.site")]
    ['a1', 'gpu003', 'rack2n01', 'login-1.site']
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes.strip())
    name = first.group(0) if first else ""
    return re.sub(r"\[([^\]\-,]+)[^\]]*\]", r"\1", name)


def _torchrun(environment: Mapping[str, str]) -> Place | None:
    size = _number(environment, "WORLD_SIZE")
    if size == 1:
        return None
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in environment:
            raise UserError(f"WORLD_SIZE is {size}, but {name} is not set", remedy="start the processes with torchrun")
    local = "LOCAL_RANK" if "LOCAL_RANK" in environment else "RANK"
    return Place(_number(environment, "RANK"), size, _number(environment, local), "env://")


def _slurm(environment: Mapping[str, str]) -> Place | None:
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    size = _number(environment, tasks) if tasks in environment else 1
    if size == 1:
        return None
    lists = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    host = next((first_host(environment[name]) for name in lists if environment.get(name)), "")
    if not host:
        raise UserError(f"{tasks} is {size}, but SLURM_NODELIST is not set", remedy="start the processes with srun")
    job = _number(environment, "SLURM_JOB_ID") if "SLURM_JOB_ID" in environment else 0
    step = environment.get("SLURM_STEP_ID", "0")
    port = _FIRST_PORT + (job + (int(step) if step.isdigit() else 0)) % _PORTS
    return Place(
        _number(environment, "SLURM_PROCID"), size, _number(environment, "SLURM_LOCALID"), f"tcp://{host}:{port}"
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdigit():
        raise UserError(f"the variable {name} must be a number, but is `{text}`", remedy="start with torchrun or srun")
    return int(text)
