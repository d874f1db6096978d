"""Regression of a teacher's hidden states: data2vec (Baevski et al. 2022, arXiv 2202.03555, section 3.3).

One linear layer from the last hidden state to the teacher's values; per masked frame the squared error summed over the
width, over the square root of the width, as in the published code of data2vec audio. data2vec 2.0 (Baevski et al. 2022,
arXiv 2212.07525) has no such layer, as its decoder ends with one (`projection`). The teacher is usually `ema`.
Two metrics tell of collapse, where teacher and student agree on a constant: published runs stop below 0.1 (targets)
and 0.01 (predictions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.base.versions import added
from audio_ssl.pretrain.view import ModelShape, Objective, ObjectiveOutput, ObjectiveTraits, View, require_targets
from audio_ssl.targets.spec import TargetSpec

TRAITS = ObjectiveTraits("values", masked=True)


@dataclass(frozen=True)
class Config:
    """Teacher and weight of the loss."""

    teacher: int = 0
    """Index of the teacher in the recipe."""

    weight: float = 1.0
    """Factor of this loss in the total (data2vec: 1)."""

    projection: bool = added(True)
    """A linear layer before the loss (data2vec: yes); false: the last hidden state is the prediction (data2vec 2.0,
    whose `decoder` ends with a linear layer)."""


class Distillation(Objective):
    """Linear head, or none, and squared error."""

    def __init__(self, hidden_dim: int, width: int, projection: bool) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden_dim, width) if projection else nn.Identity()
        self._scale = 1 / math.sqrt(width)

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the sum over masked frames of the scaled squared error, and the spread of targets and predictions."""
        assert view.targets is not None
        counted = view.counted
        count = counted.sum()
        predicted = self.projection(view.hidden[-1][counted]).float()
        wanted = view.targets[counted].float()
        loss = self._scale * F.mse_loss(predicted, wanted, reduction="sum")
        metrics = {
            "target_variance": (spread(wanted) * count, count),
            "prediction_variance": (spread(predicted.detach()) * count, count),
        }
        return ObjectiveOutput(loss, count, metrics)


def spread(rows: Float[Tensor, "row dim"]) -> Float[Tensor, ""]:
    """Return the mean over dimensions of ``sqrt(variance + 1e-6)`` over rows: fairseq's `target_var` and `pred_var`."""
    number = len(rows)
    centred = rows - rows.sum(0) / max(1, number)
    return torch.sqrt(centred.square().sum(0) / max(1, number - 1) + 1e-6).mean()


def build(config: Config, shape: ModelShape, target: TargetSpec | None) -> Distillation:
    """Make the head for a teacher of values; UserError for another teacher, or a width that nothing projects to."""
    spec = require_targets("distillation", "values", config.teacher, target)
    if not config.projection and spec.width != shape.dim:
        raise UserError(
            f"without a `projection` a hidden state must have the {spec.width} values of teacher {config.teacher}, but "
            f"has {shape.dim}",
            remedy="give `projection: true`",
        )
    return Distillation(shape.dim, spec.width, config.projection)
