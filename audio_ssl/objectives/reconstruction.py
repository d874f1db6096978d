"""Masked reconstruction of a continuous target: MERT's CQT loss (Li et al. 2023, arXiv 2306.00107, section 3.2).

One linear layer from the last hidden state to the bins, mean square error over bins, summed over masked frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.objectives._base import ObjectiveOutput


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

    def forward(
        self,
        hidden: Float[Tensor, "batch frame dim"],
        targets: Float[Tensor, "batch frame bin"],
        mask: Bool[Tensor, "batch frame"],
    ) -> ObjectiveOutput:
        """Return the sum over masked frames of the mean over bins of the squared error."""
        predicted = self.projection(hidden[mask]).float()
        loss = F.mse_loss(predicted, targets[mask].float(), reduction="none").mean(-1).sum()
        count = mask.sum()
        return ObjectiveOutput(loss, count, {f"{self._name}_mse": (loss.detach(), count)})


def build(config: Config, hidden_dim: int, target: TargetSpec) -> Reconstruction:
    """Make the head for a teacher of values; UserError for a teacher of codes."""
    if target.kind != "values":
        raise UserError(f"reconstruction needs a teacher of values, but teacher {config.teacher} gives {target.kind}")
    return Reconstruction(config, hidden_dim, target.width)
