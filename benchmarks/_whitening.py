"""Two ways to put dimensions on a like scale before a linear layer is trained: each by itself, or whitened."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

WEAKEST_DIRECTION = 1e-5
"""Share of the strongest direction's variance below which a direction is left out."""

ENOUGH = 60_000
"""Rows that a covariance is computed of; of more, every second, third …"""


class Scaling(NamedTuple):
    """Takes the mean away and multiplies."""

    mean: Tensor
    """``[dim]``."""

    by: Tensor
    """``[dim]``, or ``[dim, direction]`` of a rotation."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Return ``[row, dim]`` as ``[row, direction]``."""
        centred = rows - self.mean
        return centred * self.by if self.by.ndim == 1 else centred @ self.by


def standardising(sample: Tensor) -> Scaling:
    """Return what gives every dimension of ``[row, dim]`` mean 0 and variance 1."""
    return Scaling(sample.mean(0), 1 / (sample.std(0) + 1e-6))


def whitening(sample: Tensor) -> Scaling:
    """Return what gives ``[row, dim]`` mean 0 and unit covariance; its weakest directions are left out."""
    sample = sample[:: -(-len(sample) // ENOUGH)]
    mean = sample.mean(0)
    values, directions = torch.linalg.eigh(torch.cov((sample - mean).T.double()))
    kept = values > WEAKEST_DIRECTION * values[-1]
    return Scaling(mean, (directions[:, kept] / values[kept].sqrt()).float())


WAYS = (standardising, whitening)
