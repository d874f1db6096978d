"""AdamW, and the learning rate as a pure function of the step.

Weight decay is decoupled (Loshchilov and Hutter 2019, arXiv 1711.05101), as in fairseq's Adam: a weight loses
``lr * weight_decay`` of itself before Adam's step. torch's AdamW adds epsilon to the corrected second moment, as the
newer fused Adam of apex does, which fairseq prefers; fairseq's own Adam adds it before the correction.
That scales epsilon by up to 7 in the first updates and is gone after a few hundred.

The gradient of an update is that of the summed loss over all its micro-batches and processes, divided by the count of
its masked frames and clipped after that: fairseq's division by ``sample_size``. There is no loss scale, as weights,
gradients and sums are float32 and only products are bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from audio_ssl.pretrain.recipe import OptimConfig

_TRI_STAGE_ENDS = 0.01
"""Where the first stage of fairseq's tri_stage starts and the last one ends, as a share of the highest rate."""

_UNDECAYED_NAMES = ("mask_embedding", "mask_emb")


def make_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters of `module`, with weight decay on those the recipe names."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in trainable(module):
        is_vector = sum(size != 1 for size in parameter.shape) < 2
        left_out = config.weight_decay_on == "matrices" and (is_vector or name.endswith(_UNDECAYED_NAMES))
        (plain if left_out else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.lr, betas=config.betas, eps=config.eps
    )


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
    """Return the share of the highest rate that update `step` of a warmup is made with."""
    if config.warmup_start == "one" or config.schedule == "constant":
        return (step + 1) / warmup
    if config.schedule == "tri_stage":
        return _TRI_STAGE_ENDS + (1 - _TRI_STAGE_ENDS) * step / warmup
    if config.schedule == "noam" and step == 0:
        # SpeechBrain asks its scheduler after each update, so the first one is made with the rate of the recipe.
        return 1.0
    if config.schedule == "linear":
        # fairseq makes the scheduler with the rate of its first step, which the first update then has as well.
        return max(1, step) / warmup
    return step / warmup


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give all groups the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def divide_gradients(module: nn.Module, count: float) -> None:
    """Turn gradients of a sum into gradients of a mean."""
    for _, parameter in trainable(module):
        if parameter.grad is not None:
            parameter.grad.div_(count)


def drop_gradients(module: nn.Module, names: Iterable[str]) -> None:
    """Take the gradients of parameters away, so that the optimiser leaves these as they are."""
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
