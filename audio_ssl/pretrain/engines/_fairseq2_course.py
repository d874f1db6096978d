"""What becomes of each update of fairseq2's trainer: the row, guards, signals, validation."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, MutableMapping

import torch
from fairseq2.checkpoint import StandardCheckpointManager
from fairseq2.metrics import MetricBag
from fairseq2.metrics.recorders import MetricRecorder
from fairseq2.optim.fp16_loss_scaler import Float16LossScaler, Float16LossScaleResult
from fairseq2.trainer import TrainUnit
from fairseq2.validator import Validator
from torch import Tensor

from audio_ssl.errors import UserError
from audio_ssl.pretrain.checkpoint import State
from audio_ssl.pretrain.engines._fairseq2_parts import Carried, Facade, Reader, Runs
from audio_ssl.pretrain.guards import Watch
from audio_ssl.pretrain.log import MetricsLog, NoLog
from audio_ssl.pretrain.loop import Speed, TrainingJob, advance, row_of, validate, validation_due
from audio_ssl.pretrain.parallel import Team
from audio_ssl.pretrain.stop import StopRequest
from audio_ssl.pretrain.update import Sums, Updater


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a trainer is made of."""

    updater: Updater
    runs: Runs
    facade: Facade
    reader: Reader
    manager: StandardCheckpointManager


class Course:
    """How far the run is, and what comes of each update; the same in all processes."""

    def __init__(self, job: TrainingJob, team: Team, parts: Parts, log: MetricsLog | NoLog, stop: StopRequest) -> None:
        self.parts = parts
        self.error: UserError | None = None
        """Why a guard stopped the run."""
        self.asked = 0
        """What asked for a stop: a signal, or the time (`StopRequest.asked`)."""
        self.after_update: Callable[[float, str], None] = lambda loss, speed: None
        self._job, self._team, self._log, self._stop = job, team, log, stop
        self._watch = Watch(job.recipe.guards, job.steps)
        self._sums = Sums()
        self._row: dict[str, float] = {}
        self._speed = Speed()
        self._clock = time.perf_counter()

    @property
    def state(self) -> State:
        """Where the run stands."""
        return self.parts.reader.state

    @property
    def ends(self) -> bool:
        """Whether the run ends with the update just made."""
        return self.state.step >= self._job.steps or self.error is not None or self.asked != 0

    def add(self, batch: Carried) -> Tensor:
        """Run a micro-batch forwards and return its loss, a sum."""
        self.parts.updater.add(batch.batch, self.state.step)
        return self.parts.runs.take_loss()

    def gather(self) -> None:
        """Turn the gradients of all micro-batches and processes into those of the mean loss."""
        self._sums = self.parts.updater.gather()

    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the update of clipped gradients, and look at what came of it."""
        lr = float(optimizer.param_groups[0]["lr"])
        done = self.parts.updater.apply(self.state.step, self._sums, lr, self.parts.facade.norm)
        state = advance(self.state, self.parts.reader.then, done)
        self.parts.reader.state = state
        spent = time.perf_counter() - self._clock
        self._row = row_of(state, done, spent)
        self.error = self._watch.too_many_skipped(state.skipped_in_a_row) or self._watch.look(state.step, self._row)
        if not done.changed:
            # There are no gradients any more, so this changes nothing; the schedule warns if it never saw a step.
            optimizer.step()
        self.asked = self._team.most([self._stop.asked()])[0]
        self.after_update(self._row["loss"], self._speed.over(done.seconds, spent))

    def publish(self) -> None:
        """Write the row of the update, unless a validation is to be added to it."""
        if not validation_due(self._job, self.state.step):
            self._write()

    def validate(self) -> float | None:
        """Validate where it is due, and return the score: higher is better."""
        if not validation_due(self._job, self.state.step):
            return None
        values = validate(self._job, self.parts.updater, self._team)
        self._row.update(values)
        self._watch.validated(self.state.step, values)
        loss = values.get("valid_loss", math.nan)
        self._write()
        return -loss if math.isfinite(loss) else None

    def _write(self) -> None:
        self._log.write(self.state.step, self._row)
        if self.ends or self.state.step % self._job.recipe.checkpoint.every == 0:
            self._log.sync()
        self._clock = time.perf_counter()


class Unit(TrainUnit):  # type: ignore[misc]
    """Turns micro-batches into losses."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        """Add nothing: our metrics are known by name only when they come."""

    def process_batch(self, batch: Carried, metric_bag: MetricBag) -> tuple[Tensor, int]:
        """Return the loss, a sum, and no count: gradients are divided by the exact one, which may be no integer."""
        return self._course.add(batch), 0


class Steps(Float16LossScaler):  # type: ignore[misc]
    """The part of the trainer that stands around the optimiser's step; it scales nothing.

    An update that is not finite is left out and counted, as with our own loop; fairseq2 alone would go on with broken
    weights in float32 and bfloat16.
    """

    scale_window = 1

    def __init__(self, course: Course) -> None:
        self._course = course

    def backward(self, loss: Tensor) -> None:
        """Run a loss backwards."""
        # Our own fast layers compute their gradients in the precision around them, as in our own loop.
        with self._course.parts.updater.precision():
            loss.backward()  # type: ignore[no-untyped-call]

    def unscale_grads_(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the update's count."""
        self._course.gather()

    def run_optimizer_step(self, optimizer: torch.optim.Optimizer, closure: None = None) -> Float16LossScaleResult:
        """Make the update."""
        self._course.apply(optimizer)
        return Float16LossScaleResult(old_scale=1.0, new_scale=1.0)

    def state_dict(self) -> dict[str, object]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, object]) -> None:
        """Do nothing."""


class Validates(Validator):  # type: ignore[misc]
    """Validates as our own loop does."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def run(self, train_step_nr: int) -> float | None:
        """Return the score, or None where no validation is due."""
        return self._course.validate()

    def reset(self) -> None:
        """Do nothing."""


class Records(MetricRecorder):  # type: ignore[misc]
    """Writes the run's own log; the trainer asks the leader only."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def record_metric_values(
        self, category: str, values: MutableMapping[str, object], step_nr: int | None = None
    ) -> None:
        """Write a row."""
        self._course.publish()

    def close(self) -> None:
        """Do nothing: the log is closed where it was opened."""
