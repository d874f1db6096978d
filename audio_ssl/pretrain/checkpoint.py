"""State on the disk: safetensors and JSON, whole or not there, and no pickle.

``state/step_N/`` holds ``model.safetensors``, ``optimizer.safetensors``, ``state.json``, and ``files.json`` with what
these are. It is written into a temporary folder, flushed, and renamed. Randomness needs no tensors: every draw of a run
comes from a generator seeded by (seed, step), so the step is all there is to restore.

The files hold whole tensors by the learner's own names, whatever the number of processes and the way they shared the
weights, so a run goes on in another setting than it was begun in. torch's own distributed checkpoints would need a
pickled index. ``average.safetensors`` is there where a recipe averages weights.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from audio_ssl.artifacts.run import checkpoint_folder, checkpoint_folders, checkpoint_step
from audio_ssl.base.checksums import faults, write_seals
from audio_ssl.base.config import structure
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_folder, remove_folder
from audio_ssl.pretrain.distributed import ALONE, Team
from audio_ssl.pretrain.optim import WeightsEma, load_optimizer_tensors, optimizer_tensors, shard_like, whole_tensor

STATE_FILE = "state.json"
logger = logging.getLogger(__name__)

_FILES = ("model.safetensors", "optimizer.safetensors")


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands after a step."""

    seed: int
    epoch: int
    position: int
    """Updates of the epoch that are done."""
    step: int
    """Optimiser updates done, skipped ones included."""
    skipped_steps: int = 0
    """Updates left out because loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    audio_seconds: float = 0.0
    """Audio trained on so far, in seconds."""
    valid_loss: float | None = None
    """At this step, where it was validated."""


def save_checkpoint(
    folder: Path,
    state: TrainingState,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep_last: int,
    average: WeightsEma | None = None,
    team: Team = ALONE,
) -> Path:
    """Write a checkpoint below `folder`, then remove those that are neither new nor best.

    Every process must call it, as shards are gathered; the leader writes.

    Returns
    -------
    The checkpoint's folder.
    """
    files = {
        "model.safetensors": _on_cpu(learner.state_dict(), team),
        "optimizer.safetensors": _on_cpu(optimizer_tensors(learner, optimizer), team),
    }
    if average is not None:
        files["average.safetensors"] = _on_cpu(average.tensors, team)
    final = checkpoint_folder(folder, state.step)
    if team.leads:
        _write(final, state, files)
        _prune(folder, keep_last)
    return final


def _write(final: Path, state: TrainingState, files: dict[str, dict[str, Tensor]]) -> None:
    size = sum(tensor.nbytes for tensors in files.values() for tensor in tensors.values())
    # A checkpoint of the same step has the same bytes, or lacks a validation, so the new one replaces it.
    with atomic_folder(final, size) as partial:
        for name, tensors in files.items():
            save_file(tensors, partial / name)
        (partial / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        write_seals(partial, [*files, STATE_FILE])


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints below `folder`, oldest first."""
    return [path for path in checkpoint_folders(folder) if (path / STATE_FILE).is_file()]


def read_state(checkpoint: Path) -> TrainingState:
    """Read where a checkpoint stands; UserError where its state cannot be read."""
    path = checkpoint / STATE_FILE
    return structure(TrainingState, read_object(path), where=str(path))


def check_whole(checkpoint: Path) -> None:
    """Raise UserError for a checkpoint that is damaged: all bytes are read, since a run trains for days from them."""
    state = read_state(checkpoint)
    if checkpoint_step(checkpoint) != state.step:
        raise UserError(f"state.json says step {state.step}", where=str(checkpoint))
    # Checkpoints without recorded checksums (of earlier releases) are checked by sizes and headers.
    for name, wrong in faults(checkpoint, _FILES, full=True).items():
        raise UserError(f"the checkpoint is damaged: {name} {wrong}", where=str(checkpoint))


def newest_whole(folder: Path) -> Path | None:
    """Return the newest checkpoint that is whole, None where there is none at all.

    Damaged newer checkpoints are logged and renamed to ``damaged_step_N``; the resumed run writes them again.

    Raises
    ------
    UserError
        If there are checkpoints, but all are damaged.
    """
    found = checkpoint_folders(folder)
    damaged: list[Path] = []
    for path in reversed(found):
        try:
            check_whole(path)
        except UserError as error:
            logger.warning("%s", error)
            damaged.append(path)
            continue
        for one in damaged:
            aside = one.with_name(f"damaged_{one.name}")
            shutil.rmtree(aside, ignore_errors=True)
            one.rename(aside)
            logger.warning("%s is damaged and was set aside as %s; continuing from %s", one, aside.name, path.name)
        return path
    if found:
        raise UserError(
            f"none of the {len(found)} checkpoints can be read",
            where=str(folder),
            remedy="delete this folder to begin again from step 0, or copy a checkpoint back",
        )
    return None


def best_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of the lowest validation loss, or None where none was validated."""
    scored = []
    for path in checkpoints(folder):
        # A damaged checkpoint cannot be the best one.
        with suppress(UserError):
            loss = read_state(path).valid_loss
            scored += [] if loss is None else [(loss, path)]
    return min(scored, key=lambda one: one[0])[1] if scored else None


def resume(
    folder: Path, learner: nn.Module, optimizer: torch.optim.Optimizer, average: WeightsEma | None, team: Team
) -> TrainingState | None:
    """Load the newest whole checkpoint into every process and return where it stands; None where there is none."""
    found: Path | None = None
    with team.together():
        if team.leads:
            found = newest_whole(folder)
    # All continue from the checkpoint that the leader sees.
    newest = team.gather_text(found.name if found else "")[0]
    return load_checkpoint(folder / newest, learner, optimizer, average) if newest else None


def load_checkpoint(
    checkpoint: Path, learner: nn.Module, optimizer: torch.optim.Optimizer, average: WeightsEma | None = None
) -> TrainingState:
    """Load a checkpoint into a learner and its optimiser; of several processes each reads it, and keeps its share.

    Raises
    ------
    UserError
        If the learner has other parameters than the checkpoint, or that is damaged.
    """
    tensors = _load(checkpoint / "model.safetensors")
    expected = learner.state_dict()
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    if missing or unexpected:
        raise UserError(
            f"the checkpoint does not fit the recipe's model: missing {missing[:3]}, unexpected {unexpected[:3]}",
            where=str(checkpoint),
            remedy="resume with the recipe the run began with",
        )
    try:
        learner.load_state_dict({name: shard_like(value, expected[name]) for name, value in tensors.items()})
        load_optimizer_tensors(learner, optimizer, _load(checkpoint / "optimizer.safetensors"))
        if average is not None:
            stored = _load(checkpoint / "average.safetensors")
            average.tensors = {name: shard_like(stored[name], value) for name, value in average.tensors.items()}
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"the checkpoint does not fit the recipe's model: {error}",
            where=str(checkpoint),
            remedy="resume with the recipe the run began with",
        ) from error
    return read_state(checkpoint)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"the checkpoint is damaged: {error}", where=str(path)) from error


def _on_cpu(tensors: Mapping[str, Tensor], team: Team) -> dict[str, Tensor]:
    """Return whole copies of tensors for the leader, nothing for the others."""
    kept = {}
    for name, value in tensors.items():
        whole = whole_tensor(value.detach())
        if team.leads:
            # safetensors refuses tensors that share memory; clones never do.
            kept[name] = whole.to("cpu", copy=True).contiguous()
    return kept


def _prune(folder: Path, keep_last: int) -> None:
    best = best_checkpoint(folder)
    for old in checkpoints(folder)[:-keep_last]:
        if old != best:
            remove_folder(old)
