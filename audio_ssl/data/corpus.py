"""What a ``corpora/*.py`` file provides, and what it may lean on.

A corpus is one file with the same parts in the same order: a docstring (what, size, provenance, layout), the card
``CORPUS``, ``read(root, split, *, left_out)`` which yields clips and names what it leaves out, and, where packages
allow it, ``fetch(root)``. The idea is mirdata's (Bittner et al. 2019, "mirdata: Software for Reproducible Usage of
Datasets"). The file is loaded by its path, and imports only this module and ``audio_ssl.data.manifest``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_ssl import catalog
from audio_ssl.atomic import atomic_folder, atomic_write, write_json
from audio_ssl.data import arranging, harmony, midi, pieces, soundfont, tunes
from audio_ssl.data.annotations import annotation_rows, annotation_text, list_lines
from audio_ssl.data.audio import SUFFIXES, audio_info
from audio_ssl.data.common_voice import common_voice_audio, common_voice_gender, common_voice_rows
from audio_ssl.data.espeak import Espeak
from audio_ssl.data.fetch import apt_available, fetch_apt
from audio_ssl.data.flite import Flite
from audio_ssl.data.formats import suffix_of
from audio_ssl.data.import_file import import_file
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.lhotse import cut_row, is_lhotse
from audio_ssl.data.manifest import Clip
from audio_ssl.data.notes import notes_column
from audio_ssl.data.reading import LeftOut, read_genders
from audio_ssl.data.rows import SPLIT_NAMES, Rows, match_columns, split_named, table_rows
from audio_ssl.data.splits import even_split, hash_split
from audio_ssl.disk import writing
from audio_ssl.documents import advised, as_object, find, parse_object, read_object, read_text, read_yaml
from audio_ssl.errors import AudioError, UserError, unknown_name
from audio_ssl.lock import locked_folder
from audio_ssl.progress import track

__all__ = [
    "SPLIT_NAMES", "SUFFIXES", "AudioError", "Corpus", "ErrorLedger", "Espeak", "Flite", "LeftOut", "LoadedCorpus",
    "Rows", "UserError", "annotation_rows", "annotation_text", "announce", "apt_available", "arranging",
    "atomic_folder", "atomic_write", "audio_info", "check_split", "common_voice_audio", "common_voice_gender",
    "common_voice_rows", "cut_row", "even_split", "expected", "fetch_apt", "first_file", "harmony", "hash_split",
    "is_lhotse", "is_made", "list_lines", "load_corpus", "made_clips", "match_columns", "midi", "named_files",
    "notes_column", "optional_package", "parse_object", "pieces", "read_made", "read_object", "read_text",
    "read_yaml", "require_file", "require_folder", "soundfont", "split_named", "suffix_of", "table_files",
    "table_rows", "track", "tunes", "unknown_name", "usable_file", "whole_file", "write_made", "writing",
]  # fmt: skip

logger = logging.getLogger(__name__)

_MADE, _LEFT_OUT = "labels.json", "left_out"
_MAX_MADE_BYTES = 1 << 30


@dataclass(frozen=True)
class Corpus:
    """The card of a corpus: what one must know before using it."""

    name: str
    """The file's name, without ``.py``."""

    title: str
    """What people call it."""

    description: str
    """What is in it, what it is good for, and what to beware of."""

    licence: str
    """SPDX names where there are any."""

    citation: str
    """Whom to credit, and where it comes from."""

    size: str
    """Download, clips and minutes, as measured."""

    layout: str
    """Where files lie below the root."""

    splits: Mapping[str, str]
    """Name of each split, and how it is cut."""

    languages: tuple[str, ...] = ()
    """ISO 639 codes of what is spoken."""

    labels: tuple[str, ...] = ()
    """Manifest columns that are filled, the corpus's own included."""

    made: bool = False
    """Its sound is rendered or synthesised by `fetch`."""

    requires: tuple[str, ...] = ()
    """What `fetch` or `read` needs besides this package: ``apt``, ``pip:NAME``."""


@dataclass(frozen=True)
class LoadedCorpus:
    """A corpus file, loaded and checked."""

    card: Corpus
    reader: Callable[..., Iterable[Clip]]
    """The file's own `read`, of root and split; options by keyword: see `options`."""
    fetch: Callable[..., None] | None

    @property
    def options(self) -> tuple[str, ...]:
        """Names of what the user may give the reader, by keyword.

        ``columns`` is manifest name -> the corpus's column, ``written`` a folder beside the manifest for audio that
        lies in no file; others are texts.
        """
        return tuple(name for name in self._keywords() if name != _LEFT_OUT)

    def read(
        self, root: Path, split: str | None = None, *, ledger: ErrorLedger | None = None, **options: Any
    ) -> Iterator[Clip]:
        """Yield the clips below a root; genders are read as F, M, or the corpus's own word.

        Parameters
        ----------
        root
            The corpus's folder.
        split
            Only this one.
        ledger
            Gets what is left out, by name and with the reason; the log says how many.
        options
            See `options`.
        """
        left_out = LeftOut(self.card.name, ledger)
        # Files of people's own need not name what they leave out.
        given = {**options, _LEFT_OUT: left_out} if _LEFT_OUT in self._keywords() else options
        # Absolute, so that no reader can take a path below the root for one below the table that names it.
        yield from read_genders(self.card.name, self.reader(Path(root).absolute(), split, **given))
        left_out.log()

    def _keywords(self) -> tuple[str, ...]:
        parameters = inspect.signature(self.reader).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def load_corpus(name_or_path: str) -> LoadedCorpus:
    """Load a corpus by name, or by the path of its file.

    Raises
    ------
    UserError
        If there is no such corpus, its file cannot be run, or a part of the contract is missing.
    """
    path = catalog.find("corpora", name_or_path)
    module, where = import_file(path), str(path)
    card = getattr(module, "CORPUS", None)
    if not isinstance(card, Corpus):
        raise UserError("the file must define `CORPUS`, an audio_ssl.data.corpus.Corpus", where=where)
    _check_card(card, path)
    read, fetch = getattr(module, "read", None), getattr(module, "fetch", None)
    if not callable(read):
        raise UserError("the file must define `read(root, split)`, which yields clips", where=where)
    if fetch is not None and not callable(fetch):
        raise UserError("`fetch` must be a function of the root", where=where)
    return LoadedCorpus(card, read, None if fetch is None else _one_at_a_time(fetch))


def _one_at_a_time(fetch: Callable[..., None]) -> Callable[..., None]:
    """Return a way to fetch a corpus that no two processes go into one folder with."""

    def locked(root: Path, **options: Any) -> None:
        with locked_folder(root):
            fetch(root, **options)

    return locked


def announce(card: Corpus, root: Path) -> None:
    """Say what is about to be fetched or made, how big it is, and under which licence."""
    logger.info("%s: %s", card.title, card.size)
    logger.info("licence: %s", card.licence)
    logger.info("into: %s", root)


def check_split(card: Corpus, split: str | None) -> None:
    """Raise UserError unless `split` is None or one of the card's splits."""
    if split is not None and split not in card.splits:
        raise unknown_name("split", split, card.splits, where=f"corpus {card.name}")


def expected(card: Corpus, where: Path, what: str, part: str = "") -> UserError:
    """Return the error for a corpus, or a `part` of it (``a table of``), that is not where it should be."""
    named = f"{part} {card.title}" if part else card.title
    return UserError(f"{named} was expected here, but {what}", where=str(where), remedy=f"layout: {card.layout}")


def first_file(*paths: Path) -> Path:
    """Return the first of some paths that is a file; where none is, the first, which an error then names."""
    return next((path for path in paths if path.is_file()), paths[0])


def require_folder(path: Path, card: Corpus, can_fetch: bool | None = None) -> Path:
    """Return `path`, or raise a UserError that says what was expected there.

    Parameters
    ----------
    path, card
        The folder, and the corpus whose it is.
    can_fetch
        Whether the corpus can be fetched; None: the card says, by `made` and `requires`.
    """
    if path.is_dir():
        return path
    can_fetch = card.made or "apt" in card.requires if can_fetch is None else can_fetch
    fetch = f"`audio-ssl manifest {card.name} --fetch --out {card.name}.jsonl` fetches it; " if can_fetch else ""
    raise UserError(
        f"{card.title} was expected here, but there is no such folder",
        where=str(path),
        remedy=f"{fetch}layout: {card.layout}",
    )


def require_file(path: Path, card: Corpus, what: str | None = None) -> Path:
    """Return `path`, or raise a UserError that says which file was expected there, and `what` more there is to know."""
    if path.is_file():
        return path
    raise UserError(
        f"{card.title} was expected here, but `{path.name}` is missing",
        where=str(path),
        remedy=what or f"layout: {card.layout}",
    )


def table_files(root: Path, suffixes: Sequence[str], card: Corpus, kinds: str) -> list[Path]:
    """Return the tables at `root`, which is one itself or a folder of some; UserError, which names `kinds`, if none."""
    files = [root] if root.is_file() else sorted(p for p in root.glob("*") if p.suffix.lower() in suffixes)
    if not files:
        raise UserError(
            f"{card.title}: a {kinds} file is needed here, or a folder that has one",
            where=str(root),
            remedy=f"layout: {card.layout}",
        )
    return files


def named_files(
    paths: Iterable[Path],
    name: re.Pattern[str],
    card: Corpus,
    folder: Path,
    example: str,
    left_out: LeftOut | None = None,
) -> list[tuple[Path, re.Match[str]]]:
    """Return the files whose names say what they are, with what they say; UserError if there is none."""
    named: list[tuple[Path, re.Match[str]]] = []
    for path in paths:
        if match := name.match(path.stem):
            named.append((path, match))
        elif left_out is not None:
            left_out.add(path, f"the name is not like {example}")
    if not named:
        raise expected(card, folder, f"no file is named like {example}")
    return named


def whole_file(path: Path, clip_id: str) -> Clip:
    """Return the clip that spans a whole file, without labels; AudioError if it cannot be used."""
    info = audio_info(path)
    return Clip(clip_id, str(path), 0.0, info.seconds, info.sample_rate)


def usable_file(path: Path, clip_id: str, left_out: LeftOut) -> Clip | None:
    """Return the clip that spans a whole file, without labels; None, and named in `left_out`, if it cannot be used."""
    try:
        return whole_file(path, clip_id)
    except AudioError as error:
        left_out.add(path, error.reason)
        return None


def is_made(root: Path, wanted: int) -> bool:
    """Return whether a corpus that is made rather than downloaded is finished below `root`, with `wanted` clips."""
    path = root / _MADE
    try:
        before = find(read_object(path, _MAX_MADE_BYTES), "wanted", int, str(path)) if path.is_file() else -1
    except UserError as error:
        logger.warning("%s; the corpus is made again", error)
        return False
    if before > wanted:
        logger.warning("%s: asked for %d clips before, now for %d; the audio of the others stays", path, before, wanted)
    return before == wanted


def write_made(root: Path, wanted: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the labels of a corpus that was made; that they are there says that it is finished.

    Parameters
    ----------
    root
        The corpus's folder.
    wanted
        How many clips were asked for.
    rows
        What `read_made` gives back.
    """
    write_json(root / _MADE, {"wanted": wanted, "clips": rows})


def read_made(root: Path, card: Corpus) -> list[dict[str, Any]]:
    """Return the rows that `write_made` wrote.

    Raises
    ------
    UserError
        If `root` is missing or the corpus was not finished.
    """
    path = require_folder(root, card) / _MADE
    if not path.is_file():
        raise UserError(
            f"{card.title} was not finished here: `{_MADE}` is missing",
            where=str(root),
            remedy=f"`audio-ssl manifest {card.name} --fetch --out {card.name}.jsonl` goes on",
        )
    again = f"delete it and make the corpus again: audio-ssl manifest {card.name} --fetch --out {card.name}.jsonl"
    with advised(again):
        rows = find(read_object(path, _MAX_MADE_BYTES), "clips", list, str(path))
        return [as_object(row, str(path)) for row in rows]


def made_clips(root: Path, card: Corpus, split: str | None, left_out: LeftOut) -> Iterator[tuple[Clip, dict[str, Any]]]:
    """Yield the clips of `read_made`, which lie in ``audio/NAME.flac``, with their rows; damaged ones are left out."""
    check_split(card, split)
    for row in read_made(root, card):
        if split not in (None, row["split"]):
            continue
        path = root / "audio" / f"{row['name']}.flac"
        if (clip := usable_file(path, row["name"], left_out)) is not None:
            yield dataclasses.replace(clip, split=row["split"]), row


def optional_package(package: str, card: Corpus, pip: str | None = None) -> Any:
    """Import a third-party package that only some corpora need.

    Raises
    ------
    UserError
        If it is not installed; the text has the pip command (`pip`, where it is an unusual one).
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the corpus `{card.name}` needs the package {package}", remedy=pip or catalog.install_hint(package)
        ) from error


def _check_card(card: Corpus, path: Path) -> None:
    for field in ("name", "title", "description", "licence", "citation", "size", "layout"):
        value = getattr(card, field)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"`CORPUS.{field}` must be text and not empty, but is {value!r}", where=str(path))
    if card.name != path.stem:
        raise UserError(f"`CORPUS.name` must be the file's name `{path.stem}`, but is `{card.name}`", where=str(path))
    if not isinstance(card.splits, Mapping) or not card.splits:
        raise UserError("`CORPUS.splits` must say how each split is cut", where=str(path))
    for field in ("languages", "labels", "requires"):
        if not isinstance(getattr(card, field), tuple):
            raise UserError(f"`CORPUS.{field}` must be a tuple of names", where=str(path))
