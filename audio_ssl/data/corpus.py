"""The contract of a corpus file (``corpora/*.py``), and the functions that it may use.

A corpus file has these parts in this order: a docstring (content, size, provenance, layout); the card ``CORPUS``;
``read(root, split, *, left_out)``, which yields clips and reports what it leaves out; and ``fetch(root)``, if a package
client can bring the audio. The idea is that of mirdata (Bittner et al. 2019, "mirdata: Software for Reproducible Usage
of Datasets"). The file is loaded by its path. It imports only this module and ``audio_ssl.data.manifest``.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from audio_ssl.base import catalog
from audio_ssl.base.disk import writing
from audio_ssl.base.documents import parse_object, read_object, read_text, read_yaml
from audio_ssl.base.errors import AudioError, UserError, unknown_name
from audio_ssl.base.files import atomic_folder, atomic_write, locked_folder
from audio_ssl.base.progress import track
from audio_ssl.base.user_file import run_file
from audio_ssl.data import time_columns
from audio_ssl.data.audio import audio_info
from audio_ssl.data.audio.formats import SUFFIXES, suffix_of
from audio_ssl.data.columns import read_value, spellings_note
from audio_ssl.data.corpus_tools import arranging, layout, midi, scores
from audio_ssl.data.corpus_tools.fetch import (
    LEFT_OUT,
    announce,
    apt_available,
    fetch_apt,
    is_made,
    made_clips,
    optional_package,
    read_made,
    write_made,
)
from audio_ssl.data.corpus_tools.layout import (
    Corpus,
    check_split,
    even_split,
    expected,
    first_file,
    hash_draw,
    hash_split,
    named_files,
    require_file,
    require_folder,
    table_files,
    usable_file,
    whole_file,
)
from audio_ssl.data.corpus_tools.synthesis import Espeak, Flite
from audio_ssl.data.corpus_tools.tables import (
    SPLIT_NAMES,
    Rows,
    annotation_rows,
    annotation_text,
    list_lines,
    match_columns,
    split_named,
    table_rows,
)
from audio_ssl.data.corpus_tools.toolkits import (
    common_voice_audio,
    common_voice_gender,
    common_voice_rows,
    cut_row,
    is_lhotse,
)
from audio_ssl.data.ledger import ErrorLedger, LeftOut
from audio_ssl.data.manifest import Clip
from audio_ssl.data.time_columns import notes_column

logger = logging.getLogger(__name__)

__all__ = [
    "SPLIT_NAMES",
    "SUFFIXES",
    "AudioError",
    "Corpus",
    "ErrorLedger",
    "Espeak",
    "Flite",
    "LeftOut",
    "LoadedCorpus",
    "Rows",
    "UserError",
    "annotation_rows",
    "annotation_text",
    "announce",
    "apt_available",
    "arranging",
    "atomic_folder",
    "atomic_write",
    "audio_info",
    "check_split",
    "common_voice_audio",
    "common_voice_gender",
    "common_voice_rows",
    "cut_row",
    "even_split",
    "expected",
    "fetch_apt",
    "first_file",
    "hash_draw",
    "hash_split",
    "is_lhotse",
    "is_made",
    "layout",
    "list_lines",
    "load_corpus",
    "made_clips",
    "match_columns",
    "midi",
    "named_files",
    "notes_column",
    "optional_package",
    "parse_object",
    "read_made",
    "read_object",
    "read_text",
    "read_yaml",
    "require_file",
    "require_folder",
    "scores",
    "split_named",
    "suffix_of",
    "table_files",
    "table_rows",
    "time_columns",
    "track",
    "unknown_name",
    "usable_file",
    "whole_file",
    "write_made",
    "writing",
]  # fmt: skip


@dataclass(frozen=True)
class LoadedCorpus:
    """A corpus file that was loaded and checked."""

    card: Corpus
    reader: Callable[..., Iterable[Clip]]
    """The `read` function of the file: root, split, and the `options` as keywords."""
    fetch: Callable[..., None] | None

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword options of the reader.

        ``columns`` maps fields of the manifest to columns of a table. ``written`` is a folder beside the manifest for
        audio that has no file of its own. All others are texts.
        """
        return tuple(name for name in self._keywords() if name != LEFT_OUT)

    def read(
        self, root: Path, split: str | None = None, *, ledger: ErrorLedger | None = None, **options: Any
    ) -> Iterator[Clip]:
        """Yield the clips of a corpus. Genders become F and M; other words stay as they are.

        Parameters
        ----------
        root
            Folder of the corpus.
        split
            Yield only clips of this split.
        ledger
            Where left-out files are recorded with the reason; the log has their number.
        options
            Keyword options of the reader (`options`).
        """
        left_out = LeftOut(self.card.name, ledger)
        # The corpus file of a user need not report what it leaves out.
        given = {**options, LEFT_OUT: left_out} if LEFT_OUT in self._keywords() else options
        # An absolute root keeps readers from taking a path below the root for one relative to a table.
        yield from read_genders(self.card.name, self.reader(Path(root).absolute(), split, **given))
        left_out.log()

    def _keywords(self) -> tuple[str, ...]:
        parameters = inspect.signature(self.reader).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def load_corpus(name_or_path: str) -> LoadedCorpus:
    """Load a corpus by its name or by the path of its file.

    Raises
    ------
    UserError
        If there is no such corpus, its file fails, or a part of the contract is missing.
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
    """Return `fetch` with a lock, so that two processes never write the same folder."""

    def locked(root: Path, **options: Any) -> None:
        with locked_folder(root):
            fetch(root, **options)

    return locked


def _check_card(card: Corpus, path: Path) -> None:
    for field in ("name", "title", "description", "licence", "citation", "size", "layout"):
        value = getattr(card, field)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"`CORPUS.{field}` must be text and not empty, but is {value!r}", where=str(path))
    if card.name != path.stem:
        raise UserError(f"`CORPUS.name` must be the file's name `{path.stem}`, but is `{card.name}`", where=str(path))
    if not isinstance(card.splits, Mapping) or not card.splits:
        raise UserError("`CORPUS.splits` must describe every split", where=str(path))
    for field in ("languages", "labels", "requires"):
        if not isinstance(getattr(card, field), tuple):
            raise UserError(f"`CORPUS.{field}` must be a tuple of names", where=str(path))


def import_file(path: Path) -> ModuleType:
    """Run a corpus file and return it as a module; UserError as of `run_file`."""
    return run_file(path, "corpus file", "`corpora/folder.py` is a short example")


def read_genders(corpus: str, clips: Iterable[Clip]) -> Iterator[Clip]:
    """Yield clips with normalised genders (`read_value`); at the end the log has the values that were changed.

    Parameters
    ----------
    corpus
        Name of the corpus, for the log.
    clips
        Clips with the genders that the corpus records.
    """
    merged: dict[str, str | None] = {}
    for clip in clips:
        said = clip.gender
        group = None if said is None else read_value("gender", said)
        if said is None or group == said:
            yield clip
            continue
        if said.strip():
            merged[said.strip()] = group
        yield dataclasses.replace(clip, gender=group)
    if note := spellings_note("gender", merged):
        logger.info("%s: spellings merged, %s", corpus, note)
