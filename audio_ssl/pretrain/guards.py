"""Guards: a run that has gone wrong is stopped with an explanation, its state saved, instead of burning its hours.

- **Spikes**: the loss stays far above its running median for many updates in a row.
- **Collapse**: targets are nearly constant, by the perplexity of their codes or by their spread: nothing is left to
  learn. data2vec's published code ends for the same reason (Baevski et al. 2022, arXiv 2202.03555, section 5.4).
  Nearly constant predictions are common early on. They are only logged, from the first validation on.
- Updates without a finite loss or gradient are left out by the loop and counted; too many in a row end the run.

The loss and the metrics are those of all processes, so all of them stop at the same update. What the guards remember is
not saved: after a resume they start anew.

`StopRequest` is a stop by a signal, or because the time is over: the current update is completed and saved first.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from types import FrameType, TracebackType
from typing import Any, Self

from audio_ssl.artifacts.records import absent
from audio_ssl.artifacts.run import UpdateRow
from audio_ssl.base.errors import StoppedBySignal, UserError

logger = logging.getLogger(__name__)

_PREDICTIONS = ("predicted", "prediction", "probability")
"""Beginnings of the names of metrics of the predictions; the others are of the targets."""

TARGETS, PREDICTIONS = "targets", "predictions"
"""What can be nearly constant."""

_VALID = "valid_"
_MOST_NAMED = 3
_LEAST_HISTORY = 50
_SMOOTHING = 100
"""Updates that perplexities and spreads are averaged over."""


@dataclass(frozen=True)
class SpikeGuard:
    """Stops where the loss has left its level for good."""

    factor: float = 10.0
    """The loss is a spike above this many times the running median."""

    updates: int = 100
    """Spikes in a row that stop the run."""

    window: int = 1000
    """Updates of the running median; spikes are left out."""


@dataclass(frozen=True)
class CollapseGuard:
    """Stops where targets have collapsed: they are nearly constant."""

    grace_updates: int = 1000
    """Updates before which nothing is checked."""

    grace_share: float = 0.25
    """The same as a share of the run; the longer of the two counts."""

    perplexity: float = 1.2
    """Codes count as constant below this perplexity (1: a single code), in every codebook."""

    target_variance: float | None = 0.1
    """Targets count as constant below this mean standard deviation (data2vec's published code: 0.1); null: not
    checked."""

    prediction_variance: float | None = 0.01
    """The same for predictions, which are only logged (data2vec's published code: 0.01); null: not checked."""


@dataclass(frozen=True)
class Guards:
    """The guards of a run; each can be null."""

    loss_spike: SpikeGuard | None = field(default_factory=SpikeGuard)
    """A loss far above its median."""

    collapse: CollapseGuard | None = field(default_factory=CollapseGuard)
    """Targets that are nearly constant."""

    non_finite: int | None = 100
    """Updates in a row without a finite loss or gradient that stop the run; null: no number of them does."""


def check_guards(guards: Guards) -> None:
    """Raise UserError for values that make no sense."""
    spike, collapse = guards.loss_spike, guards.collapse
    if spike is not None and not spike.factor > 1:
        raise UserError(f"`factor` must be above 1, but is {spike.factor}", where="$.guards.loss_spike.factor")
    if spike is not None and min(spike.updates, spike.window) < 1:
        raise UserError("`updates` and `window` must be at least 1", where="$.guards.loss_spike")
    if collapse is not None and (collapse.grace_updates < 0 or not 0 <= collapse.grace_share <= 1):
        raise UserError(
            "`grace_updates` must not be negative and `grace_share` a share", where="$.guards.collapse.grace_updates"
        )
    if guards.non_finite is not None and guards.non_finite < 1:
        raise UserError(
            f"`non_finite` must be at least 1 or null, but is {guards.non_finite}", where="$.guards.non_finite"
        )


class GuardWatch:
    """Checks the rows of one stretch of training.

    Parameters
    ----------
    guards
        What to look for.
    steps
        Updates of the stretch.

    Examples
    --------
    >>> watch = GuardWatch(Guards(loss_spike=SpikeGuard(factor=2.0, updates=3)), steps=1000)
    >>> wrong = [watch.look(step, {"loss": 1.0 if step < 60 else 9.0}) for step in range(63)]
    >>> [step for step, error in enumerate(wrong) if error]
    [62]
    """

    def __init__(self, guards: Guards, steps: int) -> None:
        self._guards, self._steps = guards, steps
        collapse = guards.collapse
        self._grace = max(collapse.grace_updates, round(collapse.grace_share * steps)) if collapse else 0
        self._losses: deque[float] = deque(maxlen=guards.loss_spike.window if guards.loss_spike else 1)
        self._level: float | None = None
        self._spikes = 0
        self._means: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._mentioned: set[str] = set()
        self._validates = False

    def look(self, step: int, row: Mapping[str, float]) -> UserError | None:
        """Check the row of update `step` (counted from 1); return why the run must stop, if it must."""
        self.validated(step, row)
        return self._spike(row["loss"]) or self._collapse(step, row)

    def validated(self, step: int, row: Mapping[str, float]) -> None:
        """Log where a validation finds targets or predictions nearly constant, and where they no longer are."""
        guard = self._guards.collapse
        values = {name: value for name, value in row.items() if name.startswith(_VALID)}
        if guard is None or not values:
            return
        self._validates = True
        alike = all_alike(values, guard)
        for what, found in alike.items():
            if what not in self._mentioned:
                self._mentioned.add(what)
                goes_on = "; training goes on" if step < self._steps else ""
                logger.warning("step %d: %s%s", step, alike_words(what, found), goes_on)
        for what in sorted(self._mentioned - alike.keys()):
            self._mentioned.remove(what)
            logger.info("step %d: the %s are no longer nearly constant", step, what)

    def too_many_skipped(self, in_a_row: int) -> UserError | None:
        """Return why the run must stop after so many updates without a finite loss, if it must."""
        most = self._guards.non_finite
        if most is None or in_a_row < most:
            return None
        return UserError(
            f"{in_a_row} updates in a row had no finite loss",
            remedy="resume is of no use; lower optim.lr, or raise optim.warmup_steps, and start again",
        )

    def _spike(self, loss: float) -> UserError | None:
        guard = self._guards.loss_spike
        if guard is None or not math.isfinite(loss):
            return None
        level = self._median()
        # Ten times a loss below zero is no rise, so the distance is measured by the size of the loss.
        if level is None or loss <= level + (guard.factor - 1) * abs(level):
            self._losses.append(loss)
            self._spikes = 0
            return None
        self._spikes += 1
        if self._spikes < guard.updates:
            return None
        return UserError(
            f"the loss was above {guard.factor:g} times its running median of {level:.4g} for {self._spikes} updates "
            f"in a row, and is {loss:.4g} now",
            where="$.guards.loss_spike",
            remedy="begin again with a lower optim.lr, more optim.warmup_steps or a lower optim.clip_norm; if the rise "
            "is meant to be, resume with guards.loss_spike=null",
        )

    def _median(self) -> float | None:
        """Return the running median; it moves slowly, so it is computed every few updates only."""
        if len(self._losses) < min(_LEAST_HISTORY, self._losses.maxlen or 1):
            return None
        if self._level is None or len(self._losses) < _LEAST_HISTORY * 2 or self._seen.get("loss", 0) % 10 == 0:
            self._level = median(self._losses)
        self._seen["loss"] = self._seen.get("loss", 0) + 1
        return self._level

    def _collapse(self, step: int, row: Mapping[str, float]) -> UserError | None:
        guard = self._guards.collapse
        if guard is None:
            return None
        for name, value in row.items():
            if _says_spread(name) and not name.startswith(_VALID) and math.isfinite(value):
                number = self._seen[name] = self._seen.get(name, 0) + 1
                mean = self._means.get(name, value)
                self._means[name] = mean + (value - mean) / min(number, _SMOOTHING)
        ready = {name: mean for name, mean in self._means.items() if self._seen[name] >= _SMOOTHING}
        found = all_alike(ready, guard)
        # Where there is a validation, `validated` logs it.
        if not self._validates:
            for what in sorted(found.keys() - self._mentioned):
                self._mentioned.add(what)
                words = alike_words(what, found[what])
                logger.warning("step %d: %s over the last %d updates; training goes on", step, words, _SMOOTHING)
        if step <= self._grace or TARGETS not in found:
            return None
        return UserError(
            f"{alike_words(TARGETS, found[TARGETS])} on average over the last {_SMOOTHING} updates",
            where="$.guards.collapse",
            remedy="lower optim.lr, give the teacher a slower average or other targets, or look at what the audio "
            "holds; if it is meant to be, resume with guards.collapse=null",
        )


def all_alike(values: Mapping[str, float], guard: CollapseGuard) -> dict[str, dict[str, float]]:
    """Return the metrics by which `TARGETS` and `PREDICTIONS` are nearly constant; what is not is left out.

    Parameters
    ----------
    values
        Metrics of one row, or their means over several; those that say nothing about this are passed over.
    guard
        What counts as alike.

    Examples
    --------
    >>> all_alike({"predicted_perplexity": 1.0, "code_perplexity": 80.0, "loss": 4.2}, CollapseGuard())
    {'predictions': {'predicted_perplexity': 1.0}}
    """
    said = {name: value for name, value in values.items() if _says_spread(name) and math.isfinite(value)}
    found = {
        TARGETS: _alike({n: v for n, v in said.items() if not _is_prediction(n)}, guard, guard.target_variance),
        PREDICTIONS: _alike({n: v for n, v in said.items() if _is_prediction(n)}, guard, guard.prediction_variance),
    }
    return {what: metrics for what, metrics in found.items() if metrics}


@dataclass(frozen=True)
class AlikeAtEnd:
    """The metrics, with their values, by which targets or predictions are nearly constant at the end of a run."""

    step: int
    """At which that was measured."""
    targets: dict[str, float] = absent({})
    predictions: dict[str, float] = absent({})


def alike_at_end(rows: Sequence[UpdateRow], guard: CollapseGuard) -> AlikeAtEnd:
    """Return the metrics by which targets or predictions are nearly constant at the end of a run.

    They are those of the last validation, or without one the means over the last updates.

    Parameters
    ----------
    rows
        Of ``metrics.jsonl``.
    guard
        What counts as alike.
    """
    numbers = [(row.step, {key: value for key, value in row.values.items() if value is not None}) for row in rows]
    validated = [(step, row) for step, row in numbers if any(key.startswith(_VALID) for key in row)]
    if validated:
        step, last = validated[-1]
        return AlikeAtEnd(step, **all_alike({key: v for key, v in last.items() if key.startswith(_VALID)}, guard))
    recent = [row for _, row in numbers[-_SMOOTHING:]]
    names = dict.fromkeys(key for row in recent for key in row)
    means = {key: fmean([row[key] for row in recent if key in row]) for key in names}
    return AlikeAtEnd(rows[-1].step if rows else 0, **all_alike(means, guard))


def alike_sentences(found: AlikeAtEnd) -> list[str]:
    """Return a sentence on what is nearly constant at a step, and on what that means.

    Examples
    --------
    >>> alike_sentences(AlikeAtEnd(400, targets={"target_variance": 0.0}))
    ['At step 400 the targets are nearly constant: target_variance is 0; the model cannot learn from them.']
    """
    meanings = (
        (PREDICTIONS, found.predictions, "the model has collapsed, or has not begun to learn"),
        (TARGETS, found.targets, "the model cannot learn from them"),
    )
    return [
        f"At step {found.step:,} {alike_words(what, metrics)}; {meaning}."
        for what, metrics, meaning in meanings
        if metrics
    ]


def alike_words(what: str, metrics: Mapping[str, float]) -> str:
    """Return in words what is nearly constant, and by which metrics.

    Examples
    --------
    >>> alike_words(PREDICTIONS, {"valid_predicted_perplexity": 1.0})
    'the predictions are nearly constant: valid_predicted_perplexity is 1 (1: a single code for all frames)'
    """
    shown = [f"{name} is {value:.3g}" for name, value in metrics.items()]
    more = f" and {len(shown) - _MOST_NAMED} more" if len(shown) > _MOST_NAMED else ""
    least = " (1: a single code for all frames)" if any("perplexity" in name for name in metrics) else ""
    return f"the {what} are nearly constant: {', '.join(shown[:_MOST_NAMED])}{more}{least}"


def _says_spread(name: str) -> bool:
    return "perplexity" in name or name.endswith("_variance")


def _is_prediction(name: str) -> bool:
    return any(word in name for word in _PREDICTIONS)


def _alike(means: Mapping[str, float], guard: CollapseGuard, variance: float | None) -> dict[str, float]:
    """Return the metrics by which values are nearly constant; of several codebooks, all must be."""
    codes = {name: mean for name, mean in means.items() if "perplexity" in name}
    if any(mean >= guard.perplexity for mean in codes.values()):
        codes = {}
    spreads = {name: mean for name, mean in means.items() if name.endswith("_variance")}
    return codes | {name: mean for name, mean in spreads.items() if variance is not None and mean < variance}


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

TIME_IS_UP = 1
"""What `StopRequest.asked` gives when the time is over. It is below the number of every signal, as a signal is more
urgent."""


class StopRequest:
    """While open, SIGTERM, SIGUSR1 and Ctrl-C set `signal_name` instead of ending the program.

    A second signal interrupts at once. Outside the main thread, where Python allows no handlers, nothing is changed.

    Parameters
    ----------
    deadline
        By `time.monotonic`, when the time is over; None: never.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.signal_name: str | None = None
        self._deadline = deadline
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> int:
        """Return the number of the signal that came, `TIME_IS_UP`, or 0 where nothing asks for a stop."""
        if self.signal_name is not None:
            return signal.Signals[self.signal_name].value
        return TIME_IS_UP if self._deadline is not None and time.monotonic() >= self._deadline else 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is not None:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name


def stopped_by(number: int, step: int, steps: int, folder: Path) -> StoppedBySignal:
    """Return what ends a job that a signal has stopped after a step whose state is in a folder."""
    name = signal.Signals(number).name
    return StoppedBySignal(
        f"{name} received; step {step} of {steps} is saved in {folder}. Run the command again with --resume to continue"
    )
