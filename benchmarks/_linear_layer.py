"""One linear layer and how it is trained when its gradient is known in closed form, without autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RATE = 1e-2


@dataclass(frozen=True)
class LinearLayer:
    """Scores of every frame."""

    weight: Tensor
    """``[dim, output]``."""

    bias: Tensor
    """``[output]``."""

    def __call__(self, frames: Tensor) -> Tensor:
        """Return ``[frame, output]`` of ``[frame, dim]``."""
        return torch.addmm(self.bias, frames, self.weight)


def fit_layer(
    dim: int, outputs: int, steps: int, seed: int, batch: Callable[[LinearLayer], tuple[Tensor, Tensor]]
) -> LinearLayer:
    """Train a layer by Adam with a one-cycle rate.

    Parameters
    ----------
    dim, outputs
        Widths.
    steps
        Updates.
    seed
        Of the first weights.
    batch
        Called for each update with the layer; gives frames ``[frame, dim]`` and the loss' gradient by their scores.
    """
    # As torch.nn.Linear starts.
    generator, bound = torch.Generator().manual_seed(seed), dim**-0.5
    weight = torch.empty(dim, outputs).uniform_(-bound, bound, generator=generator)
    bias = torch.empty(outputs).uniform_(-bound, bound, generator=generator)
    layer = LinearLayer(weight, bias)
    optimizer = torch.optim.Adam([weight, bias], lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    for _ in range(steps):
        frames, gradient = batch(layer)
        weight.grad, bias.grad = frames.T @ gradient, gradient.sum(0)
        optimizer.step()
        schedule.step()
    return layer
