"""What the loop needs of a kind of training: a module that turns a batch into a loss, and how to save the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.loader import TargetSource
from audio_ssl.data.noise import NoiseBank


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


class Learner(nn.Module):
    """The module that the loop trains; a kind of training has one of its own.

    It is called as ``learner(batch, generator, step) -> StepOutput``: `generator` (on the CPU) is its only source of
    randomness besides dropout, and `step` the number of the update, from 0.
    """

    def after_update(self, step: int, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Follow the parameters after update `step` was applied: teachers and codebooks that are averages.

        Parameters
        ----------
        step
            Number of the update, from 0.
        sum_over_processes
            Adds a tensor up over all processes; every process must call it for the same tensors in the same order.
        """


@dataclass(frozen=True)
class Training:
    """A learner and what it is fed with."""

    learner: Learner
    """Its ``state_dict`` is what a checkpoint holds."""
    grid: FrameGrid
    """Frames that crops and targets are counted in."""

    targets: TargetSource | None
    """Targets of crops; None where the audio is its own target."""

    target_fingerprints: tuple[str, ...]
    """Fingerprints of the teachers, in order."""

    save: Callable[[Path], None]
    """Writes the trained model into a folder."""

    noise: NoiseBank | None = None
    """What is added to the crops of training; None: nothing."""
