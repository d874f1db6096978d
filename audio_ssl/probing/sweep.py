"""A probe of one system on one set of splits: features, training of all runs, selection, predictions of the test clips.

The validation clips select the layer and the learning rate by the mean over seeds, and then the best seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import Tensor

from audio_ssl.artifacts.result import ExcludedClip, LayerPoint
from audio_ssl.base.config import build
from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource
from audio_ssl.probing.clips import ClipsBySplit, balance_weights, evenly
from audio_ssl.probing.features import Bank, BankCache, Refuse, extract_features
from audio_ssl.probing.head import Decoder, Head
from audio_ssl.probing.layer_heads import HeadRun, LayerHead, LayerStatistics, measure_layers
from audio_ssl.probing.live import STATISTICS_CLIPS, LiveBank, TunedBank, tuned_bank
from audio_ssl.probing.probe import Probe
from audio_ssl.probing.quick import ONCE_A_CLIP, ValidationScorer
from audio_ssl.probing.score import main_metric
from audio_ssl.probing.task import FrameTask, Task
from audio_ssl.probing.train import MODEL_PREFIX, Examples, TrainedHead, name_diverged, train_heads


@dataclass
class Outcome:
    """Runs, selection and test predictions."""

    clips: list[Clip]
    """The test clips."""
    predictions: list[Tensor]
    """Predictions of the test clips."""
    fitted: list[TrainedHead]
    """Every run; only the chosen one has weights."""
    chosen: TrainedHead
    """The run that the validation clips selected."""
    system: LayerHead
    """Its head with the layer mix."""
    tuned: TunedBank | None
    """Its model, where that was fine-tuned."""
    parts: ClipsBySplit
    """The clips that were used."""
    excluded: list[ExcludedClip]
    """Clips that could not be used, beyond those known before."""
    seconds: dict[str, float]
    """Seconds of ``extract``, ``fit`` and ``predict``."""
    files: dict[str, bytes]
    """Files of the search, name to content (its language model)."""


def make_head(question: Probe, source: FeatureSource, task: Task) -> Head:
    """Make a head for a source's frames."""
    return cast(Head, build(question.head, source.dim, len(task.classes), task.output))


def runs_of(question: Probe, source: FeatureSource, head: Head) -> list[HeadRun]:
    """Return what is trained: layers × learning rates × seeds, standardised, whitened or both.

    Raises
    ------
    UserError
        For a layer that the source does not have. Of a source with one layer (a baseline) that one is asked.
    """
    layers: list[int | None] = []
    for one in _asked(question, head):
        if one == "mix":
            layers.append(None)
        elif one == "each":
            layers += range(source.num_layers)
        elif one == "last":
            layers.append(source.num_layers - 1)
        else:
            layers.append(0 if source.num_layers == 1 else cast(int, one))
    for layer in layers:
        if layer is not None and not 0 <= layer < source.num_layers:
            raise UserError(f"`{source.name}` has layers 0 to {source.num_layers - 1}, not {layer}", where="$.layers")
    once = list(dict.fromkeys(layers))
    return [
        HeadRun(layer, lr, seed, whiten)
        for whiten in ((False, True) if question.whiten == "both" else (question.whiten,))
        for seed in question.seeds
        for lr in question.optim.lrs
        for layer in once
    ]


def _asked(question: Probe, head: Head) -> tuple[int | str, ...]:
    if question.layers is not None:
        return question.layers
    if question.finetune is not None:
        return ("last",)
    return ("mix",) if head.needs_frames or not set(head.outputs) & set(ONCE_A_CLIP) else ("each",)


def sweep(
    question: Probe,
    task: Task,
    source: FeatureSource,
    parts: ClipsBySplit,
    folder: Path,
    cache: BankCache,
    refuse: Refuse,
) -> Outcome:
    """Train all runs, select one, and predict the test clips.

    Parameters
    ----------
    question, task, source
        Settings, task and system. The task has learned its classes.
    parts
        The clips.
    folder
        For features on the disk.
    cache
        Features of earlier questions.
    refuse
        Called with clips that cannot be read.

    Raises
    ------
    UserError
        If a split has no clip that can be used, a feature is not finite, or every run diverged.
    """
    excluded: list[ExcludedClip] = []
    split_of = {clip.id: split for split, clips in parts.items() for clip in clips}

    def refused(clip: Clip, reason: str) -> None:
        refuse(clip, reason)
        excluded.append(ExcludedClip(clip.id, split_of[clip.id], reason))

    head = make_head(question, source, task)
    pooled = not head.needs_frames and task.output in ONCE_A_CLIP
    bank = open_bank(question, source, pooled, parts, folder, cache, refused)
    parts = {split: [clip for clip in clips if clip in bank] for split, clips in parts.items()}
    if isinstance(task, FrameTask):
        task.start(source.grid)
    train, unfit = fitting(task, parts["train"], bank, source, head, question.data.balance)
    excluded += unfit
    parts["train"] = train.clips
    for split, clips in parts.items():
        if not clips:
            reason = f": {excluded[0].reason}" if excluded else ""
            raise UserError(f"no clip of the {split} split can be used{reason}")
    targets = [task.target(clip) for clip in parts["valid"]] if task.output in ONCE_A_CLIP else []
    valid = Examples(parts["valid"], targets, bank)
    started, extracted = time.monotonic(), bank.seconds_taken
    training = SystemTraining(question, task, source, bank)
    fitted = training.fit(runs_of(question, source, head), train, valid)
    seconds = {"fit": time.monotonic() - started}
    chosen = choose_run(fitted, main_metric(task).higher_is_better)
    system, tuned = training.restore(chosen)
    started = time.monotonic()
    predictions, files = _predict(question, task, system, tuned or bank, parts)
    seconds["predict"] = time.monotonic() - started
    # Streamed features are part of training; only extraction beforehand has a time of its own.
    seconds["extract"] = extracted
    if tuned is not None:
        # Each fold has a model of its own.
        tuned.model.cpu()
    for one in fitted:
        if one is not chosen:
            one.state = {}
    return Outcome(parts["test"], predictions, fitted, chosen, system, tuned, parts, excluded, seconds, files)


def open_bank(
    question: Probe,
    source: FeatureSource,
    pooled: bool,
    parts: ClipsBySplit,
    folder: Path,
    cache: BankCache,
    refuse: Refuse,
) -> Bank:
    """Return the features of all clips, extracted, or to be computed when they are needed."""
    clips = [clip for part in parts.values() for clip in part]
    if question.data.features == "stream" or question.finetune is not None:
        live = LiveBank(source, pooled)
        live.open(clips, refuse)
        return live
    return extract_features(clips, source, pooled, question.data, folder, cache, refuse)


def fitting(
    task: Task, clips: Sequence[Clip], bank: Bank, source: FeatureSource, head: Head, balance: str | None
) -> tuple[Examples, list[ExcludedClip]]:
    """Return the training clips a head can learn from, and those left out, such as more characters than frames."""
    kept, targets, unfit = [], [], []
    for clip in clips:
        frames = bank.frames(clip)
        target = task.frame_target(clip, frames, source.grid) if isinstance(task, FrameTask) else task.target(clip)
        reason = head.why_not(frames, target)
        if reason is None:
            kept.append(clip)
            targets.append(target)
        else:
            unfit.append(ExcludedClip(clip.id, "train", reason))
    return Examples(kept, targets, bank, balance_weights(kept, balance)), unfit


class SystemTraining:
    """Trains the runs of a probe and rebuilds the selected one."""

    def __init__(self, question: Probe, task: Task, source: FeatureSource, bank: Bank) -> None:
        self._question, self._task, self._source, self._bank = question, task, source, bank
        self.statistics: dict[bool, LayerStatistics] = {}

    def fit(self, runs: Sequence[HeadRun], train: Examples, valid: Examples) -> list[TrainedHead]:
        """Train the runs together on features, or one after another where each fine-tunes the model."""
        question = self._question
        ways = sorted({run.whiten for run in runs})
        self.measure(train.clips, ways)
        scorer = ValidationScorer(self._task, valid.clips, valid.targets)
        together = [[run for run in runs if run.whiten is way] for way in ways]
        groups = together if question.finetune is None else [[run] for run in runs]
        fitted: list[TrainedHead] = []
        name = f"{len(runs)} heads on {self._source.name}" if len(runs) > 1 else f"head on {self._source.name}"
        with Progress(name, total=question.optim.steps * len(groups)) as progress:
            for group in groups:
                own = self.tuned(group[0].seed)
                if own is not None:
                    train, valid = (replace(part, bank=own) for part in (train, valid))
                statistics = self.statistics[group[0].whiten]
                fitted += train_heads(self.make, group, statistics, train, valid, scorer, question.optim, progress, own)
                if own is not None:
                    _drop_beaten(fitted, main_metric(self._task).higher_is_better)
        if question.finetune is not None:
            name_diverged(fitted)
        return fitted

    def measure(self, clips: list[Clip], ways: Sequence[bool]) -> None:
        """Take the statistics of the layers over the training clips, for standardising and for whitening."""
        measured = evenly(clips, STATISTICS_CLIPS if isinstance(self._bank, LiveBank) else None)
        self.statistics = {way: measure_layers(self._bank, measured, way).to(self._source.device) for way in ways}

    def restore(self, chosen: TrainedHead) -> tuple[LayerHead, TunedBank | None]:
        """Return the system with its weights, and the model it has trained."""
        system = self.make(chosen.run)
        system.load_state_dict({name: v for name, v in chosen.state.items() if not name.startswith(MODEL_PREFIX)})
        own = self.tuned(chosen.run.seed)
        if own is not None:
            own.load(
                {
                    name.removeprefix(MODEL_PREFIX): v
                    for name, v in chosen.state.items()
                    if name.startswith(MODEL_PREFIX)
                }
            )
        return system.eval(), own

    def make(self, run: HeadRun) -> LayerHead:
        """Make a run's system."""
        head = make_head(self._question, self._source, self._task)
        return LayerHead(head, self.statistics[run.whiten], run.layer).to(self._source.device)

    def tuned(self, seed: int) -> TunedBank | None:
        """Return a bank with a copy of the model that is trained, or None where it is frozen."""
        settings = self._question.finetune
        return (
            None
            if settings is None
            else tuned_bank(self._source, self._bank.pooled, settings, cast(LiveBank, self._bank), seed)
        )


def _drop_beaten(fitted: Sequence[TrainedHead], higher: bool) -> None:
    """Forget the weights of runs that another seed of their layer and rate has beaten: each holds a whole model."""
    for group in runs_by_setting(fitted):
        if any(one.state for one in group):
            best = choose_run(group, higher)
            for one in group:
                one.state = one.state if one is best else {}


def _predict(
    question: Probe, task: Task, system: LayerHead, bank: Bank, parts: ClipsBySplit
) -> tuple[list[Tensor], dict[str, bytes]]:
    """Return the predictions of the test clips, and the files of the search."""
    clips = parts["test"]
    if question.decode is None:
        return [answer.cpu() for answer in system.predict(bank, clips)], {}
    decoder = cast(Decoder, build(question.decode))
    decoder.start(task, parts["train"])
    found: list[Tensor] = []
    with Progress("search", total=len(clips)) as progress:
        for batch in system.batches(bank, clips):
            found += decoder.decode(system.head, batch)
            progress.advance(len(batch.frames))
    return [answer.cpu() for answer in found], decoder.files()


def choose_run(fitted: Sequence[TrainedHead], higher: bool) -> TrainedHead:
    """Return the selected run.

    Layer, rate and whitening have the best mean over seeds, among those whose runs diverged least often; the mean is
    used so that one lucky seed cannot decide.

    Parameters
    ----------
    fitted
        All runs of a question; at least one has weights.
    higher
        Whether higher scores are better.
    """
    groups = runs_by_setting(fitted)

    def rank(group: Sequence[TrainedHead]) -> tuple[int, float]:
        kept = [one.valid for one in group if has_weights(one)]
        lost = len(group) - len(kept)
        return lost, _badness(sum(kept) / len(kept) if kept else math.nan, higher)

    usable = [group for group in groups if any(has_weights(one) for one in group)]
    best = min(usable, key=rank)
    return min((one for one in best if has_weights(one)), key=lambda one: _badness(one.valid, higher))


def runs_by_setting(fitted: Sequence[TrainedHead]) -> list[list[TrainedHead]]:
    """Return the runs in groups that differ in nothing but their seed."""
    groups: dict[HeadRun, list[TrainedHead]] = {}
    for one in fitted:
        groups.setdefault(replace(one.run, seed=0), []).append(one)
    return list(groups.values())


def layer_curve(fitted: Sequence[TrainedHead], metric: str, higher: bool) -> list[LayerPoint]:
    """Return the score of each layer that had runs of its own.

    ``valid`` is the mean over seeds at the layer's best rate, whitened or not; ``low`` and ``high`` are the lowest and
    the highest of those seeds.
    """
    curve: list[LayerPoint] = []
    for layer in sorted({one.run.layer for one in fitted if one.run.layer is not None}):
        runs = [one for one in fitted if one.run.layer == layer]
        if not any(has_weights(one) for one in runs):
            curve.append(LayerPoint(layer, metric))
            continue
        best = choose_run(runs, higher).run
        values = [one.valid for one in runs if replace(one.run, seed=best.seed) == best and has_weights(one)]
        mean = sum(values) / len(values)
        curve.append(LayerPoint(layer, metric, mean, min(values), max(values), best.lr))
    return curve


def has_weights(one: TrainedHead) -> bool:
    """Return whether a run has a validation score, from before it diverged if it did."""
    return not math.isnan(one.valid)


def _badness(value: float, higher: bool) -> float:
    if math.isnan(value):
        return math.inf
    return -value if higher else value
