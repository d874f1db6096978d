"""Masked reconstruction of a continuous target: MERT's CQT loss (Li et al. 2023, arXiv 2306.00107, section 3.2).

One linear layer from the last hidden state to the bins, mean square error over bins, summed over masked frames; on
request over visible frames as well, as HuBERT's `pred_nomask_weight`.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.base.versions import added
from audio_ssl.pretrain.view import (
    Metrics,
    ModelShape,
    Objective,
    ObjectiveOutput,
    ObjectiveTraits,
    View,
    require_targets,
)
from audio_ssl.targets.spec import TargetSpec

TRAITS = ObjectiveTraits("values")


@dataclass(frozen=True)
class Config:
    """Weight and name of the loss."""

    teacher: int = 0
    """Index of the teacher in the recipe."""

    weight: float = 1.0
    """Factor of this loss in the total (MERT: 1)."""

    name: str = "cqt"
    """Of the target, for the log: ``<name>_mse``."""

    unmasked_weight: float = added(0.0)
    """Weight of the loss on visible frames, which the model then has to keep (MERT: 0)."""


class MaskedReconstruction(Objective):
    """Linear head and mean square error."""

    def __init__(self, config: Config, hidden_dim: int, bins: int) -> None:
        super().__init__()
        self._name, self._unmasked_weight = config.name, config.unmasked_weight
        self.projection = nn.Linear(hidden_dim, bins)

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the sum over masked frames of the mean over bins of the squared error."""
        counted = view.counted
        count = counted.sum()
        masked = self._loss(view, counted)
        metrics: Metrics = {f"{self._name}_mse": (masked.detach(), count)}
        if not self._unmasked_weight:
            return ObjectiveOutput(masked, count, metrics)
        visible = view.inside & ~counted
        seen = self._loss(view, visible)
        metrics[f"unmasked_{self._name}_mse"] = (seen.detach(), visible.sum())
        return ObjectiveOutput(masked + self._unmasked_weight * seen, count, metrics)

    def _loss(self, view: View, rows: Bool[Tensor, "batch frame"]) -> Float[Tensor, ""]:
        assert view.targets is not None
        predicted = self.projection(view.hidden[-1][rows]).float()
        return F.mse_loss(predicted, view.targets[rows].float(), reduction="none").mean(-1).sum()


def build(config: Config, shape: ModelShape, target: TargetSpec | None) -> MaskedReconstruction:
    """Make the head for a teacher of values; UserError for a teacher of codes."""
    if config.unmasked_weight < 0:
        raise UserError(f"`unmasked_weight` must not be negative, but is {config.unmasked_weight}")
    spec = require_targets("reconstruction", "values", config.teacher, target)
    return MaskedReconstruction(config, shape.dim, spec.width)
