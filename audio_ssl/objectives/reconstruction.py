"""Masked reconstruction of a continuous target: MERT's CQT loss (Li et al. 2023, arXiv 2306.00107, section 3.2).

One linear layer from the last hidden state to the bins, mean square error over bins, summed over masked frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn import functional as F

from audio_ssl.data.targets import TargetSpec
from audio_ssl.objectives._base import Needs, ObjectiveOutput, View, require_targets

NEEDS: Needs = "values"


@dataclass(frozen=True)
class Config:
    """Weight and name of the loss."""

    teacher: int = 0
    """Index of the teacher in the recipe."""

    weight: float = 1.0
    """Factor of this loss in the total (MERT: 1)."""

    name: str = "cqt"
    """Of the target, for the log: ``<name>_mse``."""


class Reconstruction(nn.Module):
    """Linear head and mean square error."""

    def __init__(self, config: Config, hidden_dim: int, bins: int) -> None:
        super().__init__()
        self._name = config.name
        self.projection = nn.Linear(hidden_dim, bins)

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the sum over masked frames of the mean over bins of the squared error."""
        assert view.targets is not None
        counted = view.counted
        predicted = self.projection(view.hidden[-1][counted]).float()
        loss = F.mse_loss(predicted, view.targets[counted].float(), reduction="none").mean(-1).sum()
        count = counted.sum()
        return ObjectiveOutput(loss, count, {f"{self._name}_mse": (loss.detach(), count)})


def build(config: Config, hidden_dim: int, feature_dim: int, target: TargetSpec | None) -> Reconstruction:
    """Make the head for a teacher of values; UserError for a teacher of codes."""
    spec = require_targets("reconstruction", "values", config.teacher, target)
    return Reconstruction(config, hidden_dim, spec.width)
