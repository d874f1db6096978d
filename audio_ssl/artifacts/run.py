"""The folder of a run: where its files lie, and what each of them holds.

===================== ==================================================================
``recipe.yaml``       the resolved recipe, itself a recipe (`RecipeOutline`)
``provenance.json``   where the run came from, and whether it is finished (`RunRecord`)
``metrics.jsonl``     one row an update (`UpdateRow`)
``errors.jsonl``      clips that could not be used
``state/step_N/``     a checkpoint
``iteration_N/``      of a run of several iterations: the model, the state and the `IterationRecord` of each
``teachers/NAME/``    a teacher that was fitted or trained for the run; a codec is a run of its own
``reconstructions/``  of a codec: a few clips to listen to (`Reconstructions`)
===================== ==================================================================

Reports and readers of other libraries' models read runs by this module, which does not import torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from audio_ssl.artifacts.recipe_outline import RecipeOutline, read_outline
from audio_ssl.artifacts.reconstructions import Reconstructions, read_reconstructions
from audio_ssl.artifacts.records import absent, read_record, write_record
from audio_ssl.artifacts.run_beginning import RunBeginning
from audio_ssl.base.documents import JsonObject, iterate_json_lines, readable_rows

PROVENANCE_FILE, METRICS_FILE, ERRORS_FILE = "provenance.json", "metrics.jsonl", "errors.jsonl"
STATE_FOLDER, TEACHERS_FOLDER = "state", "teachers"
MODEL_TYPE = "audio_ssl"
"""What a model's ``config.json`` calls itself to transformers, whose auto classes then open it."""

_ITERATION, _STEP = "iteration_", "step_"
_PACKAGES = ("audio-ssl", "torch", "torchaudio", "numpy", "safetensors", "encodec", "nnAudio", "scikit-learn", "soxr")
_REMEDY = "delete this file and run the same command again with --resume"


# --- where files lie --------------------------------------------------------------------------------------------------


def iteration_folder(run: Path, number: int) -> Path:
    """Return the folder of an iteration, counted from 1."""
    return run / f"{_ITERATION}{number}"


def iteration_number(folder: Path) -> int | None:
    """Return which iteration the folder of one is; None of any other folder."""
    return _number(folder, _ITERATION)


def iteration_folders(run: Path) -> list[Path]:
    """Return the folders of a run's iterations, the first one first; a run of one iteration has none."""
    return _numbered(run, _ITERATION)


def checkpoint_folder(state: Path, step: int) -> Path:
    """Return the folder of the checkpoint after an update."""
    return state / f"{_STEP}{step}"


def checkpoint_step(folder: Path) -> int | None:
    """Return after how many updates a checkpoint was written, by the name of its folder; None of any other folder."""
    return _number(folder, _STEP)


def checkpoint_folders(state: Path) -> list[Path]:
    """Return the checkpoints below a folder ``state``, oldest first."""
    return _numbered(state, _STEP)


def state_folders(run: Path) -> list[Path]:
    """Return where the checkpoints of a run may lie: its own ``state``, then those of its iterations."""
    return [folder / STATE_FOLDER for folder in (run, *iteration_folders(run))]


def _number(folder: Path, prefix: str) -> int | None:
    found = re.fullmatch(rf"{prefix}([0-9]{{1,12}})", folder.name)
    return int(found[1]) if found else None


def _numbered(folder: Path, prefix: str) -> list[Path]:
    found = [(number, path) for path in folder.glob(f"{prefix}*") if (number := _number(path, prefix)) is not None]
    return [path for _, path in sorted(found)]


# --- provenance.json --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedClips:
    """How many clips a run used."""

    train: int
    valid: int


@dataclass(frozen=True)
class Lengthening:
    """That a run was given more updates than it was begun with."""

    steps: int
    """Updates of the whole run before that."""
    done: int
    """Updates that were done then; those after them follow the longer schedule."""


@dataclass(frozen=True)
class RunRecord:
    """Where a run came from, and whether it is finished: ``provenance.json`` of a run.

    What a run of an earlier version did not record is at its default here, and stays out of the file.
    """

    finished: bool | None = absent(None)
    """False while the run goes on, and after a stop before the last update; None: not recorded."""
    recipe_hash: str = absent("")
    manifest_hash: str = absent("")
    command: str = absent("")
    """As it was typed in a shell."""
    started: str = absent("")
    """Date and time in UTC, ISO 8601; so is `ended`."""
    python: str = absent("")
    versions: dict[str, str] = absent({})
    """Of the installed packages that a run depends on."""
    noise_manifest_hash: str | None = absent(None)
    """Of the manifest of background noise; None: the run mixes in none."""
    teachers: tuple[str, ...] | None = absent(None)
    """Fingerprints of the teachers; None: training has not ended yet."""
    clips: TrainedClips | None = absent(None)
    steps_done: int | None = absent(None)
    """Updates when training ended."""
    ended: str = absent("")
    begun: RunBeginning | None = absent(None)
    """The trained model that it began from; None: random weights."""
    lengthened: tuple[Lengthening, ...] = absent(())
    """When it was given more updates, in order."""
    more: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class IterationRecord:
    """What one of several iterations was trained on: ``provenance.json`` of ``iteration_N``."""

    teachers: tuple[str, ...]
    finished: bool
    ended: str
    more: JsonObject = field(default_factory=dict)


def start_record(recipe: Mapping[str, object], manifest_hash: str) -> RunRecord:
    """Return the record of a run that begins now."""
    return RunRecord(
        finished=False,
        recipe_hash=hash_recipe(recipe),
        manifest_hash=manifest_hash,
        command=shlex.join(sys.argv),
        started=_now(),
        python=platform.python_version(),
        versions=versions(),
    )


def end_record(record: RunRecord, finished: bool, clips: TrainedClips, steps_done: int) -> RunRecord:
    """Return the record of a run that is finished now, or has ended before its last update."""
    return replace(record, finished=finished, clips=clips, steps_done=steps_done, ended=_now())


def end_iteration(teachers: tuple[str, ...], finished: bool) -> IterationRecord:
    """Return the record of an iteration that is finished now, or has ended before its last update."""
    return IterationRecord(teachers, finished, _now())


def read_run_record(folder: Path, remedy: str | None = _REMEDY) -> RunRecord | None:
    """Return the record of a run or of an iteration; None where there is none.

    Raises
    ------
    UserError
        Where the file is damaged; `remedy` says what to do.
    """
    path = folder / PROVENANCE_FILE
    return read_record(RunRecord, path, remedy) if path.is_file() else None


def write_run_record(folder: Path, record: RunRecord | IterationRecord) -> None:
    """Write the record of a run or of an iteration."""
    write_record(folder / PROVENANCE_FILE, record)


def is_marked_finished(folder: Path) -> bool:
    """Return whether the record of a run or of an iteration says that it is finished."""
    record = read_run_record(folder)
    return record is not None and bool(record.finished)


def hash_recipe(recipe: Mapping[str, object]) -> str:
    """Return the first 16 hex digits of the SHA-256 of a recipe's plain data.

    How long a command may take and which release wrote a recipe change nothing that is computed, so a recipe has one
    hash with and without them.
    """
    kept = {key: value for key, value in recipe.items() if key not in ("max_minutes", "version")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of the packages a run depends on, those that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --- metrics.jsonl ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UpdateRow:
    """What was measured at one update: a row of ``metrics.jsonl``.

    Examples
    --------
    >>> UpdateRow(3, {"loss": float("nan"), "lr": 0.001}, iteration=2).line()
    '{"step": 3, "iteration": 2, "loss": null, "lr": 0.001}'
    """

    step: int
    """Updates of the run so far, those of earlier iterations included."""
    values: Mapping[str, float | None]
    """Metrics by name: those of the objective, ``lr``, ``grad_norm``, ``audio_seconds`` (so far in this iteration),
    ``audio_seconds_per_second``, ``epoch``, ``skipped_steps`` and, where it was validated, ``valid_*``. None: not a
    finite number."""
    iteration: int | None = None
    """Counted from 1; None of a run of one iteration."""

    def number(self, name: str) -> float | None:
        """Return a metric; None where it was not measured or is not a finite number."""
        value = self.values.get(name)
        return None if value is None else float(value)

    def line(self) -> str:
        """Return the row as JSON, without a line break."""
        head = {"step": self.step} | ({} if self.iteration is None else {"iteration": self.iteration})
        body = {name: value if _is_finite(value) else None for name, value in self.values.items()}
        return json.dumps({**head, **body}, allow_nan=False)


def read_updates(run: Path, strict: bool = True) -> Iterator[UpdateRow]:
    """Yield the rows of a run's ``metrics.jsonl``; nothing where there is no such file.

    A last line without its line break is still being written, and is left out. So is a row without a step.

    Parameters
    ----------
    run
        The run's folder.
    strict
        Raise for a damaged line; else it is left out, as a killed process or a full disk leaves such lines.

    Raises
    ------
    UserError
        If a line is damaged; the text names it.
    """
    path = run / METRICS_FILE
    if not path.is_file():
        return
    rows = (row for _, row in iterate_json_lines(path, torn_end=True, nan_is_null=True))
    for row in rows if strict else readable_rows(path):
        if (update := as_update(row)) is not None:
            yield update


def as_update(row: Mapping[str, object]) -> UpdateRow | None:
    """Return a row of ``metrics.jsonl``; None of one that has no step. What is not a number is left out."""
    step, iteration = row.get("step"), row.get("iteration")
    if not isinstance(step, int) or isinstance(step, bool):
        return None
    values = {
        name: value if _is_finite(value) else None
        for name, value in row.items()
        if name not in ("step", "iteration") and (value is None or _is_number(value))
    }
    return UpdateRow(step, values, iteration if isinstance(iteration, int) else None)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# --- the whole folder -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunFolder:
    """A run as `audio-ssl pretrain` leaves it, of a model or of a codec, without its weights."""

    path: Path
    updates: tuple[UpdateRow, ...]
    recipe: RecipeOutline
    record: RunRecord
    """An empty one where there is none."""
    errors: tuple[JsonObject, ...]
    """Clips that could not be used, with the reason."""
    teachers: tuple[RunFolder, ...]
    """Teachers that were trained on the way and kept their curves, such as the codec of an `rvq` teacher."""
    reconstructions: Reconstructions
    """None of a run that is no codec."""


def read_run_folder(path: Path) -> RunFolder:
    """Read a run; only ``metrics.jsonl`` must be there, so that a run still going can be looked at.

    Raises
    ------
    UserError
        If a file is damaged.
    """
    teachers, errors = path / TEACHERS_FOLDER, path / ERRORS_FILE
    inner = sorted(teachers.iterdir()) if teachers.is_dir() else []
    rows = iterate_json_lines(errors, torn_end=True, nan_is_null=True) if errors.is_file() else ()
    return RunFolder(
        path=path,
        updates=tuple(read_updates(path)),
        recipe=read_outline(path),
        record=read_run_record(path) or RunRecord(),
        errors=tuple(row for _, row in rows),
        teachers=tuple(read_run_folder(folder) for folder in inner if (folder / METRICS_FILE).is_file()),
        reconstructions=read_reconstructions(path),
    )
