"""A running average of the weights (Polyak and Juditsky 1992), which is saved as the run's model where a recipe asks.

``average = d * average + (1 - d) * weights`` after each update, with ``d = min(decay, (1 + n) / (10 + n))`` after n
updates, so that the random start is soon forgotten. It has no part in training or validation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audio_ssl.pretrain.optim import trainable


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
        """Take in the weights after update `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in trainable(self._module):
            self.tensors[name].mul_(decay).add_(value.detach(), alpha=1 - decay)

    @torch.no_grad()
    def put_into_module(self) -> None:
        """Replace the module's weights by their average."""
        for name, value in trainable(self._module):
            value.copy_(self.tensors[name])
