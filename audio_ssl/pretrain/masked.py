"""The module that masked prediction trains: the model, one head per objective, and the feature penalty.

HuBERT (Hsu et al. 2021, arXiv 2106.07447) and MERT (Li et al. 2023, arXiv 2306.00107): per masked frame,
``sum of the objectives + feature_penalty * mean(features ** 2)``. The penalty's mean is taken clip by clip and
weighted by the clip's masked frames, so that it does not depend on how an update is split or padded. A recipe that
masks nothing counts all frames instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.data.augment import Mixing, mix_in_batch
from audio_ssl.data.loader import Batch
from audio_ssl.errors import UserError
from audio_ssl.model import SSLModel
from audio_ssl.objectives._base import Metrics, View
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
    """One objective: its module, the teacher it listens to (None: to none), its weight and its name in the log."""

    module: nn.Module
    teacher: int | None
    weight: float
    name: str


class MaskedLearner(nn.Module):
    """Trains a model by any objectives, on frames hidden from its encoder or on all.

    Parameters
    ----------
    model
        Trained and kept.
    heads
        Trained and thrown away.
    mask
        What is hidden; None: nothing.
    mixing
        What is added to the waveforms in training; None: nothing.
    feature_penalty
        Weight of the mean square of the frontend's features.
    feature_grad_mult
        Factor on the gradients of the frontend; at 0 it is frozen.
    online
        Teachers that follow the model, by their index in the recipe; the other teachers' targets come with the batch.
    """

    def __init__(
        self,
        model: SSLModel,
        heads: Sequence[Head],
        mask: Mask | None,
        mixing: Mixing | None,
        feature_penalty: float,
        feature_grad_mult: float,
        online: Mapping[int, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList(head.module for head in heads)
        self.online = nn.ModuleDict({str(index): teacher for index, teacher in (online or {}).items()})
        self._heads, self._mask, self._mixing = tuple(heads), mask, mixing
        self._feature_penalty = feature_penalty
        if feature_grad_mult == 0:
            model.frontend.requires_grad_(False)
        elif feature_grad_mult != 1:
            model.frontend.register_forward_hook(GradientScale(feature_grad_mult))
        if mask is None:
            # Nothing ever takes its place, and a parameter without a gradient stops data parallel training.
            for name, parameter in model.encoder.named_parameters():
                if name.endswith("mask_embedding"):
                    parameter.requires_grad_(False)

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Return the loss over the masked frames, or all where nothing is masked; in training, on mixed waveforms."""
        waveform = batch.waveform
        if self.training and self._mixing is not None:
            waveform = mix_in_batch(waveform, batch.lengths, self._mixing, self.model.grid.sample_rate, generator)
        total = self.model.grid.num_frames(waveform.shape[1])
        mask = None
        if self._mask is not None:
            mask = masks(batch.frames, total, self._mask, batch.keys).to(waveform.device)
        output = self.model(waveform, batch.lengths, mask)
        clean = waveform is batch.waveform
        targets = self._targets(batch, (output.features, output.lengths) if clean else None)
        # Targets may end a frame before the model does; masks and counts do not reach past the shorter.
        width = min([total, *(target.shape[1] for target in batch.targets)])
        view = View(
            hidden=[state[:, :width] for state in output.hidden],
            features=output.features[:, :width],
            frames=batch.frames,
            mask=None if mask is None else mask[:, :width],
            targets=None,
            generator=generator,
            step=step,
            keys=batch.keys,
        )
        loss_sum, metrics = self._losses(view, [target[:, :width] for target in targets])
        counted = view.counted
        count = counted.sum()
        penalty = penalty_sum(output.features, output.lengths, counted)
        metrics["feature_penalty"] = (penalty.detach(), count)
        return StepOutput(loss_sum + self._feature_penalty * penalty, count, metrics)

    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let the teachers that follow the model take in update `step`."""
        for teacher in self.online.values():
            teacher.update(self.model, step)  # type: ignore[operator]

    def _losses(self, view: View, targets: Sequence[Tensor]) -> tuple[Tensor, Metrics]:
        metrics: Metrics = {}
        loss_sum = view.features.new_zeros((), dtype=torch.float32)
        for head in self._heads:
            seen = view if head.teacher is None else replace(view, targets=targets[head.teacher])
            result = head.module(seen)
            loss_sum = loss_sum + head.weight * result.loss_sum
            metrics[f"loss_{head.name}"] = (result.loss_sum.detach(), result.count)
            # Two heads of one kind would share names; the second's get its teacher's in front.
            metrics.update({f"{head.name}_{k}" if k in metrics else k: v for k, v in result.metrics.items()})
        return loss_sum, metrics

    def _targets(self, batch: Batch, features: tuple[Tensor, Tensor] | None) -> list[Tensor]:
        """Return the targets of all teachers in the recipe's order; `features` are those of the clean waveform."""
        stored = iter(batch.targets)
        number = len(batch.targets) + len(self.online)
        return [
            self.online[str(index)](batch.waveform, batch.lengths, features)
            if str(index) in self.online
            else next(stored)
            for index in range(number)
        ]


class GradientScale:
    """A forward hook that scales the gradient of a module's first output, and so of all its parameters.

    Hooks on the parameters themselves would be lost where these are sharded.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def __call__(self, module: nn.Module, args: object, output: tuple[Tensor, ...]) -> None:
        """Have the gradient scaled when it comes."""
        if output[0].requires_grad:
            output[0].register_hook(lambda grad: grad * self._factor)  # type: ignore[no-untyped-call]


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
