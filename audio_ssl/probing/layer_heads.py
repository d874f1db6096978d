"""What is trained: one layer or a mix of layers, standardised or whitened, and a head on it.

Layers are mixed by a softmax over learned weights, uniform at the start (SUPERB, Yang et al. 2021, arXiv 2105.01051).
Each layer's dimensions are first standardised by the training clips, so that sources of any scale train with the same
settings. Whitening gives every direction the same variance, not only every dimension: most of a hidden layer's variance
lies in some twenty directions, and a linear head trained for a thousand updates sees little else. It is the symmetric
one (ZCA, Bell and Sejnowski 1997), which turns the frames as little as can be, so that layers can still be mixed.

Runs that are trained together: copies of a head whose parameters are stacked, ``[run, ...]``, and run as one.

A sweep over layers, learning rates and seeds trains hundreds of small heads on the same features. One by one, each
step waits for Python and reads the features again; stacked, a step is a few large products. Runs of one seed see the
same batches; runs of one seed and rate are a team. Heads that cannot be stacked (recurrent ones, batch norms) are teams
of one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from audio_ssl.data.manifest import Clip
from audio_ssl.probing.features import Bank, LayerBatch, portions
from audio_ssl.probing.head import Head, HeadBatch

SMALLEST_VARIANCE = 1e-9
"""Of a dimension that is used, as a share of the layer's mean variance."""

WEAKEST_DIRECTION = 1e-5
"""Share of the strongest direction's variance below which whitening leaves a direction out: noise, not information."""

_BATCH_CLIPS = 32
"""Clips in a batch of a trained head."""


@dataclass(frozen=True)
class HeadRun:
    """One training of a head."""

    layer: int | None
    """The layer its head sees; None: a learned mix of all."""
    lr: float
    """Learning rate."""
    seed: int
    """Of weights, dropout and order."""
    whiten: bool = False
    """Whether its head sees whitened layers."""


@dataclass(frozen=True)
class LayerStatistics:
    """Of the training frames, by layer and dimension."""

    mean: Float[Tensor, "layer 1 dim"]
    """Mean, which is subtracted."""
    scale: Float[Tensor, "layer rows dim"]
    """One over the standard deviation, one row; 0 for a constant dimension, so that a clip in which it differs does not
    dominate. For whitened layers the whitening matrix ``[layer, dim, dim]``."""

    def standardise(self, layers: LayerBatch) -> LayerBatch:
        """Return standardised or whitened layers, where the statistics are; padding is no longer zero."""
        values = layers.values.to(self.mean.device) - self.mean[:, None]
        return LayerBatch(scaled(values, self.scale), layers.frames.to(self.mean.device))

    def to(self, device: torch.device) -> LayerStatistics:
        """Return the statistics on a device."""
        return LayerStatistics(self.mean.to(device), self.scale.to(device))


class LayerHead(nn.Module):
    """Layer mix and head.

    Parameters
    ----------
    head
        The trainable answer.
    statistics
        Of the training clips.
    layer
        Use this layer only; None mixes all.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: Head, statistics: LayerStatistics, layer: int | None) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("mean", statistics.mean)
        self.register_buffer("scale", statistics.scale)
        count = len(statistics.mean)
        self.layer = 0 if layer is None and count == 1 else layer
        self.mix = nn.Parameter(torch.zeros(count)) if self.layer is None else None

    def batch(self, standardised: LayerBatch) -> HeadBatch:
        """Return what the head sees of standardised layers."""
        if self.mix is None:
            features = standardised.values[cast(int, self.layer)]
        else:
            features = torch.einsum("l,lbfd->bfd", self.mix.softmax(0), standardised.values)
        return HeadBatch(features, standardised.frames)

    def predict(self, bank: Bank, clips: Sequence[Clip]) -> list[Tensor]:
        """Return the head's predictions, clips in the order given."""
        return [answer for batch in self.batches(bank, clips) for answer in self.head.predict(batch)]

    def batches(self, bank: Bank, clips: Sequence[Clip]) -> Iterator[HeadBatch]:
        """Yield what the head sees of some clips, in evaluation."""
        self.eval()
        statistics = LayerStatistics(self.mean, self.scale)
        for part in portions(clips, bank, _BATCH_CLIPS):
            with torch.no_grad():
                batch = self.batch(statistics.standardise(bank.batch(part)))
            yield batch

    def layer_weights(self) -> list[float] | None:
        """Return the learned weights of the layers, or None where there is nothing to mix."""
        return None if self.mix is None else cast(list[float], self.mix.detach().softmax(0).tolist())


def measure_layers(bank: Bank, clips: Sequence[Clip], whiten: bool = False) -> LayerStatistics:
    """Return the statistics of each layer over all frames of some clips: of each dimension, or of all directions."""
    total, sums, squares = 0, torch.zeros(()), torch.zeros(())
    shift: Tensor | None = None
    for part in _blocks(bank, clips):
        layers = part.double()
        # Sums of squares lose nothing where they are taken about a value near the mean.
        shift = layers.mean(1, keepdim=True) if shift is None else shift
        centred = layers - shift
        total += layers.shape[1]
        sums = sums + centred.sum(1, keepdim=True)
        squares = squares + (centred.mT @ centred if whiten else centred.square().sum(1, keepdim=True))
    mean = sums / total
    offset = cast(Tensor, shift) + mean
    if whiten:
        return LayerStatistics(offset.float(), _whitening(squares / total - mean.mT @ mean).float())
    variance = (squares / total - mean.square()).clamp(min=0.0)
    # Relative to the layer, so that its unit does not matter.
    usual = variance.mean(2, keepdim=True)
    scale = torch.where(variance > SMALLEST_VARIANCE * usual, (variance + 1e-6 * usual).rsqrt(), 0.0)
    return LayerStatistics(offset.float(), scale.float())


def _blocks(bank: Bank, clips: Sequence[Clip]) -> Iterator[Float[Tensor, "layer frame dim"]]:
    """Yield the frames of one clip after another; of mean frames, those of many clips at once."""
    if not bank.pooled:
        yield from map(bank.one, clips)
        return
    for start in range(0, len(clips), _BLOCK_CLIPS):
        yield bank.batch(clips[start : start + _BLOCK_CLIPS]).values[:, :, 0]


_BLOCK_CLIPS = 512


def _whitening(covariance: Float[Tensor, "layer dim dim"]) -> Float[Tensor, "layer dim dim"]:
    """Return the symmetric matrix that gives every direction variance 1, and 0 to those that hardly vary."""
    values, directions = torch.linalg.eigh(covariance)
    kept = values > WEAKEST_DIRECTION * values[:, -1:].clamp(min=torch.finfo(values.dtype).tiny)
    roots = torch.where(kept, values.clamp(min=torch.finfo(values.dtype).tiny).rsqrt(), 0.0)
    found: Tensor = (directions * roots[:, None]) @ directions.mT
    return found


def scaled(
    centred: Float[Tensor, "layer ... dim"], scale: Float[Tensor, "layer rows dim"]
) -> Float[Tensor, "layer ... dim"]:
    """Return centred layers times the scale of `LayerStatistics`."""
    if scale.shape[1] == 1:
        return centred * scale.view(len(scale), *(1,) * (centred.ndim - 2), -1)
    return torch.einsum("l...d,lde->l...e", centred, scale)


State = dict[str, Tensor]


class HeadTeam(Protocol):
    """Some runs of one seed and one learning rate."""

    runs: list[HeadRun]

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained; the first axis of each is the run, but for a team of one."""
        ...

    def losses(self, layers: LayerBatch, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return each run's mean loss, in training."""
        ...

    def answers(self, layers: LayerBatch) -> list[list[Tensor]]:
        """Return each run's predictions of some clips, in evaluation."""
        ...

    def outputs(self, layers: LayerBatch) -> Float[Tensor, "run batch ..."] | None:
        """Return each run's outputs of some clips, in evaluation; None where a head has nothing but predictions."""
        ...

    def state(self, row: int) -> State:
        """Return a copy of a run's weights, as `LayerHead` has them."""
        ...

    def keep(self, rows: Sequence[int], optimizer: torch.optim.Optimizer) -> None:
        """Keep these runs only."""
        ...

    def clip(self, norm: float) -> None:
        """Shorten each run's gradient to at most `norm`."""
        ...


class SingleHead:
    """A team of one."""

    def __init__(self, run: HeadRun, system: LayerHead) -> None:
        self.runs, self.system = [run], system

    def parameters(self) -> list[nn.Parameter]:
        """Return the system's parameters."""
        return list(self.system.parameters())

    def losses(self, layers: LayerBatch, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return the loss."""
        self.system.train()
        return self.system.head.loss(self.system.batch(layers), targets)[None]

    @torch.no_grad()
    def answers(self, layers: LayerBatch) -> list[list[Tensor]]:
        """Return the predictions."""
        self.system.eval()
        return [self.system.head.predict(self.system.batch(layers))]

    def outputs(self, layers: LayerBatch) -> None:
        """Return nothing: the head may have predictions only."""

    def state(self, row: int) -> State:
        """Return a copy of the weights."""
        return {name: value.detach().clone() for name, value in self.system.state_dict().items()}

    def keep(self, rows: Sequence[int], optimizer: torch.optim.Optimizer) -> None:
        """Do nothing: there is one run, or the team has ended."""

    def clip(self, norm: float) -> None:
        """Shorten the gradient to at most `norm`."""
        nn.utils.clip_grad_norm_(self.system.parameters(), norm)


class StackedHeads:
    """Runs with one head each on single layers, or on mixes, never both.

    Parameters
    ----------
    runs
        Of one seed and one rate.
    systems
        One a run, alike but for their layers.
    """

    def __init__(self, runs: Sequence[HeadRun], systems: Sequence[LayerHead]) -> None:
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

    def losses(self, layers: LayerBatch, targets: Sequence[Tensor]) -> Float[Tensor, " run"]:
        """Return each run's loss."""
        self._head.train()
        return self._head.losses(self._forward(layers), layers.frames, targets)

    @torch.no_grad()
    def outputs(self, layers: LayerBatch) -> Float[Tensor, "run batch ..."]:
        """Return each run's outputs."""
        self._head.eval()
        return self._forward(layers)

    def answers(self, layers: LayerBatch) -> list[list[Tensor]]:
        """Return each run's predictions."""
        return [self._head.answers(output, layers.frames) for output in self.outputs(layers)]

    def state(self, row: int) -> State:
        """Return a copy of a run's weights."""
        heads = {f"head.{name}": value[row].detach().clone() for name, value in self._heads.items()}
        mix = {} if self._mixes is None else {"mix": self._mixes[row].detach().clone()}
        return {**heads, **mix, **self._buffers}

    def keep(self, rows: Sequence[int], optimizer: torch.optim.Optimizer) -> None:
        """Keep these runs only, and the optimiser's state of these."""
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

    def _forward(self, layers: LayerBatch) -> Float[Tensor, "run batch ..."]:
        if self._mixes is not None:
            x = torch.einsum("rl,lbfd->rbfd", self._mixes.softmax(1), layers.values)
        elif self._layers == list(range(len(layers.values))):
            x = layers.values
        else:
            x = layers.values[self._layers]

        def one(parameters: State, features: Tensor) -> Tensor:
            return cast(Tensor, functional_call(self._head, parameters, (features, layers.frames)))

        # One dropout mask for all runs, the one that each would draw alone: a run does not depend on the others.
        return cast(Tensor, vmap(one, randomness="same")(self._heads, x))


def form_teams(runs: Sequence[HeadRun], make: Callable[[HeadRun], LayerHead]) -> list[HeadTeam]:
    """Return the teams of some runs.

    Parameters
    ----------
    runs
        In any order.
    make
        Makes a run's system, with weights of the run's seed.
    """
    systems = {run: make(run) for run in runs}
    groups: dict[tuple[object, ...], list[HeadRun]] = {}
    for number, run in enumerate(runs):
        alone = () if systems[run].head.stackable else (number,)
        groups.setdefault((run.seed, run.lr, systems[run].mix is None, *alone), []).append(run)
    return [
        StackedHeads(group, [systems[run] for run in group])
        if systems[group[0]].head.stackable
        else SingleHead(group[0], systems[group[0]])
        for group in groups.values()
    ]
