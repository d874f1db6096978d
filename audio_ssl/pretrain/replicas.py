"""A learner trained by several processes: wrapped for DistributedDataParallel or FSDP2, and made whole again.

Every trainable parameter takes part in every backward pass, so that processes whose micro-batches use different parts
of the learner (a block dropped, a head without a masked frame) still meet in the same collectives; which parameters
were truly used is kept, and one that no micro-batch used gets no gradient, as in a single process.

FSDP2 shards the blocks of the encoder one by one and the rest as one group. Blocks that may be skipped (layer drop)
would not gather their weights in all processes, so with layer drop the whole learner is one group.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from audio_ssl.base.errors import UserError
from audio_ssl.data.loader import Batch
from audio_ssl.pretrain.distributed import Team
from audio_ssl.pretrain.learner import Learner, StepOutput
from audio_ssl.pretrain.optim import trainable


class Runner(Protocol):
    """Runs a learner for `Updater`."""

    @property
    def used(self) -> set[str]:
        """Names of the parameters that had a part in a loss since this set was cleared."""
        ...

    def backward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Run a micro-batch forwards and see to it that it is run backwards."""
        ...

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Run a micro-batch forwards only."""
        ...

    def rest(self) -> None:
        """Free what is needed while running only."""
        ...


class Replica:
    """The part of the learner that is this process's.

    Parameters
    ----------
    learner
        On its device already.
    team
        How many share it and how.
    """

    def __init__(self, learner: Learner, team: Team) -> None:
        self.learner, self._team = learner, team
        self._whole = AllParametersUsed(learner)
        self._ddp: DistributedDataParallel | None = None
        if team.mode == "ddp":
            self._ddp = DistributedDataParallel(self._whole, process_group=team.data, broadcast_buffers=False)
        elif team.mode == "fsdp2":
            shard(self._whole, learner, team)

    @property
    def used(self) -> set[str]:
        """Names of the parameters that had a part in a loss since this set was cleared."""
        return self._whole.used

    def backward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Run a micro-batch forwards and backwards; gradients are averaged over processes with the last one."""
        if self._team.mode == "none":
            output: StepOutput = self.learner(batch, generator, step)
            output.loss_sum.backward()  # type: ignore[no-untyped-call]
            return output
        accumulate = self._ddp is not None and not batch.last
        with cast(DistributedDataParallel, self._ddp).no_sync() if accumulate else nullcontext():
            output = StepOutput(*(self._ddp or self._whole)(batch, generator, step))
            weighted = output.loss_sum if batch.counts else 0.0 * output.loss_sum
            weighted.backward()  # type: ignore[no-untyped-call]
        return output

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Run a micro-batch forwards only."""
        if self._team.mode == "none":
            output: StepOutput = self.learner(batch, generator, step)
            return output
        return StepOutput(*self._whole(batch, generator, step))

    def rest(self) -> None:
        """Keep no more than this process's share of the weights."""
        for module in self._whole.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


class AllParametersUsed(nn.Module):
    """A learner whose parameters all take part in the loss, some of them with weight zero."""

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        self.learner = learner
        self.used: set[str] = set()

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Return the fields of the learner's `StepOutput`: wrappers pass on tuples, and no dataclasses of ours."""
        output = self.learner(batch, generator, step)
        loss = output.loss_sum
        if not torch.is_grad_enabled():
            return loss, output.count, output.metrics
        seen = leaves(loss)
        for name, parameter in trainable(self.learner):
            # Blocks that are sharded on their own are shards again by now; they are never skipped.
            if isinstance(parameter, DTensor) or id(parameter) in seen:
                if batch.counts:
                    self.used.add(name)
            else:
                loss = loss + 0.0 * parameter.sum()
        return loss, output.count, output.metrics


def leaves(loss: Tensor) -> set[int]:
    """Return the ids of the leaf tensors that a loss depends on."""
    found: set[int] = set()
    visited: set[Any] = set()
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        waiting.extend(following for following, _ in node.next_functions)
    return found


def shard(whole: nn.Module, learner: Learner, team: Team) -> None:
    """Shard a learner's parameters over the team.

    Raises
    ------
    UserError
        If a parameter is a single number, which cannot be sharded.
    """
    for name, parameter in learner.named_parameters():
        if parameter.ndim == 0:
            raise UserError(f"FSDP2 cannot share out the scalar parameter `{name}`", where="$.parallel")
    device = next(learner.parameters()).device
    mesh = DeviceMesh.from_group(team.data, device.type)
    encoder = learner.trained_encoder()
    if encoder is not None and encoder.layer_drop == 0:
        for layer in encoder.alike():
            fully_shard(layer, mesh=mesh)
    fully_shard(whole, mesh=mesh)


@torch.no_grad()
def gather_weights(module: nn.Module) -> None:
    """Give a sharded module plain parameters, for saving; it cannot be trained any more."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if isinstance(parameter, DTensor):
                plain = nn.Parameter(parameter.full_tensor().cpu(), requires_grad=parameter.requires_grad)
                part._parameters[name] = plain


def compile_layers(learner: Learner) -> None:
    """Compile the encoder's layers, which all share one compilation, or else the encoder.

    Raises
    ------
    UserError
        If the learner has no encoder.
    """
    encoder = learner.trained_encoder()
    if encoder is None:
        raise UserError("`compile` is for models with an encoder", where="$.compile", remedy="give compile=false")
    for module in encoder.alike() or [encoder]:
        module.compile()  # type: ignore[no-untyped-call]
