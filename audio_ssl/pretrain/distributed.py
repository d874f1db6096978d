"""The processes of a job as one team, the device of each, and deterministic kernels.

A `Team` says who leads, adds up tensors, and ends all processes where one has an error. Small things (errors, stops,
sums for the log) go over gloo as text; gradients go over NCCL on GPUs and gloo on CPUs. Nothing is pickled. Without a
launcher the team is one process, and every method returns what it was given.

`deterministic` chooses kernels that give the same bits each time, so that a resumed run equals the uninterrupted one on
a GPU, too. On a CPU all kernels do. On a GPU some gradients (of convolutions, of attention) are sums in the order in
which threads happen to come.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.base.launch import Place, read_place
from audio_ssl.data.loader import Batch, EndOfUpdate
from audio_ssl.pretrain.guards import StopRequest

T = TypeVar("T")
_End = TypeVar("_End", bound=UserError | StoppedBySignal)
Mode = Literal["none", "ddp", "fsdp2"]

_MEETING = datetime.timedelta(minutes=30)
_WAIT = datetime.timedelta(days=14)
"""Longest wait for the leader, which may train a codec first."""

_LEADER_SPEAKS_SECONDS = 2.0

_Ending = UserError | StoppedBySignal


@dataclass(frozen=True)
class Team:
    """The processes that train one model.

    Examples
    --------
    >>> alone = Team()
    >>> alone.leads, alone.gather_text("hello"), alone.device("cpu").type
    (True, ['hello'], 'cpu')
    """

    rank: int = 0
    """Number of this process, from 0."""

    world_size: int = 1
    """Number of processes."""

    local_rank: int = 0
    """Number of this process on its machine."""

    mode: Mode = "none"
    """``ddp``: every process holds all weights; ``fsdp2``: its share of them; ``none``: there is one process."""

    control: Any = None
    """Group of processes for text; patient."""

    data: Any = None
    """Group of processes for gradients and statistics, on the devices; None until the device is chosen."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def device(self, kind: str) -> torch.device:
        """Return this process's own device of a kind (cpu, cuda)."""
        if kind != "cuda" or self.world_size == 1:
            return torch.device(kind)
        device = torch.device("cuda", self.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device

    def gather_text(self, text: str) -> list[str]:
        """Return the texts of all processes, in the order of their ranks."""
        if self.world_size == 1:
            return [text]
        mine = text.encode()
        sizes = [torch.zeros(1, dtype=torch.long) for _ in range(self.world_size)]
        dist.all_gather(sizes, torch.tensor([len(mine)]), group=self.control)
        longest = max(1, *(int(size) for size in sizes))
        padded = torch.frombuffer(bytearray(mine.ljust(longest, b"\0")), dtype=torch.uint8)
        all_ = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world_size)]
        dist.all_gather(all_, padded, group=self.control)
        return [bytes(one[: int(size)].tolist()).decode() for one, size in zip(all_, sizes, strict=True)]

    def most(self, numbers: list[int]) -> list[int]:
        """Return, place by place, the largest number of any process."""
        if self.world_size == 1:
            return numbers
        values = torch.tensor(numbers)
        dist.all_reduce(values, dist.ReduceOp.MAX, group=self.control)
        return [int(value) for value in values]

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; all must ask for the same shape in the same order."""
        if self.world_size == 1:
            return tensor
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=self.data)
        return total

    def own(self, ending: _End) -> _End:
        """Mark an error that all processes raise, so that the leader alone prints it."""
        ending.said = not self.leads
        return ending

    def agree(self, error: _Ending | None) -> None:
        """End all processes where one has an error; the message of the leader is the one that is shown."""
        if not self.most([int(error is not None)])[0]:
            return
        texts = self.gather_text(_to_text(error))
        first = next(rank for rank, text in enumerate(texts) if text)
        if first == self.rank and self.leads:
            assert error is not None
            raise error
        raise self.own(_from_text(texts[first], f"process {first} of {self.world_size}" if first else None))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block on every process; an error or a stop in one ends the block in all.

        No process may wait for another inside the block.
        """
        error: _Ending | None = None
        try:
            yield
        except (UserError, StoppedBySignal) as ending:
            error = ending
        except KeyboardInterrupt:
            if self.world_size == 1:
                raise
            error = StoppedBySignal("what was finished is on the disk; run the command again with --resume to go on")
        if self.world_size == 1 and error is not None:
            raise error
        self.agree(error)

    def leader_first(self, work: Callable[[], T]) -> T:
        """Run `work` on the leader first; the other processes run it afterwards and find its files."""
        result: T
        with self.together():
            if self.leads:
                result = work()
        with self.together():
            if not self.leads:
                result = work()
        return result

    def with_devices(self, mode: Literal["auto", "ddp", "fsdp2"], device: torch.device) -> Team:
        """Return the team with a way to sum tensors on a kind of device."""
        if self.world_size == 1:
            return self
        group = dist.new_group(backend="nccl" if device.type == "cuda" else "gloo", timeout=_MEETING)
        chosen: Mode = "ddp" if mode == "auto" else mode
        return Team(self.rank, self.world_size, self.local_rank, chosen, self.control, group)


ALONE = Team()
"""A single process."""


@contextmanager
def open_team() -> Iterator[Team]:
    """Join the processes that a launcher has started; leave them at the end.

    Raises
    ------
    UserError
        If the launcher's variables make no sense or not all processes come.
    """
    place = read_place(os.environ)
    if place is None:
        yield ALONE
        return
    _meet(place)
    package = logging.getLogger("audio_ssl")
    level = package.level
    try:
        if place.rank > 0:
            package.setLevel(logging.ERROR)
        control = dist.new_group(backend="gloo", timeout=_WAIT)
        yield Team(place.rank, place.world_size, place.local_rank, "ddp", control)
    except (UserError, StoppedBySignal):
        # torchrun ends the others as soon as one has left; the leader shall have said why by then.
        if place.rank > 0:
            time.sleep(_LEADER_SPEAKS_SECONDS)
        raise
    finally:
        package.setLevel(level)
        dist.destroy_process_group()


def _meet(place: Place) -> None:
    try:
        dist.init_process_group("gloo", place.meeting, _MEETING, place.world_size, place.rank)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {place.rank} of {place.world_size} could not meet the others at {place.meeting}: {error}",
            remedy="see that all processes were started and that the port is free",
        ) from error


def _to_text(error: _Ending | None) -> str:
    if error is None:
        return ""
    if isinstance(error, UserError):
        return json.dumps({"what": error.what, "where": error.where, "remedy": error.remedy})
    return json.dumps({"stopped": str(error)})


def _from_text(text: str, who: str | None) -> _Ending:
    data = json.loads(text)
    if "stopped" in data:
        return StoppedBySignal(data["stopped"])
    what = f"{data['what']} [{who}]" if who else data["what"]
    return UserError(what, where=data["where"], remedy=data["remedy"])


_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(asked: bool) -> Iterator[None]:
    """Choose kernels that repeat their bits inside the block, where they are asked for and there is a GPU.

    Raises
    ------
    UserError
        If there is no such kernel for an operation.
    """
    if not asked or not torch.cuda.is_available():
        yield
        return
    # Read when the GPU's first product is asked for; a fixed workspace makes products repeat.
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    # To warn only would leave attention as it is.
    torch.use_deterministic_algorithms(True)
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32):
            yield
    except RuntimeError as error:
        text = str(error).splitlines()[0]
        if "deterministic" not in text:
            raise
        raise UserError(text, where="$.deterministic", remedy="give deterministic=false") from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def agreed(
    items: Iterable[Batch | EndOfUpdate], team: Team, stop: StopRequest | None = None
) -> Iterator[tuple[Batch | EndOfUpdate, int]]:
    """Wait until all processes have the next item, then yield it with the stop request of any (`StopRequest.asked`).

    An error of one loader ends all processes here, before they meet in the item's collectives.

    Raises
    ------
    UserError
        If a loader fails, or the processes do not read the same.
    """
    iterator = iter(items)
    while True:
        item: Batch | EndOfUpdate | None = None
        error: UserError | None = None
        try:
            item = next(iterator, None)
        except UserError as raised:
            if team.world_size == 1:
                raise
            error = raised
        if team.world_size > 1:
            kind = {Batch: 1, EndOfUpdate: 2}.get(type(item), 0)
            mine = stop.asked() if stop else 0
            failed, most, least, asked = team.most([int(error is not None), kind, -kind, mine])
            if failed:
                team.agree(error)
            if most != -least:
                raise team.own(
                    UserError(
                        "the processes do not find the same clips", remedy="see that all of them read the same files"
                    )
                )
        else:
            asked = stop.asked() if stop else 0
        if item is None:
            return
        yield item, asked


def choose_device(name: str) -> torch.device:
    """Return the device a recipe asks for.

    Raises
    ------
    UserError
        If it asks for a GPU and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("`device` is cuda, but no GPU can be used", where="$.device", remedy="give device=cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
