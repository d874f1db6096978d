"""Units of every clip as a job that processes share, as an extraction is: each frame becomes its codes."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from audio_ssl.artifacts.features import Extraction
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.data.manifest import LONGEST_SECONDS
from audio_ssl.features.job import ProcessShare, extract_share
from audio_ssl.features.pieces import Piece
from audio_ssl.features.source import FeatureSource
from audio_ssl.targets.code_books import CODE_BOOK_FILE, CodeBook, read_code_book
from audio_ssl.units.settings import UnitSettings
from audio_ssl.units.sources import TeacherSource, open_units


@dataclass(frozen=True)
class UnitPlan:
    """Codes of each clip, ``[frame, codebook]``, int32: a `ClipPlan`, and what takes the pieces of a clip."""

    pooled: ClassVar[bool] = False
    dtype: ClassVar[torch.dtype] = torch.int32

    layers: tuple[int, ...]
    """The layer that is coded."""
    codebooks: int
    book: CodeBook | None
    """Codes of frames, on the source's device; None: the layer holds codes already."""

    def frames(self, total: int) -> int:
        """Return the frames that are coded: all."""
        return total

    def shape(self, total: int, dim: int) -> tuple[int, ...]:
        """Return the shape of a clip's codes."""
        return total, self.codebooks

    def taker(self) -> UnitPlan:
        """Return what takes the pieces of a clip: the plan itself, as no frame depends on another."""
        return self

    def add(self, piece: Piece) -> Int[Tensor, "frame codebook"]:
        """Return the codes of a piece; AudioError where a frame is not a finite number."""
        (frames,) = piece.layers
        return codes_of(frames, self.book).int().cpu()


def codes_of(frames: Tensor, book: CodeBook | None) -> Int[Tensor, "frame codebook"]:
    """Return the codes of frames ``[frame, dim]``; without a code book, they are codes ``[frame, codebook]``.

    Raises
    ------
    AudioError
        If a frame is not a finite number.
    """
    if book is None:
        return frames
    if not bool(torch.isfinite(frames).all()):
        raise AudioError("the model's features are not finite")
    return book.codes(frames)[:, None]


@dataclass(frozen=True)
class UnitJob:
    """What is made units of: a `ClipJob`. The code book lies in the folder when clips are coded."""

    verb: ClassVar[str] = "units"
    format: ClassVar[str] = "safetensors"

    audio: str
    """Folder, file or manifest."""
    model: str
    """What `open_units` takes."""
    out: str
    """Folder of the units."""
    layer: int | None
    """Of the model; None: the source gives codes."""
    clusters: int
    """Codes of a book that is fitted."""
    code_book: str | None
    """Where a code book was given; None: one is fitted, or the source gives codes."""
    given: str | None
    """Its fingerprint."""
    merge: bool
    asked: UnitSettings
    """As asked for."""

    @property
    def settings(self) -> UnitSettings:
        """Return how units are computed: no clip is cut into chunks where the source gives codes."""
        return self.asked if self.layer is not None else replace(self.asked, chunk_seconds=LONGEST_SECONDS)

    def run_share(self, part: ProcessShare, device: torch.device) -> None:
        """Do one process's share; a stopped process continues when this is called again."""
        extract_share(self, part, device)

    def source(self) -> FeatureSource:
        """Return the model, the baseline or the teacher."""
        return open_units(self.model)

    def plan(self, source: FeatureSource) -> UnitPlan:
        """Return the codes that are given; the code book is that of the folder, where it must lie."""
        if isinstance(source, TeacherSource):
            return UnitPlan((0,), source.dim, None)
        assert self.layer is not None
        return UnitPlan((self.layer,), 1, read_code_book(Path(self.out) / CODE_BOOK_FILE).to(source.device))

    def extraction(self, source: FeatureSource) -> Extraction:
        """Return what the units depend on."""
        fit = self.settings.fit
        fitted = f"k-means of {self.clusters} clusters, {fit.frames} frames of {fit.hours:g} h, seed {fit.seed}"
        own = isinstance(source, TeacherSource)
        return Extraction(
            model=source.fingerprint,
            layers=(self.layer or 0,),
            mix=None,
            pool="none",
            format=self.format,
            dtype="int32",
            hop_seconds=source.grid.hop_samples / source.sample_rate,
            precision=self.settings.precision,
            chunk_seconds=self.settings.chunk_seconds,
            context_seconds=self.settings.context_seconds,
            codes="of the model" if own else f"code book {self.given}" if self.given is not None else fitted,
        )

    def command(self) -> str:
        """Return the command that does this job, for people."""
        words = ["audio-ssl", "units", self.audio, self.model, "--out", self.out]
        if self.layer is not None:
            words += ["--layer", str(self.layer)]
            words += ["--codebook", self.code_book] if self.code_book else ["--clusters", str(self.clusters)]
        words += ["--merge"] if self.merge else []
        return shlex.join([*words, *_changed("", asdict(self.asked), asdict(UnitSettings()))])


def check_book(book: CodeBook, source: FeatureSource, layer: int, where: str) -> None:
    """Raise UserError unless a code book is of this layer: of its width, and of the same model where it says so."""
    if book.dim != source.dim:
        raise UserError(
            f"the code book is for frames of {book.dim} values, but layer {layer} of {source.name} has {source.dim}",
            where=where,
            remedy="give the code book of this model, or fit one with --clusters",
        )
    told = [f"the model {book.model}"] if book.model not in (None, source.fingerprint) else []
    told += [f"layer {book.layer}"] if book.layer not in (None, layer) else []
    if told:
        raise UserError(
            f"the code book was fitted to {' and '.join(told)}, not to layer {layer} of {source.name} "
            f"({source.fingerprint})",
            where=where,
            remedy="give the code book of this model and layer, or fit one with --clusters",
        )


def _changed(prefix: str, own: dict[str, object], usual: dict[str, object]) -> list[str]:
    """Return settings that are not the usual ones, as ``key=value``."""
    found = []
    for name, value in own.items():
        other = usual[name]
        if isinstance(value, dict) and isinstance(other, dict):
            found += _changed(f"{prefix}{name}.", value, other)
        elif value != other:
            found.append(f"{prefix}{name}={value}")
    return found
