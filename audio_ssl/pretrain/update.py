"""One optimiser update from any number of micro-batches in any number of processes; one validation."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from audio_ssl.base.seeds import generator, seeded
from audio_ssl.data.loader import Batch, EndOfUpdate
from audio_ssl.pretrain.distributed import ALONE, Team
from audio_ssl.pretrain.learner import Learner, StepOutput
from audio_ssl.pretrain.optim import (
    WeightsEma,
    clip_gradients,
    divide_gradients,
    drop_gradients,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    trainable,
)
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.replicas import Replica, Runner


@dataclasses.dataclass(frozen=True)
class UpdateResult:
    """Result of one optimiser update."""

    row: dict[str, float]
    """Metrics."""

    changed: bool
    """False where loss or gradient was not finite, so that nothing was changed."""

    seconds: float
    """Audio of the update, in seconds, over all processes."""


class Updater:
    """Accumulates micro-batches into updates: `add` each, then `finish`.

    The gradients of the summed losses are added up over micro-batches and processes and divided once by the update's
    count, and what a micro-batch draws at random depends on its number in the update, so an update is the same however
    it was split and shared out. An update whose loss or gradient is not finite changes nothing.

    Parameters
    ----------
    learner, device
        The learner, on its device already.
    steps
        Updates of the whole schedule.
    replica
        How the learner is run and shared out over the team; None: by torch's own means.
    """

    def __init__(
        self,
        learner: Learner,
        recipe: Recipe,
        steps: int,
        device: torch.device,
        team: Team = ALONE,
        replica: Runner | None = None,
    ) -> None:
        self.learner, self.device = learner, device
        self._replica: Runner = replica if replica is not None else Replica(learner, team)
        self.optimizer = make_optimizer(learner, recipe.optim)
        self.average = WeightsEma(learner, recipe.weights_ema) if recipe.weights_ema is not None else None
        self._recipe, self._steps, self._team = recipe, steps, team
        self._step = 0
        self._begin()

    def _begin(self) -> None:
        """Start an update with no gradients and nothing counted."""
        self.optimizer.zero_grad(set_to_none=True)
        self._replica.used.clear()
        self._outputs: list[StepOutput] = []
        self._seconds = 0.0
        self._before: dict[str, Tensor] | None = None
        """Buffers before the update."""
        self._before_padding: dict[str, Tensor] | None = None
        """Buffers before a padding batch whose effect is still to be undone."""

    def add(self, batch: Batch, step: int) -> None:
        """Add the gradients of a micro-batch of update `step` (counted from 0)."""
        self._undo_padding()
        buffers: dict[str, Tensor] = {}
        if self._before is None or not batch.counts:
            buffers = {name: buffer.clone() for name, buffer in self.learner.named_buffers()}
        if self._before is None:
            # Codebooks that follow averages are changed by the forward pass; a skipped update puts them back.
            self._before = buffers
        # A padding batch changes nothing: its loss has weight zero, and its statistics are undone.
        self.learner.train(batch.counts)
        purpose = (self._recipe.seed, "update", step, batch.number)
        with seeded(self.device, *purpose, "layers"), self.precision():
            output = self._replica.backward(batch.to(self.device), generator(*purpose), step)
        if not batch.counts:
            self._before_padding = buffers
            return
        self._outputs.append(dataclasses.replace(output, loss_sum=output.loss_sum.detach()))
        self._seconds += batch.seconds

    def finish(self, step: int) -> UpdateResult | None:
        """Apply update `step`; None where no process had anything to add."""
        sums = self.gather()
        if not sums.batches:
            self._begin()
            return None
        lr = learning_rate(self._recipe.optim, step, self._steps)
        set_learning_rate(self.optimizer, lr)
        norm = clip_gradients(self.learner, self._recipe.optim.clip_norm)
        return self.apply(step, sums, lr, norm)

    def gather(self) -> UpdateSums:
        """Return the update's sums over all processes, and turn its gradients into those of the mean loss."""
        self._undo_padding()
        sums = UpdateSums.of(self._outputs, self._seconds, self._replica.used).over(self._team)
        if not sums.batches:
            return sums
        if self._team.world_size > 1:
            drop_gradients(self.learner, (name for name, _ in trainable(self.learner) if name not in sums.used))
        # Gradients of several processes are averaged over them already.
        divide_gradients(self.learner, max(1e-12, sums.count) / self._team.world_size)
        return sums

    def apply(self, step: int, sums: UpdateSums, lr: float, norm: float) -> UpdateResult:
        """Let the optimiser make update `step` of gathered and clipped gradients, if loss and norm are finite."""
        changed = math.isfinite(sums.loss) and math.isfinite(norm)
        if changed:
            self.optimizer.step()
            with torch.no_grad():
                self.learner.after_update(step, self._team.sum)
            if self.average is not None:
                self.average.update(step)
        else:
            self._restore(self._before or {})
        self._step = step
        self._begin()
        return UpdateResult({"loss": sums.loss, "lr": lr, "grad_norm": norm, **sums.means}, changed, sums.seconds)

    def validate(self, batches: Iterable[Batch | EndOfUpdate]) -> dict[str, float]:
        """Return ``valid_loss`` and the other metrics of batches, without mixing, dropout or a change of anything."""
        self.learner.eval()
        outputs, before = [], 0
        with torch.no_grad(), self.precision():
            for item in batches:
                if isinstance(item, EndOfUpdate):
                    before += item.micro_batches
                    continue
                random = generator(self._recipe.seed, "valid", before + item.number)
                output = self._replica.forward(item.to(self.device), random, self._step)
                if item.counts:
                    outputs.append(output)
        self._replica.rest()
        sums = UpdateSums.of(outputs, 0.0, set()).over(self._team)
        if not sums.batches:
            return {}
        return {"valid_loss": sums.loss, **{f"valid_{name}": value for name, value in sums.means.items()}}

    def precision(self) -> torch.autocast:
        """Return a block in which the learner runs in the recipe's precision, forwards and backwards."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._recipe.precision == "bfloat16")

    def _undo_padding(self) -> None:
        """Undo what a padding batch did to the buffers; not before it was run backwards, which may need them."""
        self._restore(self._before_padding or {})
        self._before_padding = None

    def _restore(self, buffers: dict[str, Tensor]) -> None:
        for name, buffer in self.learner.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])


@dataclasses.dataclass
class UpdateSums:
    """Loss, metrics and seconds of micro-batches, as sums that add up over processes."""

    batches: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    count: float = 0.0
    metrics: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """Name to [sum, count]."""
    used: list[str] = dataclasses.field(default_factory=list)
    """Names of the parameters that had a part."""

    @classmethod
    def of(cls, outputs: Sequence[StepOutput], seconds: float, used: set[str]) -> UpdateSums:
        """Add up the outputs of one process."""
        total = cls(len(outputs), seconds, used=sorted(used))
        for output in outputs:
            total.loss_sum += float(output.loss_sum.detach())
            total.count += float(output.count)
            for name, (value, number) in output.metrics.items():
                total._add_metric(name, float(value), float(number))
        return total

    def over(self, team: Team) -> UpdateSums:
        """Return the sums over all processes, the same in each."""
        if team.world_size == 1:
            return self
        total = UpdateSums()
        for text in team.gather_text(json.dumps(dataclasses.asdict(self))):
            other = UpdateSums(**json.loads(text))
            total.batches += other.batches
            total.seconds += other.seconds
            total.loss_sum += other.loss_sum
            total.count += other.count
            total.used = sorted({*total.used, *other.used})
            for name, (value, number) in other.metrics.items():
                total._add_metric(name, value, number)
        return total

    @property
    def loss(self) -> float:
        """The mean loss."""
        return self.loss_sum / max(self.count, 1e-12)

    @property
    def means(self) -> dict[str, float]:
        """The metrics that were counted."""
        return {name: value / number for name, (value, number) in self.metrics.items() if number > 0}

    def _add_metric(self, name: str, value: float, number: float) -> None:
        entry = self.metrics.setdefault(name, [0.0, 0.0])
        entry[0] += value
        entry[1] += number
