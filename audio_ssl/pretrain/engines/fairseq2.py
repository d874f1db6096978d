"""fairseq2's trainer (0.8) as the engine: the same learner, data order, seeds and files, and its checkpoints.

The trainer is used directly, not through fairseq2's recipes: those write the whole process environment, keys and
tokens included, into a log, look for a cluster on their own, and let no part be replaced. Left out on purpose: sharded
weights and averages of weights, which the other engine has.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from audio_ssl.base.catalog import install_hint
from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.distributed import ALONE, Team
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.recipe import Recipe

_IN_THIS_ORDER = ("soundfile", "fairseq2.recipe", "audio_ssl.pretrain.engines._fairseq2_trainer")
"""soundfile brings the libsndfile that fairseq2 looks for, and fairseq2's other packages import each other in a circle
unless its recipes come first."""


def check(recipe: Recipe) -> None:
    """Raise UserError for settings that this engine has not, or if fairseq2 cannot be used."""
    remedy = "give engine=torch"
    if recipe.parallel == "fsdp2":
        raise UserError("engine `fairseq2` shares out no weights (fsdp2)", where="$.parallel", remedy=remedy)
    if recipe.weights_ema is not None:
        raise UserError("engine `fairseq2` keeps no average of the weights", where="$.weights_ema", remedy=remedy)
    _load()


def train(job: TrainingJob, team: Team = ALONE) -> int:
    """Train until `job.steps` by fairseq2's trainer, from its newest checkpoint; every process of the team calls it.

    Returns
    -------
    The updates that are done: `job.steps`, or fewer where the time was over first.

    Raises
    ------
    StoppedBySignal
        After the state was saved, when SIGTERM, SIGUSR1 or Ctrl-C asked any process for a stop.
    UserError
        If nothing can be read, a guard stops the run, or the checkpoint is of another number of processes or engine.
    """
    done: int = _load().train(job, team)
    return done


def _load() -> ModuleType:
    if importlib.util.find_spec("fairseq2") is None:
        raise UserError(
            "engine `fairseq2` needs the package fairseq2", where="$.engine", remedy=install_hint("fairseq2")
        )
    try:
        return [importlib.import_module(name) for name in _IN_THIS_ORDER][-1]
    # Its compiled part refuses any other torch than its own with a RuntimeError, and misses libraries with an OSError.
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"engine `fairseq2` cannot be used: {error}",
            where="$.engine",
            remedy=f"{install_hint('fairseq2')} brings the torch that fairseq2 was built for",
        ) from error
