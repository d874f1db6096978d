"""Training of a head: mini-batches, scores on the validation clips, the best kept, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from audio_ssl.errors import UserError
from audio_ssl.probing.dataset import Example
from audio_ssl.probing.probe import Optim
from audio_ssl.probing.system import System
from audio_ssl.progress import Progress


class Fitted(NamedTuple):
    """A trained system and how it got there."""

    system: System
    valid: float
    """Best main metric on the validation clips."""

    history: list[dict[str, Any]]
    """``step, train_loss, valid`` of each evaluation."""


def fit(
    make: Callable[[], System],
    train: Sequence[Example],
    score_valid: Callable[[System], float],
    higher_is_better: bool,
    optim: Optim,
    seed: int,
    progress: Progress | None = None,
) -> Fitted:
    """Train one system.

    Parameters
    ----------
    make
        Builds it; called with torch's generator seeded, which is put back afterwards.
    train
        Training examples.
    score_valid
        Main metric on the validation clips.
    higher_is_better
        Of the main metric.
    optim
        Settings.
    seed
        Of weights, dropout and order.
    progress
        Advanced once an update.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        system = make()
        return _train(system, train, score_valid, higher_is_better, optim, seed, progress)


def _train(
    system: System,
    train: Sequence[Example],
    score_valid: Callable[[System], float],
    higher_is_better: bool,
    optim: Optim,
    seed: int,
    progress: Progress | None,
) -> Fitted:
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(system.parameters(), optim.lr, weight_decay=optim.weight_decay)
    best, best_state, stale = math.nan, _copy(system), 0
    history: list[dict[str, Any]] = []
    losses: list[float] = []
    queue: list[int] = []
    for step in range(1, optim.steps + 1):
        if not queue:
            queue = torch.randperm(len(train), generator=order).tolist()
        rows, queue = queue[: optim.batch_clips], queue[optim.batch_clips :]
        losses.append(_update(system, [train[row] for row in rows], optimizer, optim))
        if progress is not None:
            progress.advance(1, loss=losses[-1])
        if step % optim.eval_every and step != optim.steps:
            continue
        value = score_valid(system)
        history.append({"step": step, "train_loss": sum(losses) / len(losses), "valid": value})
        losses = []
        if math.isnan(best) or (value > best if higher_is_better else value < best):
            best, best_state, stale = value, _copy(system), 0
        else:
            stale += 1
        if stale >= optim.patience:
            break
    if progress is not None:
        progress.advance(optim.steps - step)
    system.load_state_dict(best_state)
    return Fitted(system.eval(), best, history)


def _update(system: System, examples: Sequence[Example], optimizer: torch.optim.Optimizer, optim: Optim) -> float:
    system.train()
    optimizer.zero_grad(set_to_none=True)
    loss = system.loss(examples)
    if not bool(torch.isfinite(loss)):
        names = ", ".join(example.clip.id for example in examples[:3])
        raise UserError(f"the probe's loss is not finite on {names} …", remedy="lower optim.lr")
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(system.parameters(), optim.clip_norm)
    optimizer.step()
    return float(loss.detach())


def _copy(system: System) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in system.state_dict().items()}
