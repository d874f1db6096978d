"""Where a process stands among those of a job, read from what torchrun and srun set.

These variables are the one thing that the environment decides: the launchers have no other way to say it.
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
    """One process of a job of several."""

    rank: int
    """Number of the process, from 0."""

    world_size: int
    """Number of processes."""

    local_rank: int
    """Number of the process on its machine, from 0; also the number of its GPU."""

    meeting: str
    """Where the processes meet: ``env://`` under torchrun, which has a place ready, else ``tcp://host:port``."""


def read_place(environment: Mapping[str, str]) -> Place | None:
    """Return the place of this process, or None where it is the only one.

    Raises
    ------
    UserError
        If the variables of a launcher are there only in part.

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
    # A batch script inherits the number of tasks, too; only what srun starts is one of them.
    alone = environment.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in environment
    if "SLURM_PROCID" not in environment or alone:
        return None
    return _slurm(environment)


def is_leader(environment: Mapping[str, str]) -> bool:
    """Tell whether this process is the only one or the first of its job, which alone speaks to the user."""
    place = read_place(environment)
    return place is None or place.rank == 0


def tell_launcher(environment: Mapping[str, str], text: str) -> None:
    """Let torchrun repeat why this process ends, in the summary that it prints last; other launchers need no word.

    torchrun raises an error of its own when a process ends with another status than 0. Without a file from the process
    the summary below that traceback says only how to get one.
    """
    path = environment.get("TORCHELASTIC_ERROR_FILE")
    if path is not None:
        reason = {"message": {"message": text, "extraInfo": {"timestamp": str(int(time.time()))}}}
        # torchrun makes the folder; if it is gone, there is nobody to tell.
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
