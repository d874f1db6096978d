"""Manifests: JSON Lines with one clip per line.

A row has ``id, path, start, seconds, sample_rate`` and any of ``text, translation, tags, label, speaker, gender,
language, split``. Other keys are kept and become columns of all predictions for the clip.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from audio_ssl.base.documents import iterate_json_lines, parse_line
from audio_ssl.base.errors import AudioError, UserError, shown
from audio_ssl.base.files import LOCK_FILE, atomic_write
from audio_ssl.base.progress import Progress
from audio_ssl.base.text import composed
from audio_ssl.data.audio import AudioInfo, audio_info
from audio_ssl.data.audio.formats import SUFFIXES, may_be_audio
from audio_ssl.data.ledger import FileLog

LONGEST_SECONDS = 1e9
"""Maximum length of a file in seconds: 31 years."""
_SCAN_THREADS, _SCAN_WINDOW = 4, 256

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Clip:
    """A span of an audio file, and what is known about it.

    Examples
    --------
    >>> Clip("a", "a.wav", 0.0, 1.5, 16000, text="hello").row()["text"]
    'hello'
    """

    id: str
    """Unique within a manifest."""

    path: str
    """The audio file."""

    start: float
    """Start of the span, in seconds from the start of the file."""

    seconds: float
    """Length of the span, in seconds."""

    sample_rate: int
    """Sample rate of the file, in Hz."""

    text: str | None = None
    """Transcript in the spoken language."""

    translation: str | None = None
    """Translation of the transcript."""

    tags: tuple[str, ...] | None = None
    """Labels for multi-label tagging."""

    label: str | None = None
    """Class of the clip, for example the key."""

    speaker: str | None = None
    """Name of the speaker. Statistics are resampled over speakers."""

    gender: str | None = None
    """Gender as recorded by the corpus, never inferred; None if unknown."""

    language: str | None = None
    """ISO 639 code of the spoken language."""

    split: str | None = None
    """``train``, ``valid``, ``test``, or a name of the corpus."""

    extra: Mapping[str, Scalar] = field(default_factory=dict)
    """Other columns; they are keys of the row themselves."""

    def row(self) -> dict[str, Any]:
        """Return the JSON row, without None and with the keys of `extra`."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "extra"}
        row = {k: v for k, v in values.items() if v is not None}
        if self.tags is not None:
            row["tags"] = list(self.tags)
        return {**row, **{k: v for k, v in self.extra.items() if v is not None}}

    @staticmethod
    def from_row(row: Mapping[str, Any], where: str = "$") -> Clip:
        """Return the clip of a JSON row; UserError if a key is missing or has the wrong type."""
        for key, kinds in _REQUIRED.items():
            if key not in row:
                what = f"the key `{key}` is missing; a row needs {', '.join(_REQUIRED)}"
                raise UserError(what, where=where, remedy=_reader_of(row, where))
            if not isinstance(row[key], kinds) or isinstance(row[key], bool):
                raise UserError(f"`{key}` has the wrong type: {shown(row[key])}", where=where)
        if not (math.isfinite(row["start"]) and row["start"] >= 0 and row["seconds"] > 0 and row["sample_rate"] > 0):
            raise UserError("`start` must be at least 0, `seconds` and `sample_rate` above 0", where=where)
        if not row["seconds"] < LONGEST_SECONDS:
            raise UserError(
                "`seconds` must be below 1e9, as no recording is longer",
                where=where,
                remedy="make the manifest again: earlier versions believed headers that give no length",
            )
        if row["sample_rate"] >= _MAX_INT:
            raise UserError(f"`sample_rate` must be a rate in Hz, but is {shown(row['sample_rate'])}", where=where)
        tags = row.get("tags")
        if tags is not None and not (isinstance(tags, list) and all(isinstance(t, str) for t in tags)):
            raise UserError(f"`tags` must be a list of names, but is {shown(tags)}", where=where)
        texts = {k: row.get(k) for k in _TEXTS}
        for key, value in texts.items():
            if value is not None and not isinstance(value, str):
                raise UserError(f"`{key}` must be text, but is {shown(value)}", where=where)
        if texts["speaker"] is not None:
            # Composed letters (NFC), so that a speaker has one name.
            texts["speaker"] = composed(texts["speaker"])
        extra = {k: v for k, v in row.items() if k not in _REQUIRED and k not in _TEXTS and k != "tags"}
        for key, value in extra.items():
            if not isinstance(value, str | int | float | bool | None) or _too_large(value):
                raise UserError(f"`{key}` must be a plain value, but is {shown(value)}", where=where)
        return Clip(
            id=row["id"],
            path=row["path"],
            start=float(row["start"]),
            seconds=float(row["seconds"]),
            sample_rate=row["sample_rate"],
            tags=None if tags is None else tuple(tags),
            extra=extra,
            **texts,
        )


_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "path": str,
    "start": (int, float),
    "seconds": (int, float),
    "sample_rate": int,
}
_MAX_INT = 1 << 63
_TEXTS = ("text", "translation", "label", "speaker", "gender", "language", "split")


def _too_large(value: Scalar) -> bool:
    # Tables of predictions have integers of 64 bits.
    return isinstance(value, int) and abs(value) >= _MAX_INT


def read_manifest(path: Path) -> list[Clip]:
    """Read a manifest. Relative audio paths are relative to the folder of the manifest.

    Raises
    ------
    UserError
        For a missing or empty file, an invalid row (with its line number) or an id that appears twice.
    """
    clips: list[Clip] = []
    first_line: dict[str, int] = {}
    for number, clip in _numbered(path):
        if clip.id in first_line:
            raise UserError(
                f"the id `{clip.id}` is already used in line {first_line[clip.id]}", where=f"{path}:{number}"
            )
        first_line[clip.id] = number
        clips.append(clip)
    if not clips:
        raise UserError("the manifest has no clips", where=str(path))
    return clips


def iterate_manifest(path: Path) -> Iterator[Clip]:
    """Yield the clips of a manifest of any length. Ids that appear twice are not detected."""
    return (clip for _, clip in _numbered(path))


def check_there(path: Path) -> None:
    """Raise UserError if there is no such manifest."""
    if not path.is_file():
        raise UserError(
            "no such manifest", where=str(path), remedy="make one with `audio-ssl manifest SOURCE --out M.jsonl`"
        )


def parse_row(line: str, path: Path, number: int) -> Clip:
    """Return the clip of one line of a manifest. A relative audio path is relative to the folder of the manifest.

    Raises
    ------
    UserError
        If the line is not a valid row; the message has the line number.
    """
    return _clip(parse_line(line, path, number), path, number)


def _clip(row: dict[str, Any], path: Path, number: int) -> Clip:
    audio = row.get("path")
    if isinstance(audio, str):
        row["path"] = os.path.join(path.parent, audio)
    return Clip.from_row(row, f"{path}:{number}")


def _numbered(path: Path) -> Iterator[tuple[int, Clip]]:
    """Yield clips with their line numbers."""
    check_there(path)
    for number, row in iterate_json_lines(path):
        yield number, _clip(row, path, number)


def write_manifest(path: Path, clips: Iterable[Clip]) -> int:
    """Write a manifest atomically, with absolute paths; return the number of clips."""
    count = 0
    with atomic_write(path) as partial, partial.open("w", encoding="ascii") as file:
        for clip in clips:
            row = {**clip.row(), "path": os.path.abspath(clip.path)}
            # ASCII-only JSON keeps file names that are not UTF-8, as escaped surrogates.
            file.write(json.dumps(row, ensure_ascii=True) + "\n")
            count += 1
    return count


def scan_folder(root: Path, ledger: FileLog, max_seconds: float | None = None) -> list[Clip]:
    """Return the clips of all audio files below `root`, sorted by path.

    Parameters
    ----------
    root
        Folder, or one file. Links to files are followed. Links to folders are not, as they may form loops.
    ledger
        Where unusable files are recorded with the reason, and notes on other files.
    max_seconds
        Cut longer files into rows of equal length up to this length. Their ids end in ``#000``, ``#001`` ...

    Raises
    ------
    UserError
        If there is no such folder.
    """
    if not root.exists():
        raise UserError("no such file or folder", where=str(root))
    clips: list[Clip] = []
    pool = ThreadPoolExecutor(_SCAN_THREADS)
    try:
        paths = audio_files(root, ledger)
        with Progress("scan") as progress:
            # In windows, as the pool would list a whole folder at once.
            while window := list(islice(paths, _SCAN_WINDOW)):
                for path, info, notes in pool.map(_look_at, window):
                    progress.advance()
                    if isinstance(info, AudioError):
                        ledger.record(path, info.reason)
                        continue
                    for text in notes:
                        ledger.note(path, text)
                    name = path.name if path == root else path.relative_to(root).as_posix()
                    clips.extend(_cut(name, path, info.seconds, info.sample_rate, max_seconds))
    finally:
        pool.shutdown(cancel_futures=True)
    return clips


def _look_at(path: Path) -> tuple[Path, AudioInfo | AudioError, list[str]]:
    """Return errors and notes as results, so that one thread writes them in the order of the files."""
    notes: list[str] = []
    try:
        return path, audio_info(path, lambda _, text: notes.append(text), look_at_channels=True), notes
    except AudioError as error:
        return path, error, []


def audio_files(root: Path, ledger: FileLog) -> Iterator[Path]:
    """Yield the audio files below `root`, sorted. Audio is recognised by the suffix, else by the first bytes.

    Parameters
    ----------
    root
        Folder, or one file.
    ledger
        Where folders that cannot be read are recorded, and the number of other files by suffix.
    """
    if root.is_file():
        yield root
        return

    def refuse(error: OSError) -> None:
        ledger.record(error.filename or str(root), f"folder cannot be read: {error.strerror}")

    others: Counter[str] = Counter()
    for folder, subfolders, files in os.walk(root, onerror=refuse):
        subfolders.sort()
        for name in sorted(files + [s for s in subfolders if Path(s).suffix.lower() in SUFFIXES]):
            # ".partial-" files are unfinished files of ours, and "._" files are remains of archives.
            # Lock files have a dot as well; one is there while a manifest is written into the folder.
            ours = name.startswith((".partial-", "._")) or (name.startswith(".") and name.endswith(LOCK_FILE))
            if ours or (name.startswith(".") and Path(name).suffix == ""):
                continue
            path = Path(folder, name)
            if may_be_audio(path):
                yield path
            else:
                others[path.suffix.lower()] += 1
    ledger.passed_over(root, others)


def _reader_of(row: Mapping[str, Any], where: str) -> str | None:
    """Return the command that reads manifests of another toolkit; None if the row is of no known toolkit."""
    reader = "nemo" if "audio_filepath" in row else "lhotse" if "recording" in row else None
    file = shlex.quote(where.rpartition(":")[0])
    return (
        None if reader is None else f"`audio-ssl manifest {reader} --root {file} --out M.jsonl` makes a manifest of it"
    )


def hash_manifest(path: Path) -> str:
    """Return the first 16 hex digits of the SHA-256 of a manifest's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _cut(name: str, path: Path, seconds: float, sample_rate: int, max_seconds: float | None) -> Iterator[Clip]:
    pieces = 1 if max_seconds is None else max(1, math.ceil(seconds / max_seconds - 1e-9))
    if pieces == 1:
        yield Clip(name, str(path), 0.0, seconds, sample_rate)
        return
    for piece in range(pieces):
        yield Clip(f"{name}#{piece:03d}", str(path), piece * seconds / pieces, seconds / pieces, sample_rate)
