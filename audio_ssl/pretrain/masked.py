"""The module that masked prediction trains: the model, one head per objective, and the feature penalty.

HuBERT (Hsu et al. 2021, arXiv 2106.07447) and MERT (Li et al. 2023, arXiv 2306.00107): per masked frame,
``sum of the objectives + feature_penalty * mean(features ** 2)``. The penalty's mean is taken clip by clip and
weighted by the clip's masked frames, so that it does not depend on how an update is split or padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.data.augment import Mixing, mix_in_batch
from audio_ssl.data.loader import Batch
from audio_ssl.errors import UserError
from audio_ssl.model import SSLModel
from audio_ssl.objectives._masking import span_mask
from audio_ssl.pretrain.learner import StepOutput


@dataclass(frozen=True)
class Mask:
    """Which frames are hidden from the encoder."""

    prob: float = 0.8
    """Masked frames if no spans overlapped, as a share (MERT, HuBERT); with overlaps about 58 % are masked."""

    length_frames: int = 5
    """Length of a span, in frames (MERT: 5 at 75 Hz; HuBERT: 10 at 50 Hz)."""

    min_masks: int = 2
    """Fewest spans of a clip (MERT, HuBERT)."""

    def check(self, where: str) -> None:
        """Raise UserError where a value makes no sense."""
        if not 0 < self.prob <= 1:
            raise UserError(f"`prob` must be a share above 0 and at most 1, but is {self.prob}", where=f"{where}.prob")
        if self.length_frames < 1:
            raise UserError(f"must be at least 1, but is {self.length_frames}", where=f"{where}.length_frames")
        if self.min_masks < 1:
            raise UserError(f"must be at least 1, but is {self.min_masks}", where=f"{where}.min_masks")


@dataclass(frozen=True)
class Head:
    """One objective: its module, the teacher it listens to, and its name in the log."""

    module: nn.Module
    teacher: int
    weight: float
    name: str


class MaskedLearner(nn.Module):
    """Predicts the teachers' targets of masked frames.

    Parameters
    ----------
    model
        Trained and kept.
    heads
        Trained and thrown away.
    feature_penalty
        Weight of the mean square of the frontend's features.
    feature_grad_mult
        Factor on the gradients of the frontend; at 0 it is frozen.
    """

    def __init__(
        self,
        model: SSLModel,
        heads: Sequence[Head],
        mask: Mask,
        mixing: Mixing | None,
        feature_penalty: float,
        feature_grad_mult: float,
    ) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList(head.module for head in heads)
        self._heads, self._mask, self._mixing = tuple(heads), mask, mixing
        self._feature_penalty = feature_penalty
        for parameter in model.frontend.parameters():
            if feature_grad_mult == 0:
                parameter.requires_grad_(False)
            elif parameter.requires_grad and feature_grad_mult != 1:
                parameter.register_hook(lambda grad: grad * feature_grad_mult)  # type: ignore[no-untyped-call]

    def forward(self, batch: Batch, generator: torch.Generator) -> StepOutput:
        """Return the loss over the masked frames; in training, on mixed waveforms."""
        waveform = batch.waveform
        if self.training and self._mixing is not None:
            waveform = mix_in_batch(waveform, batch.lengths, self._mixing, self.model.grid.sample_rate, generator)
        total = self.model.grid.num_frames(waveform.shape[1])
        mask = masks(batch.frames, total, self._mask, batch.keys).to(waveform.device)
        output = self.model(waveform, batch.lengths, mask)
        count = mask.sum()
        metrics: dict[str, tuple[Tensor, Tensor]] = {}
        loss_sum = waveform.new_zeros(())
        for head in self._heads:
            targets = batch.targets[head.teacher]
            frames = targets.shape[1]
            result = head.module(output.hidden[-1][:, :frames], targets, mask[:, :frames])
            loss_sum = loss_sum + head.weight * result.loss_sum
            metrics[f"loss_{head.name}"] = (result.loss_sum.detach(), count)
            # Two heads of one kind would share names; the second's get its teacher's in front.
            metrics.update({f"{head.name}_{k}" if k in metrics else k: v for k, v in result.metrics.items()})
        penalty = penalty_sum(output.features, output.lengths, mask)
        metrics["feature_penalty"] = (penalty.detach(), count)
        return StepOutput(loss_sum + self._feature_penalty * penalty, count, metrics)


def masks(
    frames: Int[Tensor, " batch"], total_frames: int, mask: Mask, keys: Sequence[int]
) -> Bool[Tensor, "batch frame"]:
    """Draw each crop's mask from its own key, so that it is the same in whatever batch the crop lands."""
    rows = [
        span_mask(
            frames[row : row + 1].cpu(),
            total_frames,
            mask.prob,
            mask.length_frames,
            mask.min_masks,
            torch.Generator().manual_seed(key),
        )
        for row, key in enumerate(keys)
    ]
    return torch.cat(rows)


def penalty_sum(
    features: Float[Tensor, "batch frame dim"],
    lengths: Int[Tensor, " batch"],
    mask: Bool[Tensor, "batch frame"],
) -> Float[Tensor, ""]:
    """Return the sum over clips of (masked frames) times (mean square of the clip's features)."""
    inside = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
    squares = features.float().square().mean(-1)
    per_clip = torch.where(inside, squares, 0.0).sum(1) / lengths.clamp(min=1)
    return (per_clip * mask.sum(1)).sum()
