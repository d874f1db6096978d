"""One extraction: what is asked for, and the part of it that one process does.

A job is plain data, so that it can be sent to other machines. Processes share the work by windows of clips: each walks
the whole folder, and opens only the files of its own windows. Clips that any process has finished are not computed
again.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from audio_ssl.artifacts.features import Extraction, IndexRow, read_extraction
from audio_ssl.artifacts.run import ERRORS_FILE
from audio_ssl.base.catalog import load_part
from audio_ssl.base.config import module_traits
from audio_ssl.base.errors import AudioError
from audio_ssl.base.progress import Progress
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip
from audio_ssl.features.arrange import Arrangement, ClipPlan, PieceTaker, arrangement
from audio_ssl.features.clips import SCHEME, ClipToExtract, own_name, walk
from audio_ssl.features.index import Done, Journal
from audio_ssl.features.journal import JOURNALS
from audio_ssl.features.pieces import WINDOW_CLIPS, Piece, pieces
from audio_ssl.features.settings import Settings
from audio_ssl.features.source import FeatureSource, open_source
from audio_ssl.features.writing import BackgroundWriter, Writer, WriterTraits


@dataclass(frozen=True)
class EngineTraits:
    """What the file of an engine says of it."""

    starts_processes: bool
    """It starts the processes that extract, which may lie on other machines."""


@dataclass(frozen=True)
class ProcessShare:
    """One of the processes of a job."""

    rank: int = 0
    size: int = 1

    @property
    def name(self) -> str:
        """Return the prefix of the names of its files; empty for the only process."""
        return f"r{self.rank:04d}-" if self.size > 1 else ""

    def takes(self, number: int) -> bool:
        """Return whether the clip with this number belongs to this process."""
        return number // WINDOW_CLIPS % self.size == self.rank

    def ledger(self, out: Path, keep: Literal["all", "notes"] = "all") -> ErrorLedger:
        """Return the ledger in which it records files that cannot be used."""
        return ErrorLedger(out / JOURNALS / f"{self.name}errors" if self.size > 1 else out / ERRORS_FILE, keep=keep)


class SharedJob(Protocol):
    """Work on clips that processes share; plain data, so that it can be sent to other machines."""

    @property
    def settings(self) -> Settings:
        """Return how features are computed, and on which device."""
        ...

    def run_share(self, part: ProcessShare, device: torch.device) -> None:
        """Do one process's share; a stopped process continues when this is called again."""
        ...


class ClipJob(SharedJob, Protocol):
    """A shared job that writes an array for every clip, as an extraction does (`extract_share` does a share of it)."""

    verb: ClassVar[str]
    """What the progress bar calls it."""

    @property
    def audio(self) -> str:
        """Return the folder, file or manifest."""
        ...

    @property
    def out(self) -> str:
        """Return the folder that is written."""
        ...

    @property
    def format(self) -> str:
        """Return the name of the writer."""
        ...

    def source(self) -> FeatureSource:
        """Return what turns waveforms into layers; UserError if there is none."""
        ...

    def plan(self, source: FeatureSource) -> ClipPlan:
        """Return what is given of each clip of a source."""
        ...

    def extraction(self, source: FeatureSource) -> Extraction:
        """Return what the arrays depend on, and what they are; the same in every process."""
        ...

    def command(self) -> str:
        """Return the command that does this job, for people."""
        ...


@dataclass(frozen=True)
class Job:
    """What is extracted: a `ClipJob`."""

    verb: ClassVar[str] = "extract"

    audio: str
    """Folder, file or manifest."""
    model: str
    """What `open_source` takes."""
    out: str
    """Folder of the features."""
    layers: str
    pool: str
    rate_hz: float | None
    format: str
    dtype: str
    settings: Settings = field(default_factory=Settings)

    def run_share(self, part: ProcessShare, device: torch.device) -> None:
        """Do one process's share; a stopped process continues when this is called again."""
        extract_share(self, part, device)

    def source(self) -> FeatureSource:
        """Return the model or baseline."""
        return open_source(self.model)

    def plan(self, source: FeatureSource) -> Arrangement:
        """Return what is given of each clip."""
        return arrangement(source, self.layers, self.pool, self.rate_hz, self.dtype)

    def command(self) -> str:
        """Return the command that does this job, for people."""
        options = {"layers": self.layers, "pool": self.pool, "format": self.format, "dtype": self.dtype}
        usual = {"layers": "all", "pool": "none", "format": "safetensors", "dtype": "float32"}
        words = ["audio-ssl", "extract", self.audio, self.model, "--out", self.out]
        words += [word for name, value in options.items() if value != usual[name] for word in (f"--{name}", value)]
        words += [] if self.rate_hz is None else ["--rate", f"{self.rate_hz:g}"]
        own, plain = asdict(self.settings), asdict(Settings())
        words += [f"{name}={value}" for name, value in own.items() if value != plain[name]]
        return shlex.join(words)

    def extraction(self, source: FeatureSource) -> Extraction:
        """Return what the features depend on, and what they are; the same in every process."""
        made = self.plan(source)
        return Extraction(
            model=source.fingerprint,
            layers=tuple(made.layers),
            mix=self.layers if made.learned is not None else None,
            pool=self.pool,
            format=self.format,
            dtype=self.dtype,
            hop_seconds=source.grid.hop_samples / source.sample_rate * (made.step or 1.0),
            precision=self.settings.precision,
            chunk_seconds=self.settings.chunk_seconds,
            context_seconds=self.settings.context_seconds,
        )


def extract_share(job: ClipJob, part: ProcessShare, device: torch.device) -> None:
    """Do one process's share of a job; a stopped process continues when this is called again."""
    out = Path(job.out)
    source = job.source().at(device, job.settings.precision)
    extraction, made = job.extraction(source), job.plan(source)
    done = Done(out)
    journal = Journal(out, part.name)
    ledger = part.ledger(out)
    with Progress(job.verb, initial=len(done), silent=part.rank > 0) as progress:
        form = load_part("features/writers", job.format)
        writer: Writer = form.build(out, part.name, extraction, journal.add)
        own_file = module_traits(form, WriterTraits).own_file

        def refuse(clip: Clip, reason: str) -> None:
            ledger.record(clip.path, reason)
            progress.advance()

        def todo() -> Iterator[ClipToExtract]:
            # Every process walks all folders; only the first records those that it cannot read.
            of_walk = ledger if part.rank == 0 else part.ledger(out, keep="notes")
            for item in walk(Path(job.audio), of_walk, read_scheme(out)):
                if part.takes(item.number) and item.id not in done:
                    # An earlier run, when there were fewer files, may have given the name to another one.
                    in_use = own_file is not None and done.has_file(f"{item.name}{own_file}")
                    yield item._replace(name=own_name(item.id)) if in_use else item

        started = time.monotonic()
        with BackgroundWriter(writer) as background:
            found = pieces(todo(), source, refuse, made.layers, job.settings)
            for piece in found:
                # A later piece belongs to a clip that was refused: it is skipped.
                if piece.first == 0:
                    try:
                        _take(piece, found, made, extraction, background)
                    except AudioError as error:
                        refuse(piece.clip, error.reason)
                    else:
                        speed = background.seconds / (time.monotonic() - started)
                        progress.advance(1, hours=background.seconds / 3600, times_real_time=speed)


def read_scheme(out: Path) -> int:
    """Return the naming scheme of a folder: that of the version which began it."""
    begun = read_extraction(out)
    if begun is None:
        return SCHEME
    return 1 if begun.names is None else begun.names


def _take(piece: Piece, found: Iterator[Piece], made: ClipPlan, extraction: Extraction, out: BackgroundWriter) -> None:
    """Write the clip that begins with a piece, and whose further pieces are the next of `found`."""
    taker, row = made.taker(), _index_row(piece, made, extraction)
    if not made.pooled and not piece.last:
        shape = made.shape(piece.total, piece.layers[0].shape[-1])
        out.add_long(row, piece.item.name, shape, made.dtype, _given(taker, piece, found))
        return
    array = taker.add(piece)
    for following in _rest(piece, found):
        array = taker.add(following)
    assert array is not None
    out.add(row, piece.item.name, array)


def _given(taker: PieceTaker, piece: Piece, found: Iterator[Piece]) -> Iterator[Tensor]:
    first = taker.add(piece)
    assert first is not None
    yield first
    for following in _rest(piece, found):
        array = taker.add(following)
        assert array is not None
        yield array


def _rest(piece: Piece, found: Iterator[Piece]) -> Iterator[Piece]:
    while not piece.last:
        piece = next(found)
        yield piece


def _index_row(piece: Piece, made: ClipPlan, extraction: Extraction) -> IndexRow:
    return IndexRow(
        id=piece.clip.id,
        number=piece.item.number,
        path=piece.clip.path,
        seconds=piece.clip.seconds,
        frames=made.frames(piece.total),
        layers=extraction.layers,
        hop_seconds=extraction.hop_seconds,
        model=extraction.model,
    )
