"""What commands on many clips share: the engine that runs their processes, and what these have recorded of files."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.artifacts.run import ERRORS_FILE
from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.config import module_traits
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import clear_partials, locked_folder
from audio_ssl.base.launch import read_place
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.features.job import EngineTraits, SharedJob
from audio_ssl.features.journal import JOURNALS


@dataclass(frozen=True)
class Engine:
    """Where the processes of a job run."""

    run: Callable[[SharedJob, Callable[[], None]], None]
    starts_processes: bool
    """It starts the processes, which may lie on other machines."""

    leads: bool
    """Whether this process claims the folder and finishes the work."""


def open_engine(name: str) -> Engine:
    """Return an engine by the name of its file.

    Raises
    ------
    UserError
        If there is none, or it starts processes and this is one of several already.
    """
    if name not in parts("features/engines"):
        raise UserError(f"`--engine` must be one of {', '.join(parts('features/engines'))}, but is `{name}`")
    place, module = read_place(os.environ), load_part("features/engines", name)
    starts_processes = module_traits(module, EngineTraits).starts_processes
    if starts_processes and place is not None:
        raise UserError(f"`--engine {name}` starts processes of its own", remedy="start it without torchrun or srun")
    return Engine(module.run, starts_processes, place is None or place.rank == 0)


def share_out(job: SharedJob, engine: Engine, out: Path, begin: Callable[[], None], finish: Callable[[], None]) -> None:
    """Run a job; the folder is this command's alone meanwhile.

    Parameters
    ----------
    job
        What the processes share.
    engine
        Where they run.
    out
        Folder that is written to.
    begin
        Claims the folder; one process calls it, before any of them works.
    finish
        Called by the same process when all have worked.
    """
    with ExitStack() as held:

        def claim() -> None:
            if engine.leads:
                held.enter_context(locked_folder(out, deep=False))
                clear_partials(out / JOURNALS)
                begin()

        engine.run(job, claim)
        if engine.leads:
            finish()


def collect_ledgers(out: Path) -> ErrorLedger:
    """Return the folder's ledger with what all processes have recorded."""
    ledger = ErrorLedger(out / ERRORS_FILE)
    found = (out / JOURNALS).glob("r*-*")
    names = {path.name.rsplit("-", 1)[0] for path in found if path.name.endswith(("-errors", "-notes"))}
    for path in (out / JOURNALS / f"{name}-errors" for name in sorted(names)):
        part = ErrorLedger(path)
        for row in part.rows():
            ledger.record(row.path, row.reason, **row.more)
        for note in part.notes():
            ledger.note(note.path, note.note, say=False)
    return ledger


def told(clips: int, ledger: ErrorLedger, audio: Path) -> str:
    """Return in words how many clips were used, and where it says what was not.

    Raises
    ------
    UserError
        If no clip was used.
    """
    if not clips:
        why = f"the reasons are in {ledger.path}" if ledger.count else "none of the files is an audio file"
        raise UserError(f"no usable audio: {why}", where=str(audio))
    unusable = f"; {ledger.count} could not be used, see {ledger.path}" if ledger.count else ""
    notes = f"; {ledger.note_count} notes on files, see {ledger.notes_path}" if ledger.note_count else ""
    return f"{clips} clips{unusable}{notes}"
