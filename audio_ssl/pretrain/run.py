"""The `pretrain` stage: a recipe and a manifest become a run folder.

RUN holds ``recipe.yaml`` (resolved, itself a recipe), the model, ``README.md``, ``metrics.jsonl``, ``tensorboard/``,
``state/`` (checkpoints), ``teachers/``, ``errors.jsonl`` and ``provenance.json``; a run of several iterations keeps
each in ``iteration_N/``. Everything wrong with the recipe or the manifest is said before any work starts.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.run import (
    ERRORS_FILE,
    STATE_FOLDER,
    RunRecord,
    TrainedClips,
    end_iteration,
    end_record,
    hash_recipe,
    is_marked_finished,
    iteration_folder,
    read_run_record,
    start_record,
    write_run_record,
)
from audio_ssl.base.catalog import load_part
from audio_ssl.base.config import traits_of
from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.base.files import atomic_write, is_used, locked_folder, write_text
from audio_ssl.data.augment import NoiseBank
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.models.weights import MODEL_FILES, WEIGHTS_FILE
from audio_ssl.pretrain.distributed import ALONE, Team, choose_device, deterministic, open_team
from audio_ssl.pretrain.going_on import check_same, not_empty
from audio_ssl.pretrain.jobs import KindTraits, RunStage, StageContext, Training, TrainingJob, loader_setups
from audio_ssl.pretrain.log import check_wandb
from audio_ssl.pretrain.optim import effective_warmup
from audio_ssl.pretrain.recipe import ENGINES, Recipe, identity, open_recipe, recipe_yaml
from audio_ssl.pretrain.run_folder import CardFacts, is_whole, reopen, seal_model, write_card
from audio_ssl.pretrain.selection import Selection, select_clips

logger = logging.getLogger(__name__)


def pretrain(recipe: str, overrides: Sequence[str], out: Path, resume: bool = False) -> Path:
    """Train by a recipe.

    Parameters
    ----------
    recipe
        Name or path of a recipe.
    overrides
        ``key=value`` settings.
    out
        The run's folder.
    resume
        Go on from the newest checkpoint in `out`; with none there, begin. A run is lengthened by more `steps` than it
        was begun with.

    Returns
    -------
    The run's folder.

    Raises
    ------
    UserError
        For anything wrong with recipe, manifest or folder.
    StoppedBySignal
        After a signal, with the state saved; also where `max_minutes` were over while a codec for the teachers was
        trained, so that there is no model yet.
    """
    with open_team() as team:
        with team.together():
            read = open_recipe(recipe, overrides, out if resume else None)
        if resume and team.leads and not is_used(out):
            # --resume may have been meant for another folder. Codecs and iterations inside a run log nothing.
            logger.info("%s holds no run yet: this one begins at the first update", out)
        return run_recipe(read, out, resume, team, may_lengthen=True)


def run_recipe(recipe: Recipe, out: Path, resume: bool, team: Team = ALONE, may_lengthen: bool = False) -> Path:
    """Train by a recipe that is read already; every process of the team calls it, and the leader writes.

    A run whose `max_minutes` are over has a model and its card like a finished one, but is not marked as finished.
    With `may_lengthen`, a run that is resumed with more `steps` is lengthened (`audio_ssl.pretrain.going_on`).
    """
    limit = recipe.max_minutes
    _run_until(None if limit is None else time.monotonic() + 60 * limit, recipe, out, resume, team, may_lengthen)
    return out


def _run_until(
    deadline: float | None,
    recipe: Recipe,
    out: Path,
    resume: bool,
    team: Team = ALONE,
    may_lengthen: bool = False,
) -> bool:
    """Run a recipe until a time by `time.monotonic`; return whether it is finished."""
    kind = traits_of(recipe, KindTraits)
    with team.together():
        device = team.device(choose_device(recipe.device).type)
        selection = select_clips(recipe.data)
        kind.check(recipe, selection)
        load_part(ENGINES, recipe.engine, where="$.engine").check(recipe)
        if recipe.wandb and team.leads:
            check_wandb()
    with ExitStack() as held:
        with team.together():
            if team.leads:
                held.enter_context(locked_folder(out))
                _open_run(kind, recipe, selection, out, resume, may_lengthen)
        return _go_on(deadline, kind, recipe, selection, device, out, team)


def _go_on(
    deadline: float | None,
    kind: KindTraits,
    recipe: Recipe,
    selection: Selection,
    device: torch.device,
    out: Path,
    team: Team,
) -> bool:
    """Train what the folder's run has not trained yet; return whether it is finished."""
    with team.together():
        if team.leads:
            reopen(out)
    if is_marked_finished(out):
        logger.info("the run in %s is finished", out)
        return True
    team = team.with_devices(recipe.parallel, device)
    ledger = ErrorLedger(out / (ERRORS_FILE if team.leads else f"errors.rank_{team.rank}.jsonl"))

    def run_other(other: Recipe, folder: Path) -> Path:
        if not _run_until(deadline, other, folder, resume=True):
            over = f"`max_minutes` {recipe.max_minutes:g} are over" if recipe.max_minutes else "the time is over"
            raise StoppedBySignal(f"{over} while {folder} was trained. Run the command again with --resume to go on")
        return folder

    context = StageContext(out, selection, ClipReader(recipe.data.sample_rate), ledger, device, None, run_other)
    try:
        done = _run_stages(kind, recipe, context, out, team, deadline)
    finally:
        if team.leads:
            _merge_ledgers(ledger, out)
    with team.together():
        if team.leads:
            seal_model(out)
            _finish(recipe, selection, ledger, out, done)
    if done < recipe.steps:
        logger.info(
            "time limit reached: %s holds the model of step %d of %d; continue with --resume", out, done, recipe.steps
        )
    return done >= recipe.steps


def _run_stages(
    kind: KindTraits, recipe: Recipe, base: StageContext, out: Path, team: Team, deadline: float | None
) -> int:
    """Run the stages that are not finished; return how many updates of the run are done."""
    stages = kind.stages(recipe)
    previous: Path | None = None
    offset = 0
    for number, stage in enumerate(stages, 1):
        folder = out if len(stages) == 1 else iteration_folder(out, number)
        context = replace(base, folder=folder, previous=previous)
        if folder == out or not is_whole(folder, full=True):
            iteration = number if len(stages) > 1 else None
            done = _run_stage(kind, stage, context, out, iteration, offset, team, deadline)
        else:
            done = stage.steps
        previous, offset = folder, offset + done
        if done < stage.steps:
            break
    if previous is not None and previous != out and team.leads:
        for name in MODEL_FILES:
            with atomic_write(out / name) as partial:
                shutil.copyfile(previous / name, partial)
    return offset


def _merge_ledgers(ledger: ErrorLedger, out: Path) -> None:
    """Move the entries of the other processes into the leader's ledger."""
    for path in sorted(out.glob("errors.rank_*.jsonl")):
        for row in ErrorLedger(path).rows():
            ledger.record(row.path, row.reason, **row.more)
        path.unlink()


def run_or_go_on(recipe: Recipe, out: Path) -> Path:
    """Run a recipe into a folder, or continue the run that is there."""
    return run_recipe(recipe, out, resume=True)


def _run_stage(
    kind: KindTraits,
    stage: RunStage,
    context: StageContext,
    out: Path,
    iteration: int | None,
    offset: int,
    team: Team,
    deadline: float | None,
) -> int:
    """Train one stage and save its model; return how many of its updates are done."""
    # The leader alone fits or trains what must be there first; the others find it on the disk.
    training = team.leader_first(lambda: kind.build(stage.recipe, context))
    with team.together():
        if team.leads and training.noise is not None:
            _check_noise(training.noise, out)
        if team.leads and training.begun is not None:
            write_run_record(out, replace(_record(out), begun=training.begun))
        loader, valid = loader_setups(stage.recipe, training, context)
    warmup = effective_warmup(stage.recipe.optim, stage.steps)
    if warmup < stage.recipe.optim.warmup_steps:
        logger.info(
            "warmup of %d steps instead of %d, as there are %d steps",
            warmup,
            stage.recipe.optim.warmup_steps,
            stage.steps,
        )
    job = TrainingJob(
        name=kind.title if iteration is None else f"{kind.title}, iteration {iteration}",
        recipe=stage.recipe,
        steps=stage.steps,
        training=training,
        train=loader,
        valid=valid,
        state_folder=context.folder / STATE_FOLDER,
        log_folder=out,
        step_offset=offset,
        iteration=iteration,
        deadline=deadline,
    )
    with deterministic(stage.recipe.deterministic):
        done: int = load_part(ENGINES, stage.recipe.engine).train(job, team)
    with team.together():
        if team.leads:
            _save(training, context.folder, out, iteration, done >= stage.steps)
    return done


def _save(training: Training, folder: Path, out: Path, iteration: int | None, finished: bool) -> None:
    training.save(folder)
    if iteration is not None:
        seal_model(folder)
        write_run_record(folder, end_iteration(tuple(training.target_fingerprints), finished))
    else:
        write_run_record(out, replace(_record(out), teachers=tuple(training.target_fingerprints)))


def _open_run(
    kind: KindTraits, recipe: Recipe, selection: Selection, out: Path, resume: bool, may_lengthen: bool
) -> None:
    """Create a run's folder, or check that it holds the run to continue."""
    used = is_used(out)
    if used and not resume:
        raise not_empty(out)
    if used and not (out / RECIPE_FILE).is_file():
        raise UserError(f"the folder holds no run to resume: it has no {RECIPE_FILE}", where=str(out))
    if used:
        check_same(recipe, selection, out, may_lengthen)
        if not is_marked_finished(out):
            # The model of an earlier end would soon be older than the checkpoints, which stand for it until the next.
            (out / WEIGHTS_FILE).unlink(missing_ok=True)
        return
    if kind.check_new is not None:
        kind.check_new(recipe)
    write_text(out / RECIPE_FILE, recipe_yaml(recipe))
    write_run_record(out, start_record(identity(recipe), selection.manifest_hash))


def _check_noise(noise: NoiseBank, out: Path) -> None:
    """Record the manifest of noise, or check that it is the one that the run was begun with."""
    known = _record(out)
    then = noise.manifest_hash if known.noise_manifest_hash is None else known.noise_manifest_hash
    if then != noise.manifest_hash:
        raise UserError(
            f"the manifest of noise has changed since the run was begun: {then} then, {noise.manifest_hash} now",
            where="$.mixing.noise.manifest",
            remedy="give the old manifest, or begin a new run",
        )
    write_run_record(out, replace(known, noise_manifest_hash=then))


def _record(out: Path) -> RunRecord:
    """Return the record of the run in a folder that was begun."""
    return read_run_record(out) or RunRecord()


def _finish(recipe: Recipe, selection: Selection, ledger: ErrorLedger, out: Path, done: int) -> None:
    kind = traits_of(recipe, KindTraits)
    finished = done >= recipe.steps
    facts = CardFacts(
        steps=(f"{done}" if finished else f"{done} of {recipe.steps}, when its time was over")
        + "".join(f"; lengthened from {earlier.steps} after {earlier.done}" for earlier in _record(out).lengthened),
        train_clips=len(selection.train),
        valid_clips=len(selection.valid),
        held_out=selection.held_out,
        sample_rate=recipe.data.sample_rate,
        left_out=ledger.count,
        recipe_hash=hash_recipe(identity(recipe)),
        manifest_hash=selection.manifest_hash,
        learnt_from=() if kind.learnt_from is None else kind.learnt_from(recipe),
    )
    write_text(out / "README.md", write_card(out, out.name, kind.describe(recipe), facts))
    clips = TrainedClips(len(selection.train), len(selection.valid))
    write_run_record(out, end_record(_record(out), finished, clips, done))
