"""Training of all runs of a probe together: mini-batches, validation scores, early stopping of each run.

Every run sees each batch once it has been read; a run that has stopped leaves its team. A run whose loss is not finite
stops and is named; the others do not notice.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from audio_ssl.artifacts.result import HistoryPoint
from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.anneal import ANNEALED, Annealer, Annealing
from audio_ssl.probing.features import Bank, LayerBatch, portions
from audio_ssl.probing.layer_heads import HeadRun, HeadTeam, LayerHead, LayerStatistics, SingleHead, State, form_teams
from audio_ssl.probing.live import TunedBank
from audio_ssl.probing.probe import HeadTraining
from audio_ssl.probing.quick import ValidationScorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Examples:
    """Clips with their targets and features."""

    clips: list[Clip]
    targets: list[Tensor]
    """Targets of the clips; none for validation clips whose metric takes no arrays."""
    bank: Bank
    weights: Tensor | None = None
    """How often a clip is drawn, relative to the others; None: each once an epoch."""

    def batch(self, rows: Sequence[int]) -> tuple[LayerBatch, list[Tensor]]:
        """Return layers and targets of some clips."""
        return self.bank.batch([self.clips[row] for row in rows]), [self.targets[row] for row in rows]


@dataclass
class TrainedHead:
    """A trained run and how it got there."""

    run: HeadRun
    valid: float = math.nan
    """Main metric on the validation clips, of the weights that are kept; NaN where the run diverged before any."""

    steps: int = 0
    """Updates until it stopped."""

    state: State = field(default_factory=dict)
    """Weights of its `LayerHead`, and of the tuned model."""

    history: list[HistoryPoint] = field(default_factory=list)
    """One point for each evaluation."""

    diverged: bool = False
    """Whether its loss became NaN or infinite."""


def train_heads(
    make: Callable[[HeadRun], LayerHead],
    runs: Sequence[HeadRun],
    statistics: LayerStatistics,
    train: Examples,
    valid: Examples,
    scorer: ValidationScorer,
    optim: HeadTraining,
    progress: Progress | None = None,
    tuned: TunedBank | None = None,
) -> list[TrainedHead]:
    """Train all runs.

    Parameters
    ----------
    make
        Makes a run's system; called with torch's generator seeded by the run's seed.
    runs
        What to train.
    statistics
        Of the training clips.
    train, valid
        The examples.
    scorer
        Of the validation clips.
    optim
        Settings.
    progress
        Advanced once an update.
    tuned
        The bank of `train` and `valid`, where the model is trained, too; then there is one run.

    Returns
    -------
    In the order of `runs`.

    Raises
    ------
    UserError
        If every run's loss becomes NaN or infinite; with `tuned`, whose other runs come later, the caller
        asks `name_diverged`.
    """
    with torch.random.fork_rng(devices=[]):

        def seeded(run: HeadRun) -> LayerHead:
            torch.manual_seed(run.seed)
            return make(run)

        teams = form_teams(runs, seeded)
        torch.manual_seed(runs[0].seed)
        course = HeadCourse(teams, statistics, train, valid, scorer, optim, tuned)
        for step in range(1, optim.steps + 1):
            loss = course.update(step)
            if progress is not None:
                progress.advance(1, loss=loss, runs=course.alive)
            if step % optim.eval_every == 0 or step == optim.steps:
                course.evaluate(step)
            if not course.alive:
                break
        if progress is not None:
            progress.advance(optim.steps - step)
        if optim.average_last > 1:
            course.average(seeded)
    fitted = [course.fitted[run] for run in runs]
    if tuned is None:
        name_diverged(fitted)
    return fitted


class HeadCourse:
    """The state of a training; without a scorer, of one whose number of updates is known."""

    def __init__(
        self,
        teams: list[HeadTeam],
        statistics: LayerStatistics,
        train: Examples,
        valid: Examples,
        scorer: ValidationScorer | None,
        optim: HeadTraining,
        tuned: TunedBank | None,
    ) -> None:
        self._teams, self._statistics, self._tuned = teams, statistics, tuned
        self._train, self._valid, self._scorer, self._optim = train, valid, scorer, optim
        runs = [run for team in teams for run in team.runs]
        self.fitted = {run: TrainedHead(run) for run in runs}
        self._stale = dict.fromkeys(runs, 0)
        self._losses: dict[HeadRun, Tensor] = {run: torch.zeros(()) for run in runs}
        self._recent: dict[HeadRun, deque[State]] = {run: deque(maxlen=optim.average_last) for run in runs}
        self._rows = {seed: draw_rows(train, optim.batch_clips, seed) for seed in {run.seed for run in runs}}
        groups = [{"params": team.parameters(), "lr": team.runs[0].lr} for team in teams]
        self._optimizer = _optimizer(groups, optim.optimizer, optim.weight_decay)
        self._optimizers = [self._optimizer]
        self._groups = list(zip(teams, self._optimizer.param_groups, strict=True))
        self._rates = [] if tuned is None else tuned.rates()
        if tuned is not None:
            own = [{"params": part, "lr": lr} for lr, part in self._rates]
            self._optimizers.append(_optimizer(own, tuned.settings.optimizer, optim.weight_decay))
        self._annealing = optim.anneal or Annealing()
        higher = scorer is not None and scorer.higher
        annealed = runs if scorer is not None and optim.schedule in ANNEALED else []
        self._annealers = {run: Annealer(optim.schedule, self._annealing, higher) for run in annealed}
        self._falls: dict[HeadRun, float] = dict.fromkeys(runs, 0)
        self._since = 0
        self._draws = dict.fromkeys(self._rows, 0)

    @property
    def alive(self) -> int:
        """Runs that are still trained."""
        return sum(len(team.runs) for team in self._teams)

    def update(self, step: int) -> float:
        """Do one update of every run; return the mean loss."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        if self._tuned is not None:
            self._tuned.learn(step > self._tuned.settings.freeze_steps)
        total = torch.zeros(())
        for seed in sorted({team.runs[0].seed for team in self._teams}):
            rows = next(self._rows[seed])
            parts = [rows] if self._tuned is None else self._tuned.portions(self._train.clips, rows)
            for part in parts:
                total = total + self._backward(seed, part, len(part) / len(rows))
        if self._optim.clip_norm is not None:
            for team in self._teams:
                team.clip(self._optim.clip_norm)
            if self._tuned is not None:
                torch.nn.utils.clip_grad_norm_(self._tuned.parameters(), self._optim.clip_norm)
        slower = self._set_rates(step)
        before = {id(team): [one.detach().clone() for one in team.parameters()] for team, _ in slower}
        for optimizer in self._optimizers:
            optimizer.step()
        for team, shares in slower:
            _hold_back(team.parameters(), before[id(team)], shares)
        self._since += 1
        return float(total) / max(self.alive, 1)

    def lower(self, falls: float) -> None:
        """Give every run the rate that it has after so many falls, where none is scored."""
        self._falls = dict.fromkeys(self._falls, falls)

    def _set_rates(self, step: int) -> list[tuple[HeadTeam, Tensor]]:
        """Set the rates of an update; return the teams whose runs have different ones, with each run's share."""
        now = factor(step, self._optim)
        uneven: list[tuple[HeadTeam, Tensor]] = []
        for team, group in self._groups:
            shares = [self._annealing.factor ** self._falls[run] for run in team.runs]
            if shares:
                most = max(shares)
                group["lr"] = team.runs[0].lr * now * most
                if min(shares) < most:
                    uneven.append((team, torch.tensor(shares) / most))
        if self._tuned is not None:
            settings = self._tuned.settings
            # Where the model is trained there is one run.
            own = settings.anneal_factor or self._annealing.factor
            share = now * own ** next(iter(self._falls.values())) if step > settings.freeze_steps else 0.0
            for (rate, _), group in zip(self._rates, self._optimizers[1].param_groups, strict=True):
                group["lr"] = rate * share
        return uneven

    def _backward(self, seed: int, rows: Sequence[int], share: float) -> Tensor:
        """Add the gradients of some clips to all runs of a seed; return the sum of their losses."""
        layers, targets = self._train.batch(rows)
        layers = self._statistics.standardise(layers)
        targets = [target.to(layers.values.device) for target in targets]
        total = torch.zeros(())
        self._draws[seed] += 1
        for team in (team for team in self._teams if team.runs[0].seed == seed):
            # Dropout depends on the seed and the update alone, not on other runs.
            torch.manual_seed((seed * 1_000_003 + self._draws[seed]) % 2**63)
            losses = share * team.losses(layers, targets)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            for run, loss in zip(team.runs, losses.detach().unbind(), strict=True):
                self._losses[run] = self._losses[run] + loss
            # The sum stays on the device: reading a number from a GPU waits for it.
            total = total + losses.detach().sum()
        return total

    def evaluate(self, step: int) -> None:
        """Score every run on the validation clips; stop those that do not improve or diverged."""
        for team, values in zip(self._teams, self._scores(self._teams), strict=True):
            going = [row for row in range(len(team.runs)) if self._note(team, row, values[row], step)]
            if len(going) < len(team.runs):
                team.keep(going, self._optimizer) if going else self._end(team)
        self._teams = [team for team in self._teams if team.runs]
        self._since = 0

    def state(self) -> State:
        """Return a copy of the weights of the first run."""
        return self._state(self._teams[0], 0)

    def _end(self, team: HeadTeam) -> None:
        """Remove a whole team, with the optimiser's state of it."""
        team.runs.clear()
        gone = {id(parameter) for parameter in team.parameters()}
        for group in self._optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
        for parameter in team.parameters():
            self._optimizer.state.pop(parameter, None)

    def average(self, make: Callable[[HeadRun], LayerHead]) -> None:
        """Give each run the mean of its last weights, and its score."""
        for run, states in self._recent.items():
            if not states:
                continue
            fitted, system = self.fitted[run], make(run)
            fitted.state = averaged(states)
            states.clear()
            system.load_state_dict({name: v for name, v in fitted.state.items() if not name.startswith(MODEL_PREFIX)})
            if self._tuned is not None:
                self._tuned.load(
                    {k.removeprefix(MODEL_PREFIX): v for k, v in fitted.state.items() if k.startswith(MODEL_PREFIX)}
                )
            ((fitted.valid,),) = self._scores([SingleHead(run, system)])

    def _scores(self, teams: Sequence[HeadTeam]) -> list[list[float]]:
        """Return the validation score of every run of every team; each batch is read once."""
        assert self._scorer is not None, "there is nothing to evaluate on"
        found = [self._scorer.start() for _ in teams]
        if self._tuned is not None:
            self._tuned.learn(False)
        for clips in portions(self._valid.clips, self._valid.bank, EVALUATION_CLIPS):
            layers = self._statistics.standardise(self._valid.bank.batch(clips))
            for team, tally in zip(teams, found, strict=True):
                tally.add(team, layers)
        return [tally.scores() for tally in found]

    def _note(self, team: HeadTeam, row: int, value: float, step: int) -> bool:
        """Note a run's score; return whether its training continues."""
        run = team.runs[row]
        fitted, loss = self.fitted[run], float(self._losses[run]) / max(self._since, 1)
        self._losses[run] = torch.zeros(())
        fitted.steps = step
        assert self._scorer is not None, "evaluated by `_scores`"
        better = math.isnan(fitted.valid) or self._scorer.better(value, fitted.valid)
        state = self._state(team, row) if better or self._optim.average_last > 1 else {}
        # The last update may have made weights NaN although the loss was finite.
        whole = not math.isnan(value) and all(bool(one.isfinite().all()) for one in state.values())
        if not math.isfinite(loss) or not whole:
            fitted.diverged = True
            return False
        fitted.history.append(HistoryPoint(step, loss, value, int(self._falls[run])))
        if run in self._annealers:
            self._falls[run] = self._annealers[run].falls_after(value)
        if self._optim.average_last > 1:
            self._recent[run].append(state)
        if better:
            fitted.valid, fitted.state, self._stale[run] = value, state, 0
        elif self._tuned is None or step > self._tuned.settings.freeze_steps:
            # No run stops before its model is trained at all.
            self._stale[run] += 1
        return self._stale[run] < self._optim.patience

    def _state(self, team: HeadTeam, row: int) -> State:
        model = {} if self._tuned is None else self._tuned.state()
        return {**team.state(row), **{f"{MODEL_PREFIX}{name}": value for name, value in model.items()}}


MODEL_PREFIX = "model."
"""Prefix of the names of a tuned model's weights."""

EVALUATION_CLIPS = 64


def factor(step: int, optim: HeadTraining) -> float:
    """Return the share of the learning rate in an update, counted from 1."""
    if step <= optim.warmup_steps:
        return step / optim.warmup_steps
    if optim.schedule == "constant" or optim.schedule in ANNEALED:
        return 1.0
    if optim.schedule == "inverse_sqrt":
        return math.sqrt(max(optim.warmup_steps, 1) / step)
    return max(0.0, (optim.steps + 1 - step) / max(1, optim.steps - optim.warmup_steps))


def draw_rows(train: Examples, batch: int, seed: int) -> Iterator[list[int]]:
    """Yield batches of clips, epoch after epoch; the last of an epoch may be smaller.

    With weights, an epoch has as many clips as without, drawn with replacement, as torch's `WeightedRandomSampler`
    draws them.
    """
    order, count = torch.Generator().manual_seed(seed), len(train.clips)
    while True:
        if train.weights is None:
            drawn = torch.randperm(count, generator=order)
        else:
            drawn = torch.multinomial(train.weights, count, replacement=True, generator=order)
        queue = drawn.tolist()
        yield from (queue[start : start + batch] for start in range(0, count, batch))


@torch.no_grad()
def _hold_back(parameters: Sequence[torch.nn.Parameter], before: Sequence[Tensor], shares: Tensor) -> None:
    """Take back a part of each run's update, as every optimiser here moves weights in proportion to the rate."""
    for parameter, old in zip(parameters, before, strict=True):
        share = shares.to(old).view(-1, *(1,) * (old.ndim - 1))
        parameter.copy_(torch.lerp(old, parameter, share))


def _optimizer(groups: list[dict[str, Any]], kind: str, decay: float) -> torch.optim.Optimizer:
    if kind == "adadelta":
        return torch.optim.Adadelta(groups, rho=0.95, eps=1e-8, weight_decay=decay)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=0.9, weight_decay=decay)
    adam = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return adam(groups, weight_decay=decay, fused=True)


def averaged(states: Sequence[State]) -> State:
    """Return the mean of some weights; counts are those of the last."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[-1].items()
    }


def name_diverged(fitted: Sequence[TrainedHead]) -> None:
    """Log the learning rates at which runs diverged; UserError if no run has weights."""
    diverged = [one.run for one in fitted if one.diverged]
    if not any(one.state for one in fitted):
        raise UserError("the loss of every run became NaN or infinite", remedy="lower optim.lrs")
    if diverged:
        rates = ", ".join(f"{lr:g}" for lr in sorted({run.lr for run in diverged}))
        logger.info("%d runs diverged (learning rates %s) and are not used", len(diverged), rates)
