"""One update by the formula of fairseq's trainer: sum, division, clipping, rate, Adam, and only then the averages."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from audio_ssl.data.loader import Batch
from audio_ssl.pretrain.learner import Learner, StepOutput
from audio_ssl.pretrain.optim import OptimConfig
from audio_ssl.pretrain.update import Updater
from tests.pretrain.toy import toy_recipe

OPTIM = OptimConfig(
    lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, warmup_steps=2, schedule="linear", clip_norm=0.5
)
STEPS = 10
COUNTS = (3, 1, 6)
"""Masked frames of the micro-batches of an update."""


class Line(Learner):
    """Its loss is a sum over as many frames as a micro-batch's first clip is long."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.bias = nn.Parameter(torch.tensor([0.5]))
        self.seen: list[tuple[int, Tensor]] = []

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> StepOutput:
        count = batch.frames[0]
        error = batch.waveform[0, :2] @ self.weight + self.bias - batch.waveform[0, 2]
        return StepOutput((count * error.square()).sum(), count, {})

    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        self.seen.append((step, self.weight.detach().clone()))


def batches(step: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(step)
    found = []
    for number, count in enumerate(COUNTS):
        waveform, frames = torch.randn(1, 3, generator=draw), torch.tensor([count])
        found.append(Batch(waveform, torch.tensor([3]), (), frames, (number,), 1.0, number=number))
    return found


def expected(steps: int) -> list[Tensor]:
    """Return weight and bias after each update."""
    values = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    first, second, states = torch.zeros(3).double(), torch.zeros(3).double(), []
    for step in range(steps):
        gradient = torch.zeros(3).double()
        for batch, count in zip(batches(step), COUNTS, strict=True):
            x = torch.cat([batch.waveform[0, :2], torch.ones(1)]).double()
            gradient += count * 2 * (x @ values - batch.waveform[0, 2]) * x
        gradient = gradient / sum(COUNTS)
        gradient = gradient * min(1.0, 0.5 / (float(gradient.norm()) + 1e-6))
        rate = 0.01 * (max(1, step) / 2 if step < 2 else 1 - (step - 2) / (STEPS - 2))
        first = 0.8 * first + 0.2 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        number = step + 1
        size = first / (1 - 0.8**number)
        scale = (second / (1 - 0.95**number)).sqrt() + 1e-3
        values = values - rate * 0.1 * values - rate * size / scale
        states.append(values)
    return states


def test_an_update_is_fairseqs() -> None:
    learner = Line()
    updater = Updater(learner, toy_recipe(optim=OPTIM, steps=STEPS), STEPS, torch.device("cpu"))
    norms = []
    for step, values in enumerate(expected(5)):
        for batch in batches(step):
            updater.add(batch, step)
        applied = updater.finish(step)
        assert applied is not None
        norms.append(applied.row["grad_norm"])
        found = torch.cat([learner.weight, learner.bias]).detach().double()
        torch.testing.assert_close(found, values, rtol=1e-6, atol=1e-7)
        # What follows the weights by an average sees them after the update, and the update's number from 0.
        assert learner.seen[-1][0] == step
        assert torch.equal(learner.seen[-1][1], learner.weight)
    assert max(norms) > 0.5
    assert all(math.isfinite(norm) for norm in norms)


@pytest.mark.parametrize("change", [{"clip_norm": 0.4}, {"eps": 1e-8}, {"betas": (0.9, 0.95)}, {"weight_decay": 0.0}])
def test_no_other_setting_gives_the_same(change: dict[str, object]) -> None:
    learner = Line()
    optim = dataclasses.replace(OPTIM, **change)
    updater = Updater(learner, toy_recipe(optim=optim, steps=STEPS), STEPS, torch.device("cpu"))
    for step in range(5):
        for batch in batches(step):
            updater.add(batch, step)
        updater.finish(step)
    found = torch.cat([learner.weight, learner.bias]).detach().double()
    assert float((found - expected(5)[-1]).abs().max()) > 1e-5
