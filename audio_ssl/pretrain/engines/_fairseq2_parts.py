"""The parts that fairseq2's trainer is given: processes, data, learner, learning rate, files.

What an update is stays with `Updater`; the trainer decides when to read, run forwards and backwards, clip, step, save,
publish and validate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from fairseq2.datasets import DataReader
from fairseq2.device import SupportsDeviceTransfer
from fairseq2.gang import FakeGang, Gangs, ProcessGroupGang
from fairseq2.io import CorruptFileError, TensorFileDumper, TensorFileLoader
from fairseq2.nn.data_parallel import DataParallelFacade
from fairseq2.nn.ddp import to_ddp
from fairseq2.nn.utils.grad import clip_grad_norm
from fairseq2.utils.threading import ThreadPool
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler

from audio_ssl.base.disk import writing
from audio_ssl.data.loader import Batch, EndOfUpdate, Loader, Position, nothing_usable
from audio_ssl.pretrain.checkpoint import TrainingState
from audio_ssl.pretrain.distributed import Team, agreed
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.learner import StepOutput
from audio_ssl.pretrain.optim import OptimConfig, group_rates, learning_rate
from audio_ssl.pretrain.replicas import AllParametersUsed


class _TeamGang(ProcessGroupGang):  # type: ignore[misc]
    """The team's processes; the trainer leaves them open when it ends, as the run still needs them."""

    def close(self) -> None:
        """Do nothing."""


def gangs_of(team: Team, device: torch.device) -> Gangs:
    """Return a team as fairseq2 sees it, without asking any cluster."""
    alone = FakeGang(device=device)
    all_ = alone if team.world_size == 1 else _TeamGang(team.data, device)
    return Gangs(root=all_, dp=all_, rdp=all_, sdp=alone, tp=alone, pp=alone)


class Carried(SupportsDeviceTransfer):  # type: ignore[misc]
    """A micro-batch that can be moved in place, which fairseq2 asks for."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """Move the batch to a device."""
        self.batch = self.batch.to(device)


class Reader(DataReader):  # type: ignore[misc]
    """Gives the micro-batches of one update after the other, without end.

    Parameters
    ----------
    job
        What to read.
    team
        Who shares it.

    Raises
    ------
    UserError
        While iterating, if a whole epoch has not one usable clip.
    """

    def __init__(self, job: TrainingJob, team: Team) -> None:
        self.state = TrainingState(job.recipe.seed, epoch=0, position=0, step=0)
        """The run's; kept here, as fairseq2 saves the reader's state and that of no other part of ours."""
        self.then = Position(0, 0)
        """Position of the data after the update that was read last."""
        self._job, self._team = job, team
        self._items: Iterator[tuple[Batch | EndOfUpdate, int]] | None = None
        self._open = ExitStack()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[Carried]:
        if self._items is None:
            start = Position(self.state.epoch, self.state.position)
            loader = Loader(self._job.train, start, None, self._team.rank, self._team.world_size)
            self._items = agreed(self._open.enter_context(loader), self._team)
            self._usable = start.update > 0
        batches: list[Carried] = []
        for item, _ in self._items:
            if isinstance(item, Batch):
                batches.append(Carried(item))
                continue
            self.then = item.then
            self._usable = self._usable or bool(batches)
            if not self._usable and item.then.update == 0:
                raise self._team.own(nothing_usable(self._job.train))
            self._usable = self._usable and item.then.update > 0
            if batches:
                return batches
        raise AssertionError("the loader has no end")

    def reset(self) -> None:
        """Do nothing: there is no end to begin again after."""

    def state_dict(self) -> dict[str, object]:
        """Return where the run stands."""
        return dataclasses.asdict(self.state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.state = TrainingState(**state_dict)

    @property
    def num_accumulate(self) -> int:
        """The number of micro-batches of an update differs; fairseq2 uses this for nothing but its own readers."""
        return 1

    def close(self) -> None:
        """Stop reading."""
        self._open.close()


class Runs:
    """Runs the learner forwards for `Updater` and leaves the way back to fairseq2's trainer.

    Parameters
    ----------
    learner
        On its device already.
    gangs
        Several processes share it by DistributedDataParallel as fairseq2 sets it up.
    """

    def __init__(self, learner: nn.Module, gangs: Gangs) -> None:
        self._whole = AllParametersUsed(learner)
        self._several = gangs.root.size > 1
        self.module: nn.Module = to_ddp(self._whole, gangs) if self._several else learner
        self._loss: Tensor | None = None

    @property
    def used(self) -> set[str]:
        """Names of the parameters that had a part in a loss since this set was cleared."""
        return self._whole.used

    def backward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Run a micro-batch forwards and keep its loss for `take_loss`."""
        output = self.module(batch, generator, step)
        output = StepOutput(*output) if self._several else output
        self._loss = output.loss_sum if batch.counts else 0.0 * output.loss_sum
        return output

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Run a micro-batch forwards only."""
        if not self._several:
            output: StepOutput = self.module(batch, generator, step)
            return output
        return StepOutput(*self._whole(batch, generator, step))

    def take_loss(self) -> Tensor:
        """Return the loss of the micro-batch that was run last, to be run backwards."""
        loss, self._loss = self._loss, None
        assert loss is not None, "a loss is taken once"
        return loss

    def rest(self) -> None:
        """Do nothing: every process holds all weights."""


class Facade(DataParallelFacade):  # type: ignore[misc]
    """What the trainer does to the model as a whole; weights are saved under the learner's own names."""

    def __init__(self, learner: nn.Module, module: nn.Module) -> None:
        self.norm = 0.0
        """Norm of the gradients of the last update, before clipping."""
        self._learner, self._module = learner, module

    def state_dict(self) -> dict[str, object]:
        """Return the learner's state."""
        return dict(self._learner.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the learner's state."""
        self._learner.load_state_dict(state_dict)

    def no_sync(self) -> AbstractContextManager[None]:
        """Return a block in which gradients stay in their process."""
        return self._module.no_sync() if isinstance(self._module, DistributedDataParallel) else nullcontext()

    def clip_grad_norm(self, max_norm: float | None) -> Tensor:
        """Scale the gradients down to a norm; return what it was."""
        norm: Tensor = clip_grad_norm(self._module, max_norm)
        self.norm = float(norm)
        return norm

    def summon_full_parameters(self) -> AbstractContextManager[None]:
        """Return a block in which all weights are there: they always are."""
        return nullcontext()


class Schedule(LRScheduler):
    """The recipe's learning rate, a function of the step."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimConfig, steps: int) -> None:
        self._rate: Callable[[int], float] = lambda step: learning_rate(config, step, steps)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Return the rate of the update to come, for each group of parameters."""
        return group_rates(self.optimizer, self._rate(self.last_epoch))

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the update to come."""
        return {"last_epoch": self.last_epoch}


class PlainFiles(TensorFileLoader, TensorFileDumper):  # type: ignore[misc]
    """Reads and writes the trainer's files so that reading runs nothing; fairseq2's own way would, but for weights."""

    def load(self, file: Path, options: object = None) -> dict[str, object]:
        """Read a file of tensors and plain values."""
        try:
            loaded: dict[str, object] = torch.load(file, map_location="cpu", weights_only=True)
        except OSError:
            raise
        # A damaged file may raise anything: it is read by an interpreter of pickles, if a harmless one.
        except Exception as error:
            raise CorruptFileError(file) from error
        return loaded

    def dump(self, data: Mapping[str, object], file: Path, options: object = None) -> None:
        """Write a file of tensors and plain values; `weights_only` reads no later protocol than 2."""
        with writing(file):
            torch.save(data, file, pickle_protocol=2)


class OneThread(ThreadPool):  # type: ignore[misc]
    """Writes checkpoints beside the training."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpoint")

    def queue(self, callback: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run a function in the thread."""
        return self._pool.submit(callback, *args)

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown()
