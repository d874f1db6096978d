"""Batch norm of padded batches (Ioffe and Szegedy 2015, arXiv 1502.03167), in any number of processes.

Values are torch's ``BatchNorm1d`` and ``BatchNorm2d``. Only what belongs to clips counts, so padding has no influence.
In training the statistics are those of the micro-batch. The stored ones take in an update as a whole, by the mean over
its micro-batches, so they do not depend on how these were shared out, and a skipped update leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

_MOMENTUM, _EPS = 0.1, 1e-5
"""Share of an update's statistics in the stored ones, and what is added to the variance: torch's."""


class BatchNorm(nn.Module):
    """Zero mean and unit variance of each channel over all values of the batch, then a learnt factor and offset.

    Parameters
    ----------
    channels
        Second axis.
    """

    running_mean: Tensor
    running_var: Tensor
    _means: Tensor
    _variances: Tensor
    _batches: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        # Of the update under way; between updates they are zero, so no checkpoint needs them.
        self.register_buffer("_means", torch.zeros(channels), persistent=False)
        self.register_buffer("_variances", torch.zeros(channels), persistent=False)
        self.register_buffer("_batches", torch.zeros(1), persistent=False)

    def forward(
        self, x: Float[Tensor, "batch channel *place"], inside: Bool[Tensor, "batch 1 *place"] | None = None
    ) -> Float[Tensor, "batch channel *place"]:
        """Return the normalised values; those of padding mean nothing.

        Parameters
        ----------
        x
            Values, channels second.
        inside
            True where a value belongs to a clip, of a shape that expands to that of `x`; None: everywhere.
        """
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=_EPS)
        if inside is None and x.numel() == x.shape[1]:
            # One value has no variance, and torch refuses it; a clip of one frame must not end a run.
            inside = torch.ones_like(x[:, :1], dtype=torch.bool)
        if inside is None:
            # With all the weight on the new statistics torch gives the batch's own.
            mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
            y = F.batch_norm(x, mean, variance, self.weight, self.bias, True, 1.0, _EPS)
            self._count(mean, variance)
            return y
        inside = inside.expand(len(x), 1, *x.shape[2:])
        axes = [0, *range(2, x.ndim)]
        wide = torch.where(inside, x, 0.0).float()
        count = inside.sum().clamp(min=1)
        mean = wide.sum(axes) / count
        shape = (1, -1, *[1] * (x.ndim - 2))
        centred = torch.where(inside, wide - mean.view(shape), 0.0)
        variance = centred.square().sum(axes) / count
        self._count(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        scale = (variance + _EPS).rsqrt() * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def follow(self, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let the stored statistics take in the micro-batches since the last call.

        Parameters
        ----------
        sum_over_processes
            Adds a tensor up over the processes that share the update; every one of them calls this.
        """
        # One sum for all three: each is a word with every other process.
        gathered = sum_over_processes(torch.cat([self._means, self._variances, self._batches]))
        means, variances, batches = torch.split(gathered, [len(self._means), len(self._variances), 1])
        if bool(batches > 0):
            self.running_mean.lerp_(means / batches, _MOMENTUM)
            self.running_var.lerp_(variances / batches, _MOMENTUM)
        for under_way in (self._means, self._variances, self._batches):
            under_way.zero_()

    @torch.no_grad()
    def _count(self, mean: Tensor, variance: Tensor) -> None:
        # A block that is computed again for the backward pass is counted again: the mean over all stays.
        self._means.add_(mean)
        self._variances.add_(variance)
        self._batches.add_(1)
