"""A run that is not finished, or one of its checkpoints, as a model.

A run writes its model when it ends; until then its weights are in ``state/step_N/`` (of several iterations in
``iteration_N/state/``), under the names of the module that learns, and its sizes in ``recipe.yaml``.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.base.config import apply_overrides, read_yaml, structure
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.interop.fairseq2 import read_weights
from audio_ssl.interop.settings import ModelSettings, invalid_settings, preparation_of
from audio_ssl.interop.weights import read_safetensors
from audio_ssl.models.model import ModelConfig, SSLModel
from audio_ssl.models.weights import CONFIG_FILE, WEIGHTS_FILE, load_state

logger = logging.getLogger(__name__)

RECIPE_FILE, PROVENANCE_FILE, STATE_FOLDER = "recipe.yaml", "provenance.json", "state"
_AVERAGE_FILE = "average.safetensors"
_MODEL = "model."
"""Beginning of the names of a model's weights in the module that learns."""


def run_of(path: Path) -> Path | None:
    """Return the run that a folder is, or is a checkpoint of; None: it is neither."""
    if (path / RECIPE_FILE).is_file():
        # A store of targets holds its recipe as well.
        signs = (PROVENANCE_FILE, STATE_FOLDER, "iteration_1")
        return path if any((path / name).exists() for name in signs) else None
    above = path.absolute().parents
    if not _step(path) or above[0].name != STATE_FOLDER:
        return None
    return next((folder for folder in above[1:3] if (folder / RECIPE_FILE).is_file()), None)


def read_run(path: Path, given: ModelSettings) -> SSLModel:
    """Read the model of a run that has not written it, or of one of its checkpoints.

    Parameters
    ----------
    path
        The run's folder: its newest checkpoint that can be read is taken, and the log names it. Or a checkpoint,
        ``RUN/state/step_N``.
    given
        The caller's settings.

    Raises
    ------
    UserError
        If there is no checkpoint that can be read, or the run trains something else than a model.
    """
    run = run_of(path)
    assert run is not None, "refused by `detect`"
    recipe = read_yaml(run / RECIPE_FILE)
    if run != path:
        return _model(_of_round(recipe, path, run), _weights(path), given, path)
    finished = _finished(run)
    candidates = _candidates(run)
    for number, folder in enumerate(candidates):
        try:
            model = _model(_of_round(recipe, folder, run), _weights(folder), given, folder)
        except UserError as error:
            if number + 1 == len(candidates):
                raise
            logger.warning("%s; the checkpoint before it is taken", error)
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


def describe(run: Path, folder: Path, recipe: Mapping[str, Any]) -> str:
    """Return what a checkpoint is in words, such as ``step 300 of 1000``."""
    where = folder.relative_to(run).parts
    iteration = f"{where[0].replace('_', ' ')}, " if where and where[0].startswith("iteration_") else ""
    step = _step(folder)
    if not step:
        return f"{iteration}as it was saved"
    # Of several iterations `steps` counts all.
    return f"{iteration}step {step}" if iteration else f"step {step} of {recipe.get('steps', '?')}"


def _of_round(recipe: Mapping[str, Any], folder: Path, run: Path) -> Mapping[str, Any]:
    """Return the recipe with the settings that the iteration of a checkpoint has of its own."""
    parts = folder.absolute().relative_to(run.absolute()).parts
    number = int(parts[0].removeprefix("iteration_")) if parts and parts[0].startswith("iteration_") else 1
    iterations = recipe.get("iterations") or []
    mine = iterations[number - 1] if len(iterations) >= number else {}
    return apply_overrides(recipe, mine.get("settings", ()))


def _candidates(run: Path) -> list[Path]:
    """Return the folders that may hold the run's model, newest first."""
    iterations = [folder for folder in run.glob("iteration_*") if re.fullmatch(r"iteration_\d+", folder.name)]
    found: list[Path] = []
    for folder in (run, *sorted(iterations, key=lambda one: -int(one.name.removeprefix("iteration_")))):
        whole = (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()
        saved = [folder] if folder != run and whole else []
        # A checkpoint is written beside its place and moved there, so one that is there is whole.
        steps = [one for one in (folder / STATE_FOLDER).glob("step_*") if _step(one) and _has_weights(one)]
        steps.sort(key=lambda one: -_step(one))
        # The model of an iteration whose time was over is older than the checkpoints that came after it.
        found += saved + steps if saved and _finished(folder) else steps + saved
    return found


def _step(folder: Path) -> int:
    found = re.fullmatch(r"step_(\d{1,12})", folder.name)
    return int(found[1]) if found else 0


def _has_weights(checkpoint: Path) -> bool:
    return (checkpoint / WEIGHTS_FILE).is_file() or any(checkpoint.glob("model/pp_*/tp_*/sdp_*.pt"))


def _finished(run: Path) -> bool:
    path = run / PROVENANCE_FILE
    return path.is_file() and read_object(path).get("finished") is True


def _weights(folder: Path) -> dict[str, Tensor]:
    """Return the model's weights by our names: those of a checkpoint, averaged where the run averages, or saved."""
    if not _step(folder):
        return read_safetensors(folder / WEIGHTS_FILE)
    ours = (folder / WEIGHTS_FILE).is_file()
    # The engine fairseq2 has files of its own.
    state = read_safetensors(folder / WEIGHTS_FILE) if ours else read_weights(folder)
    if (folder / _AVERAGE_FILE).is_file():
        state |= read_safetensors(folder / _AVERAGE_FILE)
    return {name.removeprefix(_MODEL): value for name, value in state.items() if name.startswith(_MODEL)}


def _model(recipe: Mapping[str, Any], state: Mapping[str, Tensor], given: ModelSettings, where: Path) -> SSLModel:
    if "encoder" not in recipe or "frontend" not in recipe:
        raise UserError(f"the run's recipe is of kind {recipe.get('kind')!r}, which trains no model", where=str(where))
    data = recipe.get("data")
    found = {
        "normalize": recipe.get("normalize", False),
        "sample_rate": data.get("sample_rate") if isinstance(data, Mapping) else None,
    }
    normalize, rate = preparation_of(given, found, RECIPE_FILE, where)
    parts = {name: recipe[name] for name in ("frontend", "encoder")}
    with invalid_settings(where):
        model = SSLModel(structure(ModelConfig, {**parts, "sample_rate": rate, "normalize": normalize}))
    load_state(model, state, where)
    return model.eval()
