"""Autoregressive prediction of a continuous target: APC (Chung et al. 2019, arXiv 1904.03240) and VQ-APC.

From what it has heard up to a frame, the model predicts the target some frames ahead: one linear layer, absolute
error. Far enough ahead, local smoothness does not help. The encoder must not look ahead, and nothing need be masked.
VQ-APC (Chung et al. 2020, arXiv 2005.08392) puts a Gumbel quantiser before the linear layer (`codes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.pretrain.objectives._gumbel import GumbelQuantizer, perplexity
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

TRAITS = ObjectiveTraits("values", causal=True)


@dataclass(frozen=True)
class Config:
    """Distance of the prediction, and the quantiser."""

    teacher: int = 0
    """Index of the teacher in the recipe."""

    weight: float = 1.0
    """Factor of this loss in the total."""

    ahead_frames: int = 5
    """How far ahead the target lies, in frames (APC: 5 of 10 ms in s3prl's release)."""

    codes: int | None = None
    """Codes of a quantiser between the last layer and the prediction (VQ-APC: 512); null: none (APC)."""

    gumbel_temperature: float = 0.5
    """Of the quantiser's Gumbel softmax (VQ-APC in s3prl: 0.5)."""


class Autoregressive(Objective):
    """Linear head, absolute error, frames ahead."""

    def __init__(self, config: Config, hidden_dim: int, width: int) -> None:
        super().__init__()
        self._config = config
        self.quantizer = None if config.codes is None else GumbelQuantizer(hidden_dim, 1, config.codes, hidden_dim)
        self.projection = nn.Linear(hidden_dim, width)

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the sum of the absolute errors, each a mean over the target's width, over frames with one ahead."""
        assert view.targets is not None
        ahead = self._config.ahead_frames
        known = view.inside[:, ahead:]
        states = view.hidden[-1][:, : known.shape[1]][known]
        count = known.sum()
        metrics: Metrics = {}
        if self.quantizer is not None:
            noise = self._noise(view, known.sum(1).tolist()) if self.training else None
            quantized = self.quantizer(states, self._config.gumbel_temperature, noise)
            states = quantized.vectors
            metrics["code_perplexity"] = (perplexity(quantized.use.detach())[0] * count, count)
        predicted = self.projection(states).float()
        wanted = view.targets[:, ahead:][known].float()
        loss = F.l1_loss(predicted, wanted, reduction="none").mean(-1).sum()
        return ObjectiveOutput(loss, count, {"absolute_error": (loss.detach(), count), **metrics})

    def _noise(self, view: View, counts: list[int]) -> torch.Tensor:
        assert self._config.codes is not None
        noise = [
            torch.empty(count, 1, self._config.codes).exponential_(generator=generator)
            for count, generator in zip(counts, view.clip_generators(), strict=True)
        ]
        return torch.cat(noise).to(view.features.device)


def build(config: Config, shape: ModelShape, target: TargetSpec | None) -> Autoregressive:
    """Make the head for a teacher of values; UserError for another teacher or a target that is not ahead."""
    spec = require_targets("autoregressive", "values", config.teacher, target)
    check_at_least(config, 1, "ahead_frames")
    if config.codes is not None and config.codes < 2:
        raise UserError(f"`codes` must be at least 2 or null, but is {config.codes}")
    return Autoregressive(config, shape.dim, spec.width)
