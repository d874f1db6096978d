"""The module that is trained: a batch in, the loss as a sum out. What any learner gives, and the masked learner.

HuBERT (Hsu et al. 2021, arXiv 2106.07447) and MERT (Li et al. 2023, arXiv 2306.00107): per masked frame,
``sum of the objectives + feature_penalty * mean(features ** 2)``. The penalty's mean is taken clip by clip and
weighted by the clip's masked frames, so that it does not depend on how an update is split or padded. A recipe that
masks nothing counts all frames instead.

A clip may have several masks, and masked frames may be left out of the encoder, as in data2vec 2.0 (Baevski et al.
2022, arXiv 2212.07525). Frontend and teachers then run once for a clip, the encoder once for each mask, on what is
visible. A decoder, thrown away like the heads, fills in the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.data.augment import Mixing, mix_in_batch
from audio_ssl.data.frames import frame_mask
from audio_ssl.data.loader import Batch
from audio_ssl.models.interfaces import Encoder
from audio_ssl.models.model import ModelOutput, SSLModel
from audio_ssl.models.normalisation import BatchNorm
from audio_ssl.models.padding import visible_frames
from audio_ssl.models.points import Point
from audio_ssl.pretrain.decoder import ConvDecoder, LayerDecoders
from audio_ssl.pretrain.masking import Mask, clone_keys, draw_masks, hidden_noise
from audio_ssl.pretrain.optim import GradientScale, StopGradient
from audio_ssl.pretrain.view import Metrics, Objective, View, VisibleStates
from audio_ssl.targets.spec import FollowingTeacher


@dataclass(frozen=True)
class StepOutput:
    """A micro-batch's share of an update.

    The loss of an update is the sum of `loss_sum` over its micro-batches over the sum of `count`, so its gradient does
    not depend on how the update was split.
    """

    loss_sum: Tensor
    """Scalar, summed over what `count` counts (masked frames, or clips)."""

    count: Tensor
    """Scalar."""

    metrics: dict[str, tuple[Tensor, Tensor]]
    """Name to (sum, count), summed over micro-batches and divided for the log."""


class Learner(nn.Module, ABC):
    """The module that the loop trains; a kind of training has one of its own."""

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Return the loss of a micro-batch on the learner's device, of update `step` (counted from 0).

        Besides dropout and the crops' own keys, `generator` (on the CPU) is the only source of randomness.
        """

    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Follow the parameters after update `step` was applied: teachers and codebooks that are averages.

        `sum_over_processes` adds a tensor up; every process calls it for the same tensors in the same order.
        """

    def trained_encoder(self) -> Encoder | None:
        """Return the encoder that is trained, whose layers may be compiled or shared out; None: there is none."""
        return None


@dataclass(frozen=True)
class ObjectiveHead:
    """One objective: its module, the teacher it listens to (None: to none), its weight and its name in the log."""

    module: Objective
    teacher: int | None
    weight: float
    name: str


class MaskedLearner(Learner):
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
    decoder
        Fills in masked frames, which the encoder then never sees; None: it sees the mask embedding in their place.
    freeze_frontend_after
        Updates after which the frontend and the encoder's projection of its features stay as they are; None: never.
    freeze_updates
        Updates from the first on in which the model stays as it is, and its heads and decoder alone are trained.
    """

    def __init__(
        self,
        model: SSLModel,
        heads: Sequence[ObjectiveHead],
        mask: Mask | None,
        mixing: Mixing | None,
        feature_penalty: float,
        feature_grad_mult: float,
        online: Mapping[int, FollowingTeacher] | None = None,
        decoder: ConvDecoder | LayerDecoders | None = None,
        freeze_frontend_after: int | None = None,
        freeze_updates: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList(head.module for head in heads)
        self.online = nn.ModuleDict({str(index): teacher for index, teacher in (online or {}).items()})
        self.decoder = decoder
        self._heads, self._mask, self._mixing = tuple(heads), mask, mixing
        self._clones = 1 if mask is None else mask.clones
        self._feature_penalty = feature_penalty
        # All heads look at one point of a layer: refused by `check_points` otherwise.
        self._point: Point = heads[0].module.point if heads else "output"
        self._freeze_after, self._stop = freeze_frontend_after, StopGradient()
        if feature_grad_mult == 0:
            model.frontend.requires_grad_(False)
        elif feature_grad_mult != 1:
            model.frontend.register_forward_hook(GradientScale(feature_grad_mult))
        if freeze_frontend_after is not None:
            # What the encoder makes of the features before it masks them is frozen with the frontend.
            for module in (model.frontend, model.encoder.feature_norm, model.encoder.projection):
                module.register_forward_hook(self._stop)
        self._freeze_updates, self._hold = freeze_updates, StopGradient()
        if freeze_updates:
            # Heads see features and the encoder's norm of them as well as its states.
            for module in (model.frontend, model.encoder.feature_norm, model.encoder):
                module.register_forward_hook(self._hold)
        if mask is None or decoder is not None or mask.fill != "embedding":
            # It never takes a frame's place, and a parameter without a gradient stops data parallel training.
            for name, parameter in model.encoder.named_parameters():
                if name.endswith("mask_embedding"):
                    parameter.requires_grad_(False)

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        """Return the loss over the masked frames, or all where nothing is masked; in training, on mixed waveforms."""
        self._freeze(step)
        waveform = batch.waveform
        if self.training and self._mixing is not None:
            rate = self.model.grid.sample_rate
            waveform = mix_in_batch(waveform, batch.lengths, self._mixing, rate, generator, batch.noise)
        total = self.model.grid.num_frames(waveform.shape[1])
        keys, mask = clone_keys(batch.keys, self._clones), None
        if self._mask is not None:
            mask = draw_masks(self._repeat(batch.frames), total, self._mask, keys).to(waveform.device)
        output, seen = self._encode(waveform, batch.lengths, mask, keys)
        # Targets may end a frame before the model does; masks and counts do not reach past the shorter.
        width = min([total, *(target.shape[1] for target in batch.targets)])
        mask = None if mask is None else mask[:, :width]
        clean = waveform is batch.waveform and (self._mask is None or self._mask.fill == "embedding")
        targets = self._targets(batch, output if clean else None, self._times_counted(batch, mask, width))
        view = View(
            hidden=[state[:, :width] for state in output.hidden],
            features=self._repeat(output.features[:, :width]),
            frames=self._repeat(batch.frames),
            mask=mask,
            targets=None,
            generator=generator,
            step=step,
            keys=keys,
            feature_norm=self.model.encoder.feature_norm,
            clones=self._clones,
            seen=seen,
        )
        loss_sum, metrics = self._losses(view, [self._repeat(target[:, :width]) for target in targets])
        if self.training:
            for teacher in self._following.values():
                metrics.update(teacher.metrics())
        counted = view.counted
        count = counted.sum()
        penalty = penalty_sum(output.features, output.lengths, counted.reshape(len(waveform), -1))
        metrics["feature_penalty"] = (penalty.detach(), count)
        return StepOutput(loss_sum + self._feature_penalty * penalty, count, metrics)

    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let stored statistics and the teachers that follow the model take in update `step`."""
        for module in self.model.modules():
            if isinstance(module, BatchNorm):
                module.follow(sum_over_processes)
        for teacher in self._following.values():
            teacher.update(self.model, step)
            teacher.follow(sum_over_processes)

    def trained_encoder(self) -> Encoder:
        """Return the model's encoder."""
        return self.model.encoder

    @property
    def _following(self) -> dict[int, FollowingTeacher]:
        """The teachers that follow the model, by their index in the recipe."""
        return {int(index): cast(FollowingTeacher, teacher) for index, teacher in self.online.items()}

    def _freeze(self, step: int) -> None:
        """Let no gradient into the model before its first update, nor into the frontend after its last."""
        self._stop.on = self._freeze_after is not None and step >= self._freeze_after
        if self._stop.on:
            # Its stored statistics stay as well, and it drops nothing any more.
            self.model.frontend.eval()
        self._hold.on = step < self._freeze_updates
        if self._hold.on:
            self.model.eval()

    def _encode(
        self, waveform: Tensor, lengths: Tensor, mask: Tensor | None, keys: Sequence[int]
    ) -> tuple[ModelOutput, VisibleStates]:
        """Return features and lengths of each clip and hidden states under each of its masks, filled in if decoded.

        The second is what the encoder made of the frames that it saw.
        """
        noise = None
        if mask is not None and self._mask is not None and self._mask.fill != "embedding":
            in_waveform = self._mask.fill == "waveform_noise"
            width = self.model.grid.hop_samples if in_waveform else self.model.frontend.noise_width
            assert width is not None, "refused by `check_fill`"
            noise = hidden_noise(mask, width, self._mask.noise_std, keys)
            if in_waveform:
                waveform, noise = noise.put(waveform), None
        features, frames = self.model.features_of(waveform, lengths, noise=noise)
        many, encoder = self._repeat(frames), self.model.encoder
        if mask is not None and self.decoder is not None:
            # Masked frames are left out of the encoder; the decoder fills them in.
            visible = visible_frames(mask, many)
            states = encoder(features, frames, mask, visible, point=self._point)
            decoded = self.decoder.decode(states, visible, mask, many, keys)
            inside = frame_mask(visible.frames, states[-1].shape[1])
            return ModelOutput(decoded, frames, features), VisibleStates(states[-1], visible.places, inside)
        # The encoder gets all frames, the masked ones as an embedding or as the noise above.
        embedded = mask if self._mask is not None and self._mask.fill == "embedding" else None
        states = encoder(self._repeat(features), many, embedded, point=self._point)
        inside = frame_mask(many, states[-1].shape[1])
        places = torch.arange(inside.shape[1], device=inside.device).expand_as(inside)
        seen = VisibleStates(states[-1], places, inside if mask is None else inside & ~mask)
        return ModelOutput(states, frames, features), seen

    def _repeat(self, rows: Tensor) -> Tensor:
        """Return the rows of clips as rows of their clones."""
        return rows if self._clones == 1 else rows.repeat_interleave(self._clones, 0)

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

    def _times_counted(self, batch: Batch, mask: Tensor | None, width: int) -> Int[Tensor, "clip frame"]:
        """Return how often the loss counts each frame of a clip: in how many of its masks it is hidden."""
        if mask is not None:
            return mask.reshape(len(batch.frames), self._clones, width).sum(1)
        return frame_mask(batch.frames, width).long() * self._clones

    def _targets(self, batch: Batch, output: ModelOutput | None, times: Tensor) -> list[Tensor]:
        """Return the targets of all teachers in the recipe's order.

        `output` has the features of the clean waveform, if these are known, and `times` says how often a frame counts.
        """
        features = None if output is None else (output.features, output.lengths)
        stored, following = iter(batch.targets), self._following
        return [
            following[index](batch.waveform, batch.lengths, features, times) if index in following else next(stored)
            for index in range(len(batch.targets) + len(following))
        ]


def penalty_sum(
    features: Float[Tensor, "batch frame dim"],
    lengths: Int[Tensor, " batch"],
    mask: Bool[Tensor, "batch place"],
) -> Float[Tensor, ""]:
    """Return the sum over clips of (masked frames) times (mean square of the clip's features)."""
    squares = features.float().square().mean(-1)
    per_clip = torch.where(frame_mask(lengths, features.shape[1]), squares, 0.0).sum(1) / lengths.clamp(min=1)
    return (per_clip * mask.sum(1)).sum()
