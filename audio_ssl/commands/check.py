"""The `check` command: whether runs, features, stores, results, predictions, models and manifests are what was written.

Every file is read. A file with a record (``files.json``, ``index.jsonl``) is compared with it; any other is checked as
far as its format allows. Nothing is changed: the command that repairs the damage is printed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from audio_ssl.artifacts.clip_predictions import PREDICTED_FILE
from audio_ssl.artifacts.features import EXTRACTION_FILE, INDEX_FILE, STORE, read_extraction, read_index
from audio_ssl.artifacts.prediction_record import PREDICTION_FILE, read_prediction_record
from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.result import BASELINES, QUESTION_FILE, SCORES_FILE, ResultOrigin, is_result, read_origin
from audio_ssl.artifacts.run import (
    METRICS_FILE,
    PROVENANCE_FILE,
    checkpoint_step,
    is_marked_finished,
    iteration_number,
    state_folders,
)
from audio_ssl.base.checksums import SEALS_FILE, Seal, read_seals
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.files import LOCK_FILE, PARTIAL
from audio_ssl.base.progress import track
from audio_ssl.commands.findings import Finding
from audio_ssl.data.manifest import iterate_manifest
from audio_ssl.data.store import META_FILE, read_ids
from audio_ssl.models.weights import MODEL_FILES
from audio_ssl.pretrain.checkpoint import STATE_FILE, checkpoints
from audio_ssl.shipped import Shelf
from audio_ssl.shipped.facts import FACTS_FILE

T = TypeVar("T")

_OF_OTHERS = frozenset(("tensorboard", "wandb", "profile"))
"""Folders below a run that other programs write."""

_ASIDE = (".", "damaged_")
"""How the names of folders begin that are no part of an artifact."""

_OF_FEATURES = (".safetensors", ".npy", ".parquet")

_TOLERANCE_SECONDS = 0.05
_THREADS = 8


def check(paths: Sequence[Path]) -> Iterator[Finding]:
    """Check artifacts and all that lie below them, one after the other.

    Raises
    ------
    UserError
        If a path is not there or holds nothing that is known.
    """
    for path in paths:
        if not path.exists():
            raise UserError("no such file or folder", where=str(path))
        if path.is_file():
            yield _check_file(path)
            continue
        found = False
        for folder, kind in _artifacts(path):
            found = True
            yield _KINDS[kind](folder)
        if not found:
            raise UserError(
                "holds no run, features, target store, result, predictions, model or study",
                where=str(path),
                remedy="give such a folder, or a manifest (.jsonl)",
            )


def _artifacts(root: Path) -> Iterator[tuple[Path, str]]:
    for name, below, _ in os.walk(root):
        folder = Path(name)
        kind = _kind(folder)
        below[:] = sorted(one for one in below if one not in _OF_OTHERS and not one.startswith(_ASIDE))
        if kind in ("features", "store", "checkpoint"):
            below.clear()
        if kind is not None:
            yield folder, kind


def _kind(folder: Path) -> str | None:
    def has(*names: str) -> bool:
        return any((folder / name).is_file() for name in names)

    if has(INDEX_FILE, EXTRACTION_FILE):
        return "features"
    if has(META_FILE):
        return "store"
    if checkpoint_step(folder) is not None and has(STATE_FILE, *MODEL_FILES):
        return "checkpoint"
    if has(PREDICTION_FILE):
        return "predictions"
    if has(SCORES_FILE, QUESTION_FILE):
        return "result"
    if has("study.yaml"):
        return "study"
    if has(PROVENANCE_FILE, METRICS_FILE) and has(RECIPE_FILE, PROVENANCE_FILE):
        return "run"
    return "model" if has("config.json") and has("model.safetensors", SEALS_FILE) else None


def _own_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of an artifact, without those of the artifacts in it."""
    for name, below, files in os.walk(folder):
        inside = Path(name)
        below[:] = sorted(
            one for one in below if one not in _OF_OTHERS and not one.startswith(_ASIDE) and not _kind(inside / one)
        )
        for file in sorted(files):
            if file != LOCK_FILE and not file.startswith(PARTIAL):
                yield (inside / file).relative_to(folder).as_posix(), inside / file


def _check_folder(folder: Path, kind: str, needed: Sequence[str] = ()) -> Finding:
    found = Finding(folder, kind)
    try:
        seals = read_seals(folder)
    except UserError as error:
        found.damaged[SEALS_FILE] = error.what
        seals = {}
    present = dict(_own_files(folder))
    for name in dict.fromkeys([*needed, *seals, *present]):
        if name not in found.damaged:
            found.look(name, present.get(name, folder / name), seals.get(name))
    if not seals and kind != "checkpoint":
        found.notes.append("made before contents were recorded, so only lengths and formats could be checked")
    return found


def _run(folder: Path) -> Finding:
    finished = _quietly(lambda: is_marked_finished(folder), False)
    found = _check_folder(folder, "run", MODEL_FILES if finished else ())
    whole = _whole_run(folder)
    again = f"audio-ssl pretrain {_word(whole / RECIPE_FILE)}"
    if not finished:
        found.notes = [f"not finished: {again} --resume --out {_word(whole)}"]
    if RECIPE_FILE in found.damaged:
        found.mend = "nothing of the run says what was in recipe.yaml; write it again, or begin a new run"
    elif any(checkpoints(state) for state in state_folders(whole)):
        found.mend = f"{again} --resume --out {_word(whole)}"
    else:
        # There is no checkpoint to go on from.
        found.mend = f"{again} --out {_word(whole.with_name(f'{whole.name}_again'))}"
    return found


def _whole_run(folder: Path) -> Path:
    """Return the run that an iteration is a part of, which alone has a recipe; of anything else the folder itself."""
    part = iteration_number(folder) is not None and not (folder / RECIPE_FILE).is_file()
    return folder.parent if part else folder


def _checkpoint(folder: Path) -> Finding:
    found = _check_folder(folder, "checkpoint", ("model.safetensors", "optimizer.safetensors", STATE_FILE))
    run = _whole_run(folder.parent.parent)
    again = f"audio-ssl pretrain {_word(run / RECIPE_FILE)} --resume --out {_word(run)}"
    found.mend = f"rm -r {_word(folder)} && {again}"
    return found


def _result(folder: Path) -> Finding:
    below = folder.parent.name == BASELINES
    found = _check_folder(folder, "result", () if below else (QUESTION_FILE,))
    home = folder.parent.parent if below else folder
    if not is_result(folder) and not found.damaged:
        found.notes = ["not finished"]
    command = _quietly(lambda: read_origin(home), ResultOrigin()).command
    again = command if isinstance(command, str) else shlex.join(command)
    found.mend = again or "run the same probe into this folder again"
    return found


def _study(folder: Path) -> Finding:
    found = _check_folder(folder, "study")
    found.notes = []
    found.mend = f"audio-ssl study {_word(folder / 'study.yaml')} --out {_word(folder)}"
    return found


def _model(folder: Path) -> Finding:
    found = _check_folder(folder, "model", MODEL_FILES)
    found.mend = "save or export it again from what it was made of"
    if (folder / FACTS_FILE).is_file():
        found.mend = Shelf(folder.parent).mend(folder.name)
    return found


def _predictions(folder: Path) -> Finding:
    found = _check_folder(folder, "predictions", (PREDICTION_FILE,))
    usual = "the same audio-ssl predict as before"
    begun = _quietly(lambda: read_prediction_record(folder), None)
    again = begun.command or usual if begun is not None else usual
    if not (folder / PREDICTED_FILE).is_file():
        found.notes = [f"not finished: {again}"]
    found.mend = _without(folder, found, PREDICTED_FILE, again)
    return found


def _store(folder: Path) -> Finding:
    found = _check_folder(folder, "store", (META_FILE,))
    again = "run the command that made it again"
    if (folder / RECIPE_FILE).is_file():
        again = f"audio-ssl targets {_word(folder / RECIPE_FILE)} --out {_word(folder)}"
    found.mend = _without(folder, found, ".safetensors", again)
    return found


def _features(folder: Path) -> Finding:
    begun = _quietly(lambda: read_extraction(folder), None)
    found = Finding(folder, "features" if begun is None or begun.codes is None else "units")
    again = (begun and begun.command) or "the same audio-ssl extract as before"
    if not (folder / INDEX_FILE).is_file():
        found.notes.append(f"not finished: {again}")
    else:
        # Beside the index, units have their code book and their tables there.
        seals = _seals(folder)
        for name in dict.fromkeys((INDEX_FILE, *seals)):
            found.look(name, folder / name, seals.get(name))
        if INDEX_FILE not in found.damaged:
            _read_index(folder, found)
    for name in (EXTRACTION_FILE, f"{STORE}/{META_FILE}"):
        if (folder / name).is_file():
            found.look(name, folder / name)
    found.mend = _without(folder, found, "", again)
    return found


def _read_index(folder: Path, found: Finding) -> None:
    """Check every file that the index names, and that the shards hold the clips it names."""
    wanted: dict[str, set[str]] = {}
    told: dict[str, Seal | None] = {}
    try:
        for row in read_index(folder):
            told[row.file] = row.seal
            if row.file.endswith(".safetensors"):
                wanted.setdefault(row.file, set()).add(row.id)
    except UserError as error:
        found.damaged[INDEX_FILE] = error.what
        return
    for file, one in told.items():
        found.look(file, folder / file, one)
        if file in wanted and file not in found.damaged:
            lacking = wanted[file] - set(read_ids(folder / file))
            if lacking:
                found.damaged[file] = f"lacks {len(lacking):,} clips of the index"
    _compare_records(folder / STORE, told, found)
    files = {path.relative_to(folder).as_posix() for suffix in _OF_FEATURES for path in folder.rglob(f"[!.]*{suffix}")}
    files -= _seals(folder).keys()
    if not told and files:
        found.damaged[INDEX_FILE] = f"names no clip, and there are {len(files):,} files of features"
    elif rest := files - set(told):
        found.notes.append(f"{len(rest):,} files of features that the index does not name")
    if any(one is None for one in told.values()):
        found.notes.append("made before contents were recorded, so only lengths and formats could be checked")


def _seals(folder: Path) -> dict[str, Seal]:
    """Return the recorded files; none where the record is damaged."""
    return _quietly(lambda: read_seals(folder), dict[str, Seal]())


def _compare_records(store: Path, told: Mapping[str, Seal | None], found: Finding) -> None:
    """Hold a store's own record to that of the index."""
    try:
        seals = read_seals(store)
    except UserError as error:
        found.damaged[f"{store.name}/{SEALS_FILE}"] = error.what
        return
    for name, one in seals.items():
        if (other := told.get(f"{store.name}/{name}")) is not None and other != one:
            found.damaged[f"{store.name}/{SEALS_FILE}"] = f"tells another content of {name} than the index"
        elif not (store / name).exists():
            found.damaged[f"{store.name}/{name}"] = f"is missing, and {SEALS_FILE} names it"


def _check_file(path: Path) -> Finding:
    if path.suffix == ".jsonl":
        return _manifest(path)
    found = Finding(path, "file")
    found.look(path.name, path)
    found.mend = "run the command that wrote it again"
    return found


def _manifest(path: Path) -> Finding:
    """Check rows, and that every file is there and as long as the rows say; the audio is not decoded."""
    from audio_ssl.data.audio import audio_info

    found = Finding(path, "manifest", 1, path.stat().st_size, mend="make the manifest again from its folder or corpus")
    lengths: dict[str, float] = {}

    def look(file: str) -> tuple[str, float | str]:
        try:
            return file, audio_info(file).seconds
        except (AudioError, OSError) as error:
            return file, f"cannot be used: {error}"

    try:
        files = list(dict.fromkeys(clip.path for clip in iterate_manifest(path)))
        with ThreadPoolExecutor(_THREADS) as pool:
            for file, said in track(pool.map(look, files), "audio files", len(files)):
                if isinstance(said, str):
                    found.damaged[file] = said
                else:
                    lengths[file] = said
        for clip in iterate_manifest(path):
            if clip.path in lengths and clip.start + clip.seconds > lengths[clip.path] + _TOLERANCE_SECONDS:
                found.damaged[f"{clip.path} (clip {clip.id})"] = (
                    f"ends after {lengths[clip.path]:.2f} s, and the row wants audio up to "
                    f"{clip.start + clip.seconds:.2f} s"
                )
    except UserError as error:
        found.damaged[path.name] = error.what
    found.notes.append(f"{len(lengths):,} audio files are there and long enough")
    return found


def _without(folder: Path, found: Finding, suffix: str, again: str) -> str:
    """Return the command that makes the damaged files again: they are removed first, so that they count as missing."""
    gone = [name for name, wrong in found.damaged.items() if name.endswith(suffix) and wrong != "is missing"]
    if not gone:
        return again
    names = " ".join(_word(folder / name) for name in gone[:5]) + (" …" if len(gone) > 5 else "")
    return f"rm {names} && {again}"


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _quietly(read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except UserError:
        return otherwise


_KINDS: dict[str, Callable[[Path], Finding]] = {
    "run": _run,
    "checkpoint": _checkpoint,
    "result": _result,
    "study": _study,
    "model": _model,
    "store": _store,
    "features": _features,
    "predictions": _predictions,
}
