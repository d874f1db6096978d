"""One optimiser update from any number of micro-batches; one validation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from audio_ssl.data.loader import Batch, EndOfUpdate
from audio_ssl.pretrain.learner import StepOutput, fold
from audio_ssl.pretrain.optim import clip_gradients, divide_gradients, learning_rate, make_optimizer, set_learning_rate
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.seeds import generator, seeded


class Updater:
    """Accumulates micro-batches into updates.

    The gradients of the summed losses are added up and divided once by the update's count, so an update is the same
    however it was split. An update whose loss or gradient is not finite changes nothing.

    Parameters
    ----------
    learner
        On its device already.
    recipe
        Optimiser, precision and seed.
    steps
        Updates of the whole schedule.
    """

    def __init__(self, learner: nn.Module, recipe: Recipe, steps: int, device: torch.device) -> None:
        self.learner, self.device = learner, device
        self.optimizer = make_optimizer(learner, recipe.optim)
        self._recipe, self._steps = recipe, steps
        self._saved: dict[str, Tensor] = {}
        self._step = 0
        self._begin()

    def add(self, batch: Batch, step: int) -> None:
        """Add the gradients of a micro-batch of update `step` (counted from 0)."""
        if not self._outputs:
            # Codebooks that follow averages are changed by the forward pass; a skipped update puts them back.
            self._saved = {name: buffer.clone() for name, buffer in self.learner.named_buffers()}
        self.learner.train()
        purpose = (self._recipe.seed, "update", step, len(self._outputs))
        with seeded(self.device, *purpose, "layers"):
            output = self._forward(batch, generator(*purpose), step)
        output.loss_sum.backward()  # type: ignore[no-untyped-call]
        self._outputs.append(dataclasses.replace(output, loss_sum=output.loss_sum.detach()))
        self.seconds += batch.seconds

    def finish(self, step: int) -> tuple[dict[str, float], bool]:
        """Apply update `step`.

        Returns
        -------
        The row of metrics, and whether the parameters were changed.
        """
        lr = learning_rate(self._recipe.optim, step, self._steps)
        set_learning_rate(self.optimizer, lr)
        loss, metrics = fold(self._outputs)
        divide_gradients(self.learner, max(1e-12, sum(float(output.count) for output in self._outputs)))
        norm = float(clip_gradients(self.learner, self._recipe.optim.clip_norm))
        applied = math.isfinite(loss) and math.isfinite(norm)
        if applied:
            self.optimizer.step()
            with torch.no_grad():
                self.learner.after_update(step, lambda tensor: tensor)  # type: ignore[operator]
        else:
            self._restore_buffers()
        self._step = step
        self._begin()
        return {"loss": loss, "lr": lr, "grad_norm": norm, **metrics}, applied

    def validate(self, batches: Iterable[Batch | EndOfUpdate]) -> dict[str, float]:
        """Return ``valid_loss`` and the other metrics of batches, without mixing, dropout or a change of anything."""
        self.learner.eval()
        outputs = []
        with torch.no_grad():
            for number, batch in enumerate(item for item in batches if isinstance(item, Batch)):
                outputs.append(self._forward(batch, generator(self._recipe.seed, "valid", number), self._step))
        if not outputs:
            return {}
        loss, metrics = fold(outputs)
        return {"valid_loss": loss, **{f"valid_{name}": value for name, value in metrics.items()}}

    def _forward(self, batch: Batch, random: torch.Generator, step: int) -> StepOutput:
        lowered = self._recipe.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=lowered):
            output: StepOutput = self.learner(batch.to(self.device), random, step)
        return output

    def _begin(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._outputs: list[StepOutput] = []
        self._saved = {}
        self.seconds = 0.0

    def _restore_buffers(self) -> None:
        for name, buffer in self.learner.named_buffers():
            if name in self._saved:
                buffer.copy_(self._saved[name])
