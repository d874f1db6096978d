"""What a run may be gone on with by ``--resume``: its own recipe, or the same with more `steps`, which lengthens it.

A run that is lengthened follows its schedule as that is for the new number of updates, from where the run stands:
constant and noam go on as if the run had never ended; a linear or cosine decay that had come to zero begins again at
what is left of the longer one, which the log says in numbers. Another rate or other audio is a run of its own, that
begins from the model of this one by ``init=RUN``. Every message here says which of the two is meant.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.run import (
    STATE_FOLDER,
    Lengthening,
    RunRecord,
    checkpoint_folders,
    checkpoint_step,
    hash_recipe,
    read_run_record,
    start_record,
    write_run_record,
)
from audio_ssl.base.config import read_yaml, traits_of
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import write_text
from audio_ssl.pretrain.checkpoint import checkpoints, newest_whole, read_state
from audio_ssl.pretrain.jobs import KindTraits
from audio_ssl.pretrain.optim import effective_warmup, learning_rate
from audio_ssl.pretrain.recipe import Recipe, identity, plain, recipe_yaml, structure_recipe
from audio_ssl.pretrain.selection import Selection

logger = logging.getLogger(__name__)

_FREE_ON_RESUME = (
    *("data.workers", "checkpoint.every", "checkpoint.keep_last", "device", "parallel", "compile", "deterministic"),
    *("guards", "profile", "wandb", "max_minutes"),
)
"""Settings that change results only by rounding; a resumed run may change them."""


def check_same(recipe: Recipe, selection: Selection, out: Path, may_lengthen: bool) -> None:
    """Raise UserError where a folder's run is not that of a recipe; lengthen it where only `steps` are more.

    Parameters
    ----------
    recipe
        That the run is to be gone on with.
    selection
        The recipe's clips.
    out
        The run's folder.
    may_lengthen
        Whether more `steps` lengthen the run; teachers inside a run, and models of a study, keep theirs.
    """
    # Read as a recipe, so that keys which are newer than the run count with what runs did before them.
    begun = structure_recipe(read_yaml(out / RECIPE_FILE))
    theirs, mine = dict(flatten(plain(begun))), dict(flatten(plain(recipe)))
    keys = sorted(key for key in theirs.keys() | mine.keys() if theirs.get(key) != mine.get(key))
    keys = [key for key in keys if not key.startswith(_FREE_ON_RESUME)]
    longer = may_lengthen and keys == ["steps"]
    if keys and not longer:
        changes = ", ".join(f"{key} ({theirs.get(key)} then, {mine.get(key)} now)" for key in keys)
        raise UserError(
            f"the run was begun with another recipe; these keys differ: {changes}",
            where=str(out),
            remedy=f"`audio-ssl pretrain {_quoted(out / RECIPE_FILE)} --out {_quoted(out)} --resume` goes on as it was "
            f"begun, and with a larger `steps` lengthens it; {_from_its_model(out)}",
        )
    if read_run_record(out) is None:
        write_run_record(out, start_record(identity(recipe), selection.manifest_hash))
    then = (read_run_record(out) or RunRecord()).manifest_hash
    if then != selection.manifest_hash:
        raise UserError(
            f"the manifest has changed since the run was begun: {then} then, {selection.manifest_hash} now",
            where=str(recipe.data.manifest),
            remedy=f"give the old manifest; {_from_its_model(out)}",
        )
    if longer:
        _lengthen(begun, recipe.steps, out)


def _lengthen(begun: Recipe, steps: int, out: Path) -> None:
    """Give a run more updates, and say how the learning rate goes on."""
    if steps < begun.steps:
        raise UserError(
            f"`steps` can only be raised: the run was begun with {begun.steps}, but {steps} are given",
            where="$.steps",
            remedy=f"give more steps to lengthen it, or steps={begun.steps} to go on as it was begun",
        )
    if len(traits_of(begun, KindTraits).stages(begun)) > 1:
        raise UserError(
            "a run of several iterations cannot be lengthened, as each has its share of `steps`",
            where="$.steps",
            remedy=_from_its_model(out),
        )
    done = _updates_done(out / STATE_FOLDER)
    if done is None:
        raise UserError(
            "the run has no checkpoint that it could go on from, only its model",
            where=str(out / STATE_FOLDER),
            remedy=_from_its_model(out),
        )
    longer = replace(begun, steps=steps)
    record = read_run_record(out) or RunRecord()
    earlier = Lengthening(begun.steps, done)
    known = record.lengthened if record.lengthened[-1:] == (earlier,) else (*record.lengthened, earlier)
    # The recipe last: killed in between, the run is lengthened by the same command again.
    write_run_record(out, replace(record, finished=False, recipe_hash=hash_recipe(identity(longer)), lengthened=known))
    write_text(out / RECIPE_FILE, recipe_yaml(longer))
    rates = rates_in_words(begun, longer, done)
    logger.info("%s is lengthened from %d to %d updates. %s", out, begun.steps, steps, rates)
    logger.info("to go on at another rate or with other audio instead: %s", _from_its_model(out))


def _updates_done(state: Path) -> int | None:
    """Return after which update a run goes on; None where it has no checkpoint."""
    if not checkpoints(state):
        # The engine fairseq2 has files of its own, and the update in the folder's name alone.
        return max((checkpoint_step(path) or 0 for path in checkpoint_folders(state)), default=None)
    newest = newest_whole(state)
    return None if newest is None else read_state(newest).step


def rates_in_words(begun: Recipe, longer: Recipe, done: int) -> str:
    """Return how the learning rate of a run goes on that is lengthened after `done` updates.

    Examples
    --------
    >>> from audio_ssl.pretrain.optim import OptimConfig
    >>> begun = Recipe(steps=100, optim=OptimConfig(lr=1e-3, warmup_steps=0))
    >>> rates_in_words(begun, replace(begun, steps=200), 100)
    'The learning rate goes on at 0.0005, as the linear schedule of 200 updates has it; it had come to 1e-05.'
    """
    optim, steps = longer.optim, longer.steps
    before, after = learning_rate(begun.optim, done - 1, begun.steps), learning_rate(optim, done, steps)
    if before == after:
        return f"The learning rate stays at {after:.3g}, as the {optim.schedule} schedule has it."
    warmup = effective_warmup(optim, steps)
    again = f" and rises to update {warmup}" if done < warmup else ""
    return (
        f"The learning rate goes on at {after:.3g}{again}, as the {optim.schedule} schedule of {steps} updates has it; "
        f"it had come to {before:.3g}."
    )


def not_empty(out: Path) -> UserError:
    """Return the error for a folder that is to hold a new run and has files already."""
    if not (out / RECIPE_FILE).is_file():
        return UserError(
            "the folder is not empty", where=str(out), remedy="give another --out, or --resume where it holds a run"
        )
    return UserError(
        "the folder is not empty",
        where=str(out),
        remedy="add --resume to go on with its run, also with a larger `steps`, which lengthens it; or give another "
        f"--out, where init={_quoted(out)} begins a new run from its model",
    )


def _from_its_model(out: Path) -> str:
    return f"init={_quoted(out)} with another --out begins a new run from its model, at any rate and with any audio"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the plain values of nested data with their dotted keys.

    Examples
    --------
    >>> dict(flatten({"a": [{"b": 1}], "c": 2}))
    {'a.0.b': 1, 'c': 2}
    """
    items: Iterator[tuple[Any, Any]] | None = None
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value))
    if items is None:
        yield key, value
        return
    for name, inner in items:
        yield from flatten(inner, f"{key}.{name}" if key else str(name))
