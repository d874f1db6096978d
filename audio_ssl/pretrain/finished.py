"""Whether a run is finished: it says so, and its model is there, as it was written."""

from __future__ import annotations

import logging
from pathlib import Path

from audio_ssl.errors import UserError
from audio_ssl.integrity import faults, write_seals
from audio_ssl.pretrain.checkpoint import checkpoints
from audio_ssl.pretrain.provenance import read_provenance, write_provenance

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"
MODEL_FILES = ("config.json", WEIGHTS_FILE)
"""What a finished run has, whatever its kind."""


def seal_model(folder: Path) -> None:
    """Record what the weights of a run's model are; its settings may be edited."""
    write_seals(folder, [WEIGHTS_FILE])


def is_whole(folder: Path, full: bool = False) -> bool:
    """Tell whether a run is finished and has its model.

    Parameters
    ----------
    folder
        The run, or one of its iterations.
    full
        Read the weights, too; else their length is enough.
    """
    return bool(read_provenance(folder).get("finished")) and not faults(folder, MODEL_FILES, full)


def reopen(run: Path) -> None:
    """Mark a finished run whose model is damaged as not finished, so that the last checkpoint gives it again.

    Raises
    ------
    UserError
        If there is none.
    """
    if not read_provenance(run).get("finished") or is_whole(run, full=True):
        return
    damage = "; ".join(f"{name} {wrong}" for name, wrong in faults(run, MODEL_FILES, full=True).items())
    if not any(checkpoints(state) for state in (run / "state", *run.glob("iteration_*/state"))):
        raise UserError(
            f"the run is marked as finished, but {damage}, and there is no checkpoint to make it from",
            where=str(run),
            remedy=f"begin a new run: audio-ssl pretrain {run / 'recipe.yaml'} --out NEW_FOLDER",
        )
    logger.warning(
        "the run in %s is marked as finished, but %s: it is made again from its last checkpoint", run, damage
    )
    write_provenance(run, {**read_provenance(run), "finished": False})
