"""AdamW, and the learning rate as a pure function of the step.

Weight decay is decoupled (Loshchilov and Hutter 2019, arXiv 1711.05101), as in fairseq's Adam: a weight loses
``lr * weight_decay`` of itself before Adam's step. torch's AdamW adds epsilon to the corrected second moment, as the
newer fused Adam of apex does, which fairseq prefers; fairseq's own Adam adds it before the correction.
That scales epsilon by up to 7 in the first updates and is gone after a few hundred.

The gradient of an update is that of the summed loss over all its micro-batches and processes, divided by the count of
its masked frames and clipped after that: fairseq's division by ``sample_size``. There is no loss scale, as weights,
gradients and sums are float32 and only products are bfloat16.

A running average of the weights (Polyak and Juditsky 1992), which is saved as the run's model where a recipe asks.

``average = d * average + (1 - d) * weights`` after each update, with ``d = min(decay, (1 + n) / (10 + n))`` after n
updates, so that the random start is soon forgotten. It has no part in training or validation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from audio_ssl.base.versions import added
from audio_ssl.models.depths import rate_shares
from audio_ssl.models.model import SSLModel


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warmup and decay."""

    lr: float = 5e-4
    """Peak learning rate (MERT 95M)."""

    betas: tuple[float, float] = (0.9, 0.98)
    """Adam's betas (MERT, HuBERT)."""

    eps: float = 1e-6
    """Adam's epsilon (MERT, HuBERT)."""

    weight_decay: float = 0.01
    """Decoupled weight decay, times the learning rate (MERT, HuBERT)."""

    weight_decay_on: Literal["all", "matrices"] = added("all", earlier="matrices")
    """Which weights decay: all (fairseq and SpeechBrain, so all published recipes), or matrices alone: no norms, no
    biases and no mask embedding (runs of earlier releases)."""

    warmup_steps: int = 32000
    """Updates of linear warmup (MERT); at most a quarter of `steps`, so that shortened runs learn too."""

    warmup_start: Literal["published", "one"] = added("published", earlier="one")
    """How the warmup counts updates. one: update n (from 0) has (n + 1) / `warmup_steps` of `lr` (runs of earlier
    releases). published: as the code that the schedule is from. There it is n / `warmup_steps`, but linear makes
    update 0 as update 1, noam makes update 0 with all of `lr`, tri_stage rises from a hundredth of `lr`, and constant
    is as one."""

    schedule: Literal["linear", "cosine", "constant", "tri_stage", "noam"] = "linear"
    """After the warmup: decay to zero, linear (fairseq's polynomial_decay: MERT, HuBERT) or cosine (data2vec 2.0);
    none; flat until the last `fall_share`, then down to a hundredth (tri_stage: data2vec, DinoSR); inverse square root
    of the step (noam: BEST-RQ in SpeechBrain)."""

    fall_share: float = added(0.07)
    """Share of the run in which tri_stage falls (data2vec: 0.07; DinoSR, SpidR: 0.5)."""

    clip_norm: float | None = 10.0
    """Gradients are scaled down to this norm (MERT 95M, HuBERT); null: never."""

    layer_decay: float | None = added(None)
    """Rate of a layer as a share of that of the layer above it; the top layer, heads and decoder have `lr`, and what is
    below the first layer counts as one more. For a model that begins from a trained one (0.9); null: one rate."""


_TRI_STAGE_ENDS = 0.01
"""Where the first stage of fairseq's tri_stage starts and the last one ends, as a share of the highest rate."""

_UNDECAYED_NAMES = ("mask_embedding", "mask_emb")


def make_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters of `module`, with weight decay on those the recipe names.

    Each of its groups of parameters has the ``share`` of the learning rate that `layer_decay` gives it; that of the
    first is 1.
    """
    shares = {} if config.layer_decay is None else _rate_shares(module, config.layer_decay)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in trainable(module):
        is_vector = sum(size != 1 for size in parameter.shape) < 2
        left_out = config.weight_decay_on == "matrices" and (is_vector or name.endswith(_UNDECAYED_NAMES))
        groups.setdefault((shares.get(name, 1.0), not left_out), []).append(parameter)
    found = [
        {"params": groups[share, decays], "weight_decay": config.weight_decay if decays else 0.0, _SHARE: share}
        for share, decays in sorted(groups, reverse=True)
    ]
    return torch.optim.AdamW(found, lr=config.lr, betas=config.betas, eps=config.eps)


_SHARE = "share"
"""Key of a group of parameters: its learning rate as a share of the recipe's."""


def _rate_shares(module: nn.Module, decay: float) -> dict[str, float]:
    """Return the shares of the learning rate of a model's parameters by the names of the module that trains it."""
    for name, part in module.named_children():
        if isinstance(part, SSLModel):
            return {f"{name}.{inner}": share for inner, share in rate_shares(part, decay).items()}
    raise ValueError("`layer_decay` is for a module that trains a model")


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the named parameters that are trained."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def effective_warmup(config: OptimConfig, steps: int) -> int:
    """Return the updates of warmup: as configured, but at most a quarter of the run."""
    return min(config.warmup_steps, steps // 4)


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Return the learning rate of update `step` (counted from 0) of `steps`.

    The schedules are those of fairseq (``polynomial_decay`` of power 1, ``cosine``, ``tri_stage``, ``fixed``) and of
    SpeechBrain (``NoamScheduler``), to the update; see `OptimConfig.warmup_start` for the first ones.

    Examples
    --------
    >>> config = OptimConfig(lr=1.0, warmup_steps=2)
    >>> [learning_rate(config, step, 10) for step in (0, 1, 2, 6)]
    [0.5, 0.5, 1.0, 0.5]
    """
    warmup = effective_warmup(config, steps)
    if step < warmup:
        return config.lr * _warmup_share(config, step, warmup)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "noam":
        number = step + 1 if config.warmup_start == "one" else max(1, step)
        return config.lr * math.sqrt(max(warmup, 1) / number)
    if config.schedule == "tri_stage":
        falling = max(0.0, step - (1 - config.fall_share) * steps) / (config.fall_share * steps)
        return float(config.lr * _TRI_STAGE_ENDS**falling)
    done = (step - warmup) / max(1, steps - warmup)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * (1 - done)


def _warmup_share(config: OptimConfig, step: int, warmup: int) -> float:
    """Return the learning rate of update `step` of a warmup, as a share of the peak."""
    if config.warmup_start == "one" or config.schedule == "constant":
        return (step + 1) / warmup
    if config.schedule == "tri_stage":
        return _TRI_STAGE_ENDS + (1 - _TRI_STAGE_ENDS) * step / warmup
    if config.schedule == "noam" and step == 0:
        # SpeechBrain asks its scheduler after each update, so the first update has the rate of the recipe.
        return 1.0
    if config.schedule == "linear":
        # fairseq makes the scheduler with the rate of its first step, which the first update then has as well.
        return max(1, step) / warmup
    return step / warmup


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give all groups the learning rate `lr`, or their share of it."""
    for group, rate in zip(optimizer.param_groups, group_rates(optimizer, lr), strict=True):
        group["lr"] = rate


def group_rates(optimizer: torch.optim.Optimizer, lr: float) -> list[float]:
    """Return the learning rate of each group of parameters where that of the recipe is `lr`."""
    return [lr * group[_SHARE] for group in optimizer.param_groups]


def divide_gradients(module: nn.Module, count: float) -> None:
    """Turn gradients of a sum into gradients of a mean."""
    for _, parameter in trainable(module):
        if parameter.grad is not None:
            parameter.grad.div_(count)


def drop_gradients(module: nn.Module, names: Iterable[str]) -> None:
    """Remove the gradients of parameters, so that the optimiser leaves these as they are."""
    parameters = dict(trainable(module))
    for name in names:
        parameters[name].grad = None


def clip_gradients(module: nn.Module, max_norm: float | None) -> float:
    """Scale the gradients down to `max_norm`; return their norm before (infinite or NaN where they are)."""
    parameters = [parameter for _, parameter in trainable(module)]
    norm = nn.utils.clip_grad_norm_(parameters, math.inf if max_norm is None else max_norm)
    return float(whole_tensor(norm))


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state by parameter name: ``exp_avg.<name>``, ``exp_avg_sq.<name>``, ``step.<name>``."""
    return {
        f"{key}.{name}": value
        for name, parameter in trainable(module)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned, whole tensors; they are sharded as the parameters are."""
    by_name = dict(trainable(module))
    for full, value in tensors.items():
        key, _, name = full.partition(".")
        parameter = by_name[name]
        # AdamW counts steps in a CPU scalar; the moments live where the parameter does.
        optimizer.state[parameter][key] = value.clone() if key == "step" else shard_like(value, parameter)


def whole_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor with all its shards; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, model: Tensor) -> Tensor:
    """Return a copy of a whole tensor on the device of `model` and sharded as it is; every process must ask."""
    tensor = tensor.to(model.device, copy=True)
    return distribute_tensor(tensor, model.device_mesh, model.placements) if isinstance(model, DTensor) else tensor


class WeightsEma:
    """The average of a module's trainable parameters.

    Parameters
    ----------
    module
        Followed; its parameters may be sharded, and the average is then, too.
    decay
        Share of the old average that stays with each update, in the long run.

    Examples
    --------
    >>> module = nn.Linear(1, 1, bias=False)
    >>> ema = WeightsEma(module, decay=0.9)
    >>> start = module.weight.item()
    >>> _ = nn.init.constant_(module.weight, start + 1.0)
    >>> ema.update(0)  # nine tenths of the way: 1 - min(0.9, 1 / 10)
    >>> round(ema.tensors["weight"].item() - start, 4)
    0.9
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self.tensors: dict[str, Tensor] = {name: value.detach().clone() for name, value in trainable(module)}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after update `step` (counted from 0) to the average."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in trainable(self._module):
            self.tensors[name].mul_(decay).add_(value.detach(), alpha=1 - decay)

    @torch.no_grad()
    def put_into_module(self) -> None:
        """Replace the module's weights by their average."""
        for name, value in trainable(self._module):
            value.copy_(self.tensors[name])


class GradientScale:
    """A forward hook that scales the gradient of a module's first output, and so of all its parameters.

    Hooks on the parameters themselves would be lost where these are sharded.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def __call__(self, module: nn.Module, args: object, output: tuple[Tensor, ...]) -> None:
        """Register the scaling on the output."""
        if output[0].requires_grad:
            output[0].register_hook(lambda grad: grad * self._factor)  # type: ignore[no-untyped-call]


class StopGradient:
    """A forward hook that lets no gradient through while it is `on`, so that a module stays as it is."""

    def __init__(self) -> None:
        self.on = False

    def __call__(self, module: nn.Module, args: object, output: Any) -> Any:
        """Return the output, detached while `on`."""
        if not self.on:
            return output
        if isinstance(output, Tensor):
            return output.detach()
        detached = [one.detach() if isinstance(one, Tensor) else one for one in output]
        return detached if isinstance(output, list) else tuple(detached)
