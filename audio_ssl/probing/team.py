"""Runs that are trained together: copies of a head whose parameters are stacked, ``[run, ...]``, and run as one.

A sweep over layers, learning rates and seeds trains hundreds of small heads on the same features. One by one, each
step waits for Python and reads the features again; stacked, a step is a few large products. Runs of one seed see the
same batches; runs of one seed and rate are a team. Heads that cannot be stacked (recurrent ones, batch norms) are teams
of one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from audio_ssl.probing.features import Layers
from audio_ssl.probing.heads._base import Head
from audio_ssl.probing.system import Run, System

State = dict[str, Tensor]


class HeadTeam(Protocol):
    """Some runs of one seed and one learning rate."""

    runs: list[Run]

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained; the first axis of each is the run, but for a team of one."""
        ...

    def losses(self, layers: Layers, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return each run's mean loss, in training."""
        ...

    def answers(self, layers: Layers) -> list[list[Tensor]]:
        """Return each run's predictions of some clips, in evaluation."""
        ...

    def outputs(self, layers: Layers) -> Float[Tensor, "run batch ..."] | None:
        """Return each run's outputs of some clips, in evaluation; None where a head has nothing but predictions."""
        ...

    def state(self, row: int) -> State:
        """Return a copy of a run's weights, as `System` has them."""
        ...

    def keep(self, rows: Sequence[int], optimizer: torch.optim.Optimizer) -> None:
        """Go on with these runs only."""
        ...

    def clip(self, norm: float) -> None:
        """Shorten each run's gradient to at most `norm`."""
        ...


class Solo:
    """A team of one."""

    def __init__(self, run: Run, system: System) -> None:
        self.runs, self.system = [run], system

    def parameters(self) -> list[nn.Parameter]:
        """Return the system's parameters."""
        return list(self.system.parameters())

    def losses(self, layers: Layers, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return the loss."""
        self.system.train()
        return self.system.head.loss(self.system.batch(layers), targets)[None]

    @torch.no_grad()
    def answers(self, layers: Layers) -> list[list[Tensor]]:
        """Return the predictions."""
        self.system.eval()
        return [self.system.head.predict(self.system.batch(layers))]

    def outputs(self, layers: Layers) -> None:
        """Return nothing: the head may have predictions only."""

    def state(self, row: int) -> State:
        """Return a copy of the weights."""
        return {name: value.detach().clone() for name, value in self.system.state_dict().items()}

    def keep(self, rows: Sequence[int], optimizer: torch.optim.Optimizer) -> None:
        """Do nothing: there is one run, or the team has ended."""

    def clip(self, norm: float) -> None:
        """Shorten the gradient to at most `norm`."""
        nn.utils.clip_grad_norm_(self.system.parameters(), norm)


class Stacked:
    """Runs with one head each on single layers, or on mixes, never both.

    Parameters
    ----------
    runs
        Of one seed and one rate.
    systems
        One a run, alike but for their layers.
    """

    def __init__(self, runs: Sequence[Run], systems: Sequence[System]) -> None:
        self.runs = list(runs)
        self._head: Head = copy.deepcopy(systems[0].head).to("meta")
        self._buffers = {"mean": systems[0].mean, "scale": systems[0].scale}
        stacked, _ = stack_module_state([system.head for system in systems])
        self._heads = {name: nn.Parameter(value.detach().clone()) for name, value in stacked.items()}
        mixes = [system.mix for system in systems if system.mix is not None]
        self._mixes = nn.Parameter(torch.stack([mix.detach() for mix in mixes])) if mixes else None
        self._layers = [0 if system.layer is None else system.layer for system in systems]

    def parameters(self) -> list[nn.Parameter]:
        """Return the stacked parameters."""
        return [*self._heads.values(), *(() if self._mixes is None else (self._mixes,))]

    def losses(self, layers: Layers, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return each run's loss."""
        self._head.train()
        return self._head.losses(self._forward(layers), layers.frames, targets)

    @torch.no_grad()
    def outputs(self, layers: Layers) -> Float[Tensor, "run batch ..."]:
        """Return each run's outputs."""
        self._head.eval()
        return self._forward(layers)

    def answers(self, layers: Layers) -> list[list[Tensor]]:
        """Return each run's predictions."""
        return [self._head.answers(output, layers.frames) for output in self.outputs(layers)]

    def state(self, row: int) -> State:
        """Return a copy of a run's weights."""
        heads = {f"head.{name}": value[row].detach().clone() for name, value in self._heads.items()}
        mix = {} if self._mixes is None else {"mix": self._mixes[row].detach().clone()}
        return {**heads, **mix, **self._buffers}

    def keep(self, rows: Sequence[int], optimizer: torch.optim.Optimizer) -> None:
        """Go on with these runs only; the optimiser's memory of the others goes with them."""
        index = torch.tensor(list(rows))
        self.runs = [self.runs[row] for row in rows]
        self._layers = [self._layers[row] for row in rows]
        replaced = {id(old): nn.Parameter(old.detach()[index]) for old in self.parameters()}
        for group in optimizer.param_groups:
            group["params"] = [replaced.get(id(parameter), parameter) for parameter in group["params"]]
        for old in self.parameters():
            memory = optimizer.state.pop(old, {})
            optimizer.state[replaced[id(old)]] = {
                name: value[index] if isinstance(value, Tensor) and value.shape == old.shape else value
                for name, value in memory.items()
            }
        self._heads = {name: replaced[id(old)] for name, old in self._heads.items()}
        self._mixes = None if self._mixes is None else replaced[id(self._mixes)]

    def clip(self, norm: float) -> None:
        """Shorten each run's gradient to at most `norm`."""
        grads = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(grad.flatten(1), dim=1) for grad in grads])
        length = torch.linalg.vector_norm(norms, dim=0)
        if bool((length > norm).any()):
            factor = (norm / length).clamp(max=1.0)
            for grad in grads:
                grad.mul_(factor.view(-1, *(1,) * (grad.ndim - 1)))

    def _forward(self, layers: Layers) -> Float[Tensor, "run batch ..."]:
        if self._mixes is not None:
            x = torch.einsum("rl,lbfd->rbfd", self._mixes.softmax(1), layers.values)
        elif self._layers == list(range(len(layers.values))):
            x = layers.values
        else:
            x = layers.values[self._layers]

        def one(parameters: State, features: Tensor) -> Tensor:
            return cast(Tensor, functional_call(self._head, parameters, (features, layers.frames)))

        # One dropout mask for all runs: that which each would draw alone, so that a run does not depend on its company.
        return cast(Tensor, vmap(one, randomness="same")(self._heads, x))


def form(runs: Sequence[Run], make: Callable[[Run], System]) -> list[HeadTeam]:
    """Return the teams of some runs.

    Parameters
    ----------
    runs
        In any order.
    make
        Makes a run's system, with weights of the run's seed.
    """
    systems = {run: make(run) for run in runs}
    groups: dict[tuple[object, ...], list[Run]] = {}
    for number, run in enumerate(runs):
        alone = () if systems[run].head.stackable else (number,)
        groups.setdefault((run.seed, run.lr, systems[run].mix is None, *alone), []).append(run)
    return [
        Stacked(group, [systems[run] for run in group])
        if systems[group[0]].head.stackable
        else Solo(group[0], systems[group[0]])
        for group in groups.values()
    ]
