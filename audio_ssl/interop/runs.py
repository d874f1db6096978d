"""Reads the model of a run that is not finished, or of one of its checkpoints.

A run writes its model when it ends. Until then its weights are in ``state/step_N/`` (of several iterations in
``iteration_N/state/``), under the names of the module that is trained, and its sizes in ``recipe.yaml``.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE, RecipeOutline, read_outline
from audio_ssl.artifacts.run import (
    PROVENANCE_FILE,
    STATE_FOLDER,
    checkpoint_folders,
    checkpoint_step,
    is_marked_finished,
    iteration_folder,
    iteration_folders,
    iteration_number,
)
from audio_ssl.base.config import structure
from audio_ssl.base.errors import UserError
from audio_ssl.interop.fairseq2 import read_weights
from audio_ssl.interop.settings import ModelSettings, invalid_settings, preparation_of
from audio_ssl.interop.weights import read_safetensors
from audio_ssl.models.model import ModelConfig, SSLModel
from audio_ssl.models.weights import CONFIG_FILE, WEIGHTS_FILE, load_state

logger = logging.getLogger(__name__)

_AVERAGE_FILE = "average.safetensors"
_MODEL = "model."
"""Prefix of the names of a model's weights in the module that is trained."""


def run_of(path: Path) -> Path | None:
    """Return the run that a folder is or belongs to as a checkpoint; None: it is neither."""
    if (path / RECIPE_FILE).is_file():
        # A target store has a recipe as well.
        signs = (path / PROVENANCE_FILE, path / STATE_FOLDER, iteration_folder(path, 1))
        return path if any(sign.exists() for sign in signs) else None
    above = path.absolute().parents
    if checkpoint_step(path) is None or above[0].name != STATE_FOLDER:
        return None
    return next((folder for folder in above[1:3] if (folder / RECIPE_FILE).is_file()), None)


def read_run(path: Path, given: ModelSettings) -> SSLModel:
    """Read the model of a run that has not written it, or of one of its checkpoints.

    Parameters
    ----------
    path
        The run's folder, of which the newest readable checkpoint is taken and named in the log, or a checkpoint,
        ``RUN/state/step_N``.
    given
        The caller's settings.

    Raises
    ------
    UserError
        If no checkpoint can be read, or the run trains something other than a model.
    """
    run = run_of(path)
    assert run is not None, "refused by `detect`"
    recipe = read_outline(run)
    if run != path:
        return _model(_of_checkpoint(recipe, path, run), _weights(path), given, path)
    finished = is_marked_finished(run)
    candidates = _candidates(run)
    for number, folder in enumerate(candidates):
        try:
            model = _model(_of_checkpoint(recipe, folder, run), _weights(folder), given, folder)
        except UserError as error:
            if number + 1 == len(candidates):
                raise
            logger.warning("%s; using the checkpoint before it", error)
            continue
        why = f"is marked finished, but its {WEIGHTS_FILE} is missing" if finished else "is not finished"
        logger.warning("%s: the run %s; the model is that of %s", run, why, describe(run, folder, recipe))
        return model
    if finished:
        raise UserError(
            f"the run is marked finished, but its {WEIGHTS_FILE} is missing, and there is no checkpoint",
            where=str(run),
            remedy=f"copy {WEIGHTS_FILE} back, or train again into another folder",
        )
    here = shlex.quote(str(run))
    raise UserError(
        "the run has no model yet: it ended before its first checkpoint",
        where=str(run),
        remedy=f"`audio-ssl pretrain {shlex.quote(str(run / RECIPE_FILE))} --out {here} --resume` goes on with it",
    )


def describe(run: Path, folder: Path, recipe: RecipeOutline) -> str:
    """Return what a checkpoint is in words, such as ``step 300 of 1000``."""
    number, step = _iteration(run, folder), checkpoint_step(folder)
    iteration = "" if number is None else f"iteration {number}, "
    if step is None:
        return f"{iteration}as it was saved"
    # Of several iterations `steps` counts all.
    return f"{iteration}step {step}" if iteration else f"step {step} of {recipe.steps or '?'}"


def _iteration(run: Path, folder: Path) -> int | None:
    """Return which iteration of a run a checkpoint is of; None where the run has one alone."""
    parts = folder.absolute().relative_to(run.absolute()).parts
    return iteration_number(Path(parts[0])) if parts else None


def _of_checkpoint(recipe: RecipeOutline, folder: Path, run: Path) -> RecipeOutline:
    """Return the recipe with the settings that the iteration of a checkpoint has of its own."""
    return recipe.of_iteration(_iteration(run, folder) or 1, str(run / RECIPE_FILE))


def _candidates(run: Path) -> list[Path]:
    """Return the folders that may hold the run's model, newest first."""
    found: list[Path] = []
    for folder in (run, *reversed(iteration_folders(run))):
        whole = (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()
        saved = [folder] if folder != run and whole else []
        # A checkpoint is written elsewhere and renamed, so an existing one is complete.
        steps = [one for one in reversed(checkpoint_folders(folder / STATE_FOLDER)) if _has_weights(one)]
        # The model of an iteration that was stopped by its time limit is older than later checkpoints.
        found += saved + steps if saved and is_marked_finished(folder) else steps + saved
    return found


def trained_state(checkpoint: Path) -> dict[str, Tensor]:
    """Return the weights of all that a run trains by the names of a checkpoint, averaged where the run averages."""
    ours = (checkpoint / WEIGHTS_FILE).is_file()
    # The engine fairseq2 has files of its own.
    state = read_safetensors(checkpoint / WEIGHTS_FILE) if ours else read_weights(checkpoint)
    if (checkpoint / _AVERAGE_FILE).is_file():
        state |= read_safetensors(checkpoint / _AVERAGE_FILE)
    return state


def _has_weights(checkpoint: Path) -> bool:
    return (checkpoint / WEIGHTS_FILE).is_file() or any(checkpoint.glob("model/pp_*/tp_*/sdp_*.pt"))


def _weights(folder: Path) -> dict[str, Tensor]:
    """Return the model's weights by our names: those of a checkpoint, averaged where the run averages, or saved."""
    if checkpoint_step(folder) is None:
        return read_safetensors(folder / WEIGHTS_FILE)
    state = trained_state(folder)
    return {name.removeprefix(_MODEL): value for name, value in state.items() if name.startswith(_MODEL)}


def _model(recipe: RecipeOutline, state: Mapping[str, Tensor], given: ModelSettings, where: Path) -> SSLModel:
    if recipe.encoder is None or recipe.frontend is None:
        raise UserError(f"the run's recipe is of kind {recipe.kind!r}, which trains no model", where=str(where))
    found = ModelSettings(recipe.normalize, recipe.data.sample_rate)
    normalize, rate = preparation_of(given, found, RECIPE_FILE, where)
    parts = {"frontend": recipe.frontend, "encoder": recipe.encoder}
    with invalid_settings(where):
        settings = {"sample_rate": rate, "normalize": normalize, "normalize_epsilon": recipe.normalize_epsilon}
        model = SSLModel(structure(ModelConfig, {**parts, **settings}))
    load_state(model, state, where)
    return model.eval()
