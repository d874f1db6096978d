"""What an objective gives back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

Metrics = dict[str, tuple[Tensor, Tensor]]
"""Sums and counts by name: a metric is ``sum / count`` over all batches of an update."""


@dataclass(frozen=True)
class ObjectiveOutput:
    """A loss as a sum, so that batches of any size add up."""

    loss_sum: Tensor
    """Sum over the masked frames."""

    count: Tensor
    """Masked frames."""

    metrics: Metrics
    """For the log; detached."""
