"""The work that the loop is given: a stage, its kind of training, and both as a job.

A stage: one stretch of training with one set of teachers. Most runs have one, HuBERT's iterations several.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from audio_ssl.artifacts.run_beginning import RunBeginning
from audio_ssl.base.documents import JsonObject
from audio_ssl.data.augment import NoiseBank
from audio_ssl.data.batching import Batching
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.loader import LoaderSetup, TargetSource
from audio_ssl.data.manifest import Clip
from audio_ssl.data.subsets import lengths_of, limit_seconds, long_enough, without_short
from audio_ssl.pretrain.learner import Learner
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.selection import Selection

logger = logging.getLogger(__name__)

_FULL = 0.85
"""Least share of an update's audio that the longest clips must reach; fairseq's groups of HuBERT reach 0.89."""


@dataclass(frozen=True)
class RunStage:
    """One stretch of a run."""

    recipe: Recipe
    """The run's recipe, with this stage's own teachers and settings."""

    steps: int
    """Updates of this stage."""


@dataclass(frozen=True)
class StageContext:
    """What a kind may use to build a stage's training."""

    folder: Path
    """The stage's own folder; fitted teachers go to ``teachers/`` below it."""

    clips: Selection
    reader: ClipReader
    ledger: ErrorLedger
    device: torch.device

    previous: Path | None
    """Folder of the stage before, with its model."""

    run_recipe: Callable[[Recipe, Path], Path]
    """Runs another recipe into a folder, or continues it: for teachers that the run trains first."""


@dataclass(frozen=True)
class KindTraits:
    """What a kind of training does for a run; a file of `kinds/` has it as ``TRAITS``."""

    title: str
    """Shown beside the progress bar."""

    check: Callable[[Any, Selection], None]
    """Raises UserError for what would fail later in a run of a recipe on these clips."""

    stages: Callable[[Any], list[RunStage]]
    """Returns the stretches of a recipe's run, at least one."""

    build: Callable[[Any, StageContext], Training]
    """Makes what a stage trains, from the stage's recipe."""

    describe: Callable[[Any], str]
    """Returns a sentence on what a recipe trains, for the model card."""

    check_new: Callable[[Any], None] | None = None
    """Raises UserError for what a new run must not have, though one of an earlier release may be resumed with it."""

    complete: Callable[[Any, JsonObject, Any], Any] | None = None
    """Returns a recipe with what follows from the model that it begins from: of the recipe, its plain data as given,
    and the completed recipe of the run that goes on, None where the run is new. None: no recipe of the kind does."""

    learnt_from: Callable[[Any], tuple[str, ...]] | None = None
    """Returns the models that a recipe's model learns from: what it begins as, and what its teachers hear. None: there
    are none."""


def loader_setups(recipe: Recipe, training: Training, context: StageContext) -> tuple[LoaderSetup, LoaderSetup | None]:
    """Return what the training loader and the validation loader read.

    Raises
    ------
    UserError
        If no training clip is long enough.
    """
    data, grid = recipe.data, training.grid
    shortest = max(data.min_seconds, grid.num_samples(1) / data.sample_rate)
    train = long_enough(context.clips.train, shortest, context.ledger)
    valid = without_short(context.clips.valid, shortest)
    valid = limit_seconds(valid, recipe.checkpoint.valid_seconds, data.crop_seconds)
    total = sum(min(seconds, data.crop_seconds) for seconds in lengths_of(train))
    if total < data.seconds_per_update:
        logger.warning(
            "one epoch has %.0f s of audio, less than data.seconds_per_update = %g: each update is a whole epoch",
            total,
            data.seconds_per_update,
        )
    learning = dataclasses.replace(_setup(recipe, training, context, train), noise=training.noise)
    most = learning.batching.most_samples / data.sample_rate
    if most < _FULL * data.seconds_per_update:
        logger.warning(
            "an update has at most %g s of audio of clips of %g s, less than data.seconds_per_update = %g, as they do "
            "not fill a group of data.seconds_per_group = %g; make that a multiple of data.crop_seconds",
            most,
            data.crop_seconds,
            data.seconds_per_update,
            data.seconds_per_group,
        )
    return learning, _setup(recipe, training, context, valid) if len(valid) else None


def _setup(recipe: Recipe, training: Training, context: StageContext, clips: Sequence[Clip]) -> LoaderSetup:
    data = recipe.data

    def samples(seconds: float) -> int:
        return int(seconds * data.sample_rate)

    batching = Batching(
        lengths_samples=tuple(samples(seconds) for seconds in lengths_of(clips)),
        hop_samples=training.grid.hop_samples,
        crop_samples=samples(data.crop_seconds),
        update_samples=samples(data.seconds_per_update),
        batch_samples=samples(data.seconds_per_batch),
        seed=recipe.seed,
        group_samples=None if data.seconds_per_group is None else samples(data.seconds_per_group),
    )
    return LoaderSetup(clips, batching, training.grid, context.reader, training.targets, context.ledger, data.workers)


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

    begun: RunBeginning | None = None
    """Which trained weights it begins from; None: from random ones, or it goes on from a checkpoint."""


@dataclass(frozen=True)
class TrainingJob:
    """One uninterrupted stretch of training: a whole run, or one of its iterations."""

    name: str
    """Shown beside the progress bar."""
    recipe: Recipe
    steps: int
    """Updates of this stretch."""
    training: Training
    train: LoaderSetup
    valid: LoaderSetup | None
    state_folder: Path
    """Checkpoints go here; training continues from the newest."""
    log_folder: Path
    """``metrics.jsonl`` and ``tensorboard/`` go here."""
    step_offset: int = 0
    """Steps of earlier iterations in the same log."""
    iteration: int | None = None
    """Which of several iterations it is, counted from 1; put into every row of metrics."""
    deadline: float | None = None
    """By `time.monotonic`, when training ends after the update in work; None: never."""
