"""Whether targets are worth learning: what each teacher gave, in numbers, and an error where it gave one label only.

A teacher that fails rarely raises an error: it gives every frame the same label, leaves most of its codes unused or has
bins that never change, and the loss falls all the same. So `audio-ssl targets` writes ``labels.json`` into its store,
and a run writes it into its folder before the first update, from some of the clips or from the store it reads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from audio_ssl.artifacts.records import absent, read_record, write_record
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.threads import background_pool, in_order
from audio_ssl.data.manifest import Clip
from audio_ssl.data.subsets import limit_seconds
from audio_ssl.targets.spec import TargetSpec, Teacher

logger = logging.getLogger(__name__)

LABELS_FILE = "labels.json"

START_SECONDS = 120.0
"""Audio whose targets are looked at before a run that computes them; the targets stay in its cache."""

STORE_FRAMES = 5_000_000
"""Frames of a store that are looked at, 19 hours at 75 frames/s."""

_ENOUGH_FRAMES = 100
"""Fewer frames than this may well have one code."""

_FRAMES_PER_CODE = 10
"""With fewer frames than this per code, codes may be unused by chance."""

_ALMOST_ONE_CODE = 1.1
"""Perplexity below which a codebook is as good as one code."""


@dataclass(frozen=True)
class CodebookUse:
    """How the codes of one codebook were used."""

    lowest: int
    """Code; so is `highest`."""
    highest: int
    used: int
    """Different codes that occurred."""
    unused_share: float
    entropy_bits: float
    perplexity: float
    commonest_share: float
    """Share of the frames that have the commonest code."""


@dataclass(frozen=True)
class TeacherLabels:
    """What one teacher gave: a row of ``labels.json``. Numbers of codes or of values are left out for the other."""

    teacher: str
    """Its kind."""
    fingerprint: str
    targets: Literal["codes", "values"]
    frames_per_second: float
    hop_samples: int
    edge: str
    clips: int
    """That gave frames."""
    frames: int
    classes: int | None = absent(None)
    """Codes of a codebook."""
    codebooks: tuple[CodebookUse, ...] | None = absent(None)
    bins: int | None = absent(None)
    """Values of a frame."""
    mean: float | None = absent(None)
    """Over all bins; so are `std`, `lowest` and `highest`."""
    std: float | None = absent(None)
    lowest: float | None = absent(None)
    highest: float | None = absent(None)
    constant_share: float | None = absent(None)
    """Share of the bins that have one value in all frames."""
    more: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Labels:
    """``labels.json``: what the teachers of a store or a run gave, in the order of the recipe."""

    teachers: tuple[TeacherLabels, ...]
    more: JsonObject = field(default_factory=dict)


class LabelCounter:
    """Counts what one teacher gave, in memory that does not grow with the frames.

    Parameters
    ----------
    kind
        The teacher's.
    spec
        What it promises.
    fingerprint
        Which teacher it is.
    """

    def __init__(self, kind: str, spec: TargetSpec, fingerprint: str) -> None:
        self._kind, self._spec, self._fingerprint = kind, spec, fingerprint
        self.clips = self.frames = 0
        classes = spec.num_classes or 0
        self._counts = torch.zeros(spec.width, classes, dtype=torch.int64)
        self._sum = torch.zeros(spec.width, dtype=torch.float64)
        self._squares = torch.zeros(spec.width, dtype=torch.float64)
        self._low = torch.full((spec.width,), math.inf, dtype=torch.float64)
        self._high = -self._low

    def add(self, targets: Shaped[Tensor, "frame width"]) -> None:
        """Take the targets of a clip, which keep what the spec promises."""
        if len(targets) == 0:
            return
        self.clips += 1
        self.frames += len(targets)
        if self._spec.kind == "codes":
            for book, codes in enumerate(targets.unbind(1)):
                self._counts[book] += torch.bincount(codes, minlength=self._counts.shape[1])
            return
        values = targets.double()
        self._sum += values.sum(0)
        self._squares += values.square().sum(0)
        self._low = torch.minimum(self._low, values.amin(0))
        self._high = torch.maximum(self._high, values.amax(0))

    def labels(self) -> TeacherLabels:
        """Return the numbers."""
        grid = self._spec.grid
        row = TeacherLabels(
            teacher=self._kind,
            fingerprint=self._fingerprint,
            targets=self._spec.kind,
            frames_per_second=grid.frame_rate_hz,
            hop_samples=grid.hop_samples,
            edge=grid.edge,
            clips=self.clips,
            frames=self.frames,
        )
        if self.frames == 0:
            return row
        if self._spec.kind == "codes":
            codebooks = tuple(_codebook(counts) for counts in self._counts)
            return replace(row, classes=self._spec.num_classes, codebooks=codebooks)
        mean = self._sum / self.frames
        total_mean = float(mean.mean())
        variance = float((self._squares / self.frames).mean()) - total_mean**2
        return replace(
            row,
            bins=self._spec.width,
            mean=total_mean,
            std=max(variance, 0.0) ** 0.5,
            lowest=float(self._low.min()),
            highest=float(self._high.max()),
            constant_share=float((self._low == self._high).double().mean()),
        )


def _codebook(counts: Tensor) -> CodebookUse:
    share = counts.double() / counts.sum()
    used = share[share > 0]
    bits = float(-(used * used.log2()).sum())
    codes = torch.nonzero(counts)[:, 0]
    return CodebookUse(
        lowest=int(codes[0]),
        highest=int(codes[-1]),
        used=len(codes),
        unused_share=1 - len(codes) / len(counts),
        entropy_bits=bits + 0.0,
        perplexity=2**bits,
        commonest_share=float(share.max()),
    )


def judge(labels: Sequence[TeacherLabels], where: Path) -> None:
    """Warn of teachers whose labels carry little information, and refuse those whose labels carry none.

    Raises
    ------
    UserError
        If a teacher gave one code to every frame in each of its codebooks, or values that never change.
    """
    for index, row in enumerate(labels):
        name = f"teacher {index} ({row.teacher})"
        if row.frames == 0:
            continue
        constant = row.constant_share == 1 if row.targets == "values" else all(b.used == 1 for b in _books(row))
        if constant and row.frames >= _ENOUGH_FRAMES:
            what = "values that never change" if row.targets == "values" else "one code to all frames"
            raise UserError(
                f"{name} gave {what}, {row.frames} of {row.clips} clips: there is nothing to learn",
                where=str(where),
                remedy="look for silent audio; fit or train the teacher on more and louder audio, or take another",
            )
        for complaint in _complaints(row):
            logger.warning("%s: %s; see %s", name, complaint, where)


def _books(row: TeacherLabels) -> tuple[CodebookUse, ...]:
    return row.codebooks or ()


def _complaints(row: TeacherLabels) -> list[str]:
    if row.targets == "values":
        share = row.constant_share or 0.0
        return [f"{share:.0%} of its bins never change"] if share > 0.5 else []
    found, classes = [], row.classes or 0
    enough = row.frames >= _FRAMES_PER_CODE * classes
    unused = {k: book.unused_share for k, book in enumerate(_books(row)) if book.unused_share > 0.5}
    if unused and enough:
        found.append(f"up to {max(unused.values()):.0%} of the codes are unused in {_named(list(unused), row)}")
    flat = [k for k, book in enumerate(_books(row)) if book.perplexity < _ALMOST_ONE_CODE]
    if flat and classes > 1:
        found.append(f"nearly all frames have one code in {_named(flat, row)}")
    return found


def _named(books: Sequence[int], row: TeacherLabels) -> str:
    total = len(_books(row))
    return "its codebook" if total == 1 else f"codebooks {', '.join(map(str, books))} of {total}"


def measure(
    kinds: Sequence[str], teachers: Sequence[Teacher], targets: Iterable[tuple[Tensor, ...]], limit_frames: int
) -> tuple[TeacherLabels, ...]:
    """Return the numbers of each teacher over the targets of clips, one tuple each; stops at a number of frames."""
    counters = [LabelCounter(k, teacher.spec, teacher.fingerprint) for k, teacher in zip(kinds, teachers, strict=True)]
    for clip in targets:
        for counter, target in zip(counters, clip, strict=True):
            counter.add(target)
        if max(counter.frames for counter in counters) >= limit_frames:
            break
    return tuple(counter.labels() for counter in counters)


def check_labels(
    kinds: Sequence[str],
    teachers: Sequence[Teacher],
    whole: Callable[[Clip], tuple[Tensor, ...]],
    clips: Sequence[Clip],
    folder: Path,
    stored: Path | None = None,
) -> None:
    """Write ``labels.json`` before a run and judge it.

    Parameters
    ----------
    kinds
        Of the teachers.
    teachers
        In the order of the recipe.
    whole
        Gives the targets of a clip.
    clips
        Training clips; those of `START_SECONDS` are looked at, chosen by the hashes of their ids.
    folder
        Of the run.
    stored
        The target store the run reads, whose own ``labels.json`` is taken if it is of these teachers.

    Raises
    ------
    UserError
        If a teacher says the same of every frame.
    """
    fingerprints = [teacher.fingerprint for teacher in teachers]
    path = folder / LABELS_FILE
    labels = read_labels(path, fingerprints)
    if labels is None and stored is not None:
        labels = read_labels(stored / LABELS_FILE, fingerprints)
    if labels is None:
        chosen = limit_seconds(clips, START_SECONDS, math.inf)
        with background_pool(1) as pool:
            usable = (found for found in in_order(pool, lambda clip: _usable(whole, clip), chosen) if found is not None)
            labels = measure(kinds, teachers, usable, STORE_FRAMES)
    write_record(path, Labels(labels))
    judge(labels, path)


def _usable(whole: Callable[[Clip], tuple[Tensor, ...]], clip: Clip) -> tuple[Tensor, ...] | None:
    try:
        return whole(clip)
    except AudioError:
        # The loader will meet this clip, too, and says so in the ledger.
        return None


def read_labels(path: Path, fingerprints: Sequence[str]) -> tuple[TeacherLabels, ...] | None:
    """Return the numbers in a ``labels.json``, or None if there is none or it is of other teachers."""
    try:
        labels = read_record(Labels, path).teachers
    except UserError as error:
        if path.exists():
            logger.warning("%s; the labels are checked again", error)
        return None
    return labels if [row.fingerprint for row in labels] == list(fingerprints) else None
