"""What a run of ours has beside its model, for a run that begins from it: heads, decoder, teachers.

They lie in the newest checkpoint of ``RUN/state``, under the names of the module that was trained. A head is of its
teacher's labels: code 17 of one k-means is not code 17 of another. So it is taken only where the labels are the same by
the teacher's fingerprint, which is that of what the teacher was fitted to, too. Fitted teachers are brought along for
that, where the recipe has the same.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.records import read_record
from audio_ssl.artifacts.run import (
    STATE_FOLDER,
    TEACHERS_FOLDER,
    checkpoint_folders,
    checkpoint_step,
    iteration_folders,
    iteration_number,
)
from audio_ssl.base.config import kind_of, read_yaml, traits_of
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write
from audio_ssl.interop.runs import run_of, trained_state
from audio_ssl.interop.settings import parse_name, path_of
from audio_ssl.models.weights import MODEL_FILES, WEIGHTS_FILE
from audio_ssl.pretrain.checkpoint import STATE_FILE, check_whole
from audio_ssl.pretrain.jobs import KindTraits
from audio_ssl.pretrain.learner import ObjectiveHead
from audio_ssl.pretrain.recipe import structure_recipe
from audio_ssl.pretrain.view import ObjectiveTraits
from audio_ssl.targets.health import LABELS_FILE, Labels
from audio_ssl.targets.spec import is_online, needs_fit, teacher_traits

if TYPE_CHECKING:  # it imports this module
    from audio_ssl.pretrain.kinds.masked_prediction import Config

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunState:
    """What a run of ours has beside its model."""

    recipe: Config
    """Its own, or that of the iteration whose checkpoint is taken."""

    folder: Path
    """Of the run or of this iteration."""

    checkpoint: Path
    tensors: Mapping[str, Tensor]
    """Of the learner, by its names."""

    labels: tuple[str, ...] | None
    """Fingerprints of its teachers, without those that follow the model; None: it did not record them."""


def read_run_state(name: str) -> RunState | None:
    """Return what the run of a model has beside it; None: it is of no run of ours, or that has no checkpoint.

    Parameters
    ----------
    name
        Of the model, as `audio_ssl.interop.read.read_model` takes it.

    Raises
    ------
    UserError
        If the recipe or a checkpoint that is named itself cannot be read.
    """
    path = path_of(parse_name(name)[0])
    run = run_of(path) if path.is_dir() else None
    if run is None:
        return None
    for checkpoint in [path] if checkpoint_step(path) is not None else _newest_first(run):
        try:
            if (checkpoint / STATE_FILE).is_file() or (checkpoint / WEIGHTS_FILE).is_file():
                # The engine fairseq2 has files of its own, which are read whole or not at all.
                check_whole(checkpoint)
            tensors = trained_state(checkpoint)
        except UserError as error:
            if checkpoint == path:
                raise
            logger.warning("%s; looking for heads in the checkpoint before it", error)
            continue
        folder = checkpoint.parent.parent
        own = _own_recipe(run, folder)
        return None if own is None else RunState(own, folder, checkpoint, tensors, _labels(folder))
    return None


def _newest_first(run: Path) -> list[Path]:
    """Return the checkpoints of the last iteration of a run that has some."""
    for folder in (run, *reversed(iteration_folders(run))):
        if found := checkpoint_folders(folder / STATE_FOLDER):
            return found[::-1]
    return []


def _own_recipe(run: Path, folder: Path) -> Config | None:
    """Return the recipe of a run, or of one of its iterations; None where it trains no model."""
    recipe = structure_recipe(read_yaml(run / RECIPE_FILE))
    number = iteration_number(folder) if folder != run else 1
    own: Any = traits_of(recipe, KindTraits).stages(recipe)[(number or 1) - 1].recipe
    return own if traits_of(own, KindTraits).complete is not None else None


def _labels(folder: Path) -> tuple[str, ...] | None:
    path = folder / LABELS_FILE
    return tuple(row.fingerprint for row in read_record(Labels, path).teachers) if path.is_file() else None


def misfit(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str | None:
    """Return why weights do not fit a module's, the first reason in words; None: they do."""
    for name in sorted({*mine, *theirs}):
        if name not in theirs:
            return f"`{name}` is not there"
        if name not in mine:
            return f"there is no place for `{name}`"
        if mine[name].shape != theirs[name].shape:
            return f"`{name}` must have the shape {list(mine[name].shape)}, but has {list(theirs[name].shape)}"
    return None


class BesideRun:
    """Finds what a run has for the parts of a learner.

    Parameters
    ----------
    run
        What it has.
    config
        The recipe of the stage that begins.
    labels
        Fingerprints of the stage's teachers, without those that follow the model, in order.
    """

    def __init__(self, run: RunState, config: Config, labels: Sequence[str]) -> None:
        self._run, self._config = run, config
        self._mine = _by_index(config.teachers, labels)
        self._theirs = {} if run.labels is None else _by_index(run.recipe.teachers, run.labels)
        self._following: dict[int, int] = {}
        self._used: set[int] = set()

    def following(self, index: int, teacher: nn.Module) -> Mapping[str, Tensor] | str:
        """Return the state of a teacher that follows the model, or why there is none."""
        kind, theirs = kind_of(self._config.teachers[index]), self._run.recipe.teachers
        why = f"the run has no teacher {kind}"
        for number in _same_first(index, theirs):
            if kind_of(theirs[number]) != kind:
                continue
            state = _below(self._run.tensors, f"online.{number}.")
            wrong = misfit(teacher.state_dict(), state)
            if wrong is None:
                self._following[index] = number
                return state
            why = wrong
        return why

    def head(self, number: int, head: ObjectiveHead) -> Mapping[str, Tensor] | str:
        """Return the weights of a head, or why there are none; `following` was asked for all teachers before."""
        objectives: Sequence[Any] = self._run.recipe.objectives
        kind, reasons = kind_of(self._config.objectives[number]), []
        for place in _same_first(number, objectives):
            if place in self._used or kind_of(objectives[place]) != kind:
                continue
            state = _below(self._run.tensors, f"heads.{place}.")
            needs = traits_of(objectives[place], ObjectiveTraits).needs
            why = self._other_labels(head.teacher, None if needs is None else objectives[place].teacher)
            why = why or misfit(head.module.state_dict(), state)
            if why is None:
                self._used.add(place)
                return state
            reasons.append(why)
        return reasons[0] if reasons else f"the run has no objective {kind} left"

    def decoder(self, decoder: nn.Module) -> Mapping[str, Tensor] | str:
        """Return the weights of the decoder, or why there are none."""
        state = _below(self._run.tensors, "decoder.")
        return "the run has none" if not state else misfit(decoder.state_dict(), state) or state

    def _other_labels(self, mine: int | None, theirs: int | None) -> str | None:
        """Return why the labels of two teachers are not the same; None: they are, or there are none."""
        if mine is None or theirs is None:
            return None
        teacher = self._config.teachers[mine]
        if is_online(teacher):
            same = self._following.get(mine) == theirs
        elif self._config.data.sample_rate != self._run.recipe.data.sample_rate:
            return "the run heard audio at another sample rate"
        elif self._run.labels is None:
            return "the run has not recorded what its labels are"
        else:
            same = self._mine[mine] == self._theirs.get(theirs)
        if same:
            return None
        if needs_fit(teacher):
            return f"the {kind_of(teacher)} teacher was fitted anew, so its labels are not those of the run"
        return f"the labels of the {kind_of(teacher)} teacher are not those of the run"


def _by_index(teachers: Sequence[object], labels: Sequence[str]) -> dict[int, str]:
    """Return the fingerprints of teachers by their index in the recipe."""
    stored = [index for index, teacher in enumerate(teachers) if not is_online(teacher)]
    return dict(zip(stored, labels, strict=False))


def _stored(teachers: Sequence[Any]) -> list[Any]:
    """Return the teachers that have a folder and a fingerprint, in order: those that do not follow the model."""
    return [teacher for teacher in teachers if not is_online(teacher)]


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def bring_teachers(run: RunState, config: Config, folder: Path) -> None:
    """Copy the fitted teachers of a run where the recipe has the same.

    Parameters
    ----------
    run
        That has them.
    config
        The recipe of the stage.
    folder
        Of the stage. What is there already stays.
    """
    if config.data.targets is not None or config.data.sample_rate != run.recipe.data.sample_rate:
        # A store brings the teachers that its targets are of; at another rate no frame is as those were fitted to.
        return
    theirs = _stored(run.recipe.teachers)
    for index, teacher in enumerate(_stored(config.teachers)):
        same = [number for number in _same_first(index, theirs) if theirs[number] == teacher]
        if not same:
            continue
        if needs_fit(teacher):
            name = f"{kind_of(teacher)}.safetensors"
            for number in same:
                _copy([(_place(run.folder, str(number), name), _place(folder, str(index), name))])
        elif teacher_traits(teacher).codec and teacher.path is None and config.codec is not None:
            # Without its recipe it is no run that would be gone on with.
            _copy([(_place(run.folder, "codec", name), _place(folder, "codec", name)) for name in MODEL_FILES])


def _place(folder: Path, teacher: str, name: str) -> Path:
    return folder / TEACHERS_FOLDER / teacher / name


def _copy(files: Sequence[tuple[Path, Path]]) -> None:
    """Copy files that are all there and have no copies yet."""
    if any(not theirs.is_file() or mine.exists() for theirs, mine in files):
        return
    for theirs, mine in files:
        mine.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(mine) as partial:
            shutil.copyfile(theirs, partial)
        logger.info("`init`: %s is that of %s", mine, theirs)


def _same_first(index: int, values: Sequence[object]) -> list[int]:
    """Return the indices of values, `index` before the others."""
    return sorted(range(len(values)), key=lambda number: (number != index, number))
