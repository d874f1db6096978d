"""The `units` stage: a folder of audio to discrete codes with their times, resumable, as extraction is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audio_ssl.artifacts.features import EXTRACTION_FILE
from audio_ssl.artifacts.records import read_record
from audio_ssl.artifacts.unit_records import (
    TABLE_LINES,
    TABLE_PARQUET,
    UNITS_FILE,
    FitRecord,
    UnitsRecord,
    write_units_record,
)
from audio_ssl.base.checksums import write_seals
from audio_ssl.base.errors import UserError
from audio_ssl.features.carry_out import carry_out
from audio_ssl.features.index import Done
from audio_ssl.features.sharing import open_engine
from audio_ssl.features.source import FeatureSource
from audio_ssl.targets.code_books import CODE_BOOK_FILE, CodeBook, read_code_book
from audio_ssl.units.fit import fit_code_book
from audio_ssl.units.job import UnitJob, check_book
from audio_ssl.units.settings import read_unit_settings
from audio_ssl.units.sources import TeacherSource, open_units, teacher_name
from audio_ssl.units.tables import write_tables

USUAL_CLUSTERS = 100
_AGAIN = "delete the file, and run the command again"


def make_units(
    audio: Path,
    model: str,
    out: Path,
    *,
    layer: int | None = None,
    clusters: int | None = None,
    code_book: Path | None = None,
    merge: bool = False,
    workers: int = 0,
    engine: str = "local",
    overrides: Sequence[str] = (),
) -> Path:
    """Write the units of every usable clip.

    Parameters
    ----------
    audio
        Folder, audio file or manifest (``.jsonl``).
    model
        What `open_units` takes: a model, a baseline, or a teacher that gives codes.
    out
        Folder of the units, of ``index.jsonl`` and of ``errors.jsonl``. A stopped command is continued.
    layer
        Hidden state that is coded; None: that of the code book, or the only one. A teacher has none.
    clusters
        Codes of a book that is fitted; None: 100.
    code_book
        What `read_code_book` takes; None: one is fitted.
    merge
        Whether frames in a row with equal codes become one unit.
    workers
        Threads that decode; 0: a few.
    engine
        ``local``: this process, or those of torchrun or srun; ``ray``: workers on a Ray cluster.
    overrides
        ``key=value`` of `UnitSettings`.

    Raises
    ------
    UserError
        If options do not fit, the code book is of another layer, the folder holds something else, or no file can be
        used.
    """
    settings = read_unit_settings(overrides, workers)
    chosen_engine = open_engine(engine)
    if not audio.exists():
        raise UserError("no such file or folder", where=str(audio))
    if clusters is not None and code_book is not None:
        raise UserError("`--clusters` and `--codebook` cannot be combined", remedy="give one of them")
    if clusters is not None and not 1 <= clusters <= settings.fit.frames:
        raise UserError(f"`--clusters` must be 1 to {settings.fit.frames:,} (`fit.frames`), but is {clusters}")
    if teacher_name(model) is not None and (layer is not None or clusters is not None or code_book is not None):
        raise UserError(
            f"`--layer`, `--clusters` and `--codebook` cannot be given: {model} has codes of its own",
            remedy="leave them out",
        )
    source = open_units(model)
    given = None if code_book is None else read_code_book(code_book)
    chosen = _layer(source, layer, given)
    where = None if code_book is None else str(code_book)
    if given is not None and chosen is not None and where is not None:
        check_book(given, source, chosen, where)
    told = None if given is None else given.fingerprint
    job = UnitJob(str(audio), model, str(out), chosen, clusters or USUAL_CLUSTERS, where, told, merge, settings)
    stage = _Stage(job, source, given)
    carry_out(job, source, chosen_engine, stage.before, stage.after)
    return out


def _layer(source: FeatureSource, layer: int | None, given: CodeBook | None) -> int | None:
    """Return the layer that is coded; None of a teacher."""
    if isinstance(source, TeacherSource):
        return None
    if layer is None:
        layer = 0 if source.num_layers == 1 else None if given is None else given.layer
    if layer is None:
        raise UserError(
            f"`--layer` must be given: {source.name} has the layers 0 to {source.num_layers - 1}",
            remedy="for example --layer 6, as HuBERT's second iteration and GSLM do",
        )
    if not -source.num_layers <= layer < source.num_layers:
        raise UserError(f"`--layer` is {layer}, but this model has the layers 0 to {source.num_layers - 1}")
    return layer % source.num_layers


class _Stage:
    """What the leader does once: the code book before, the tables after."""

    def __init__(self, job: UnitJob, source: FeatureSource, given: CodeBook | None) -> None:
        self._job, self._source, self._given = job, source, given
        self._out = Path(job.out)

    def before(self) -> None:
        """Write the code book, and what the folder holds."""
        try:
            book, fit = self._book()
        except UserError:
            # A folder without a code book has nothing to continue: it is free for other options.
            if not self._path.exists() and not len(Done(self._out)):
                (self._out / EXTRACTION_FILE).unlink(missing_ok=True)
            raise
        teacher = self._source if isinstance(self._source, TeacherSource) else None
        self._record = UnitsRecord(
            model=self._job.model,
            fingerprint=self._source.fingerprint,
            layer=self._job.layer,
            codebooks=1 if teacher is None else teacher.dim,
            codes=book.size if book is not None else teacher.codes if teacher is not None else 0,
            hop_seconds=self._source.grid.hop_samples / self._source.sample_rate,
            center_seconds=self._source.grid.frame_center_seconds(0),
            code_book=self._job.code_book,
            code_book_fingerprint=None if book is None else book.fingerprint,
            merged=self._job.merge,
            fit=fit,
            command=self._job.command(),
        )
        # Before the code book: where one is there, the record says what it was fitted to.
        write_units_record(self._out, self._record)
        if book is not None and not self._path.exists():
            book.save(self._path)

    def after(self) -> None:
        """Write the tables."""
        made = write_tables(self._out, self._record.hop_seconds, self._job.merge)
        whole = replace(self._record, clips=made.clips, units=made.units, seconds=made.seconds)
        write_units_record(self._out, whole)
        book = [CODE_BOOK_FILE] if self._path.exists() else []
        write_seals(self._out, [*book, TABLE_LINES, TABLE_PARQUET])

    @property
    def _path(self) -> Path:
        return self._out / CODE_BOOK_FILE

    def _book(self) -> tuple[CodeBook | None, FitRecord | None]:
        """Return the code book, and what it was fitted to where it was."""
        layer = self._job.layer
        if layer is None:
            return None, None
        told = self._out / UNITS_FILE
        begun = read_record(UnitsRecord, told, _AGAIN) if told.is_file() else None
        if self._path.exists():
            return read_code_book(self._path), None if begun is None else begun.fit
        if self._given is not None:
            return replace(self._given, model=self._source.fingerprint, layer=layer), None
        settings, device = self._job.settings, self._job.settings.torch_device()
        source = self._source.at(device, settings.precision)
        book, fit = fit_code_book(Path(self._job.audio), source, layer, self._job.clusters, settings, self._out)
        if len(Done(self._out)) and begun is not None and begun.code_book_fingerprint != book.fingerprint:
            raise UserError(
                f"{CODE_BOOK_FILE} was lost, and the audio gives another one now: the units that are there cannot be "
                "continued",
                where=str(self._out),
                remedy="delete the folder, or choose another --out",
            )
        return book, fit


def summary_line(record: UnitsRecord) -> str:
    """Return what a finished folder holds, for a terminal."""
    units, seconds = record.units or 0, record.seconds or 0.0
    of = f"{record.codes} codes" if record.codebooks == 1 else f"{record.codebooks} codebooks of {record.codes} codes"
    kind = "merged units" if record.merged else "units"
    rate = f", {units / seconds:.1f} a second" if seconds else ""
    return f"{record.clips:,} clips, {seconds / 3600:.2f} h: {units:,} {kind} of {of}{rate}"
