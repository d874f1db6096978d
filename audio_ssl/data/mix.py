"""A mix of corpora to pretrain on: how many hours an epoch has of each, and which clips these are.

A run's epoch visits every row of its manifest once (`audio_ssl.data.batching`), so shares are made here, in the
manifest: a corpus that is longer than wanted gives some of its clips, one that is shorter gives its clips several
times. Which, a hash of their names decides. Rows are pieces of clips: one crop of each is heard in an epoch, so without
cutting most of a long clip would not be.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError


@dataclass(frozen=True)
class MixPart:
    """What a mix takes of one corpus."""

    domain: str
    """What shares are reported by: speech, music."""

    hours: float
    """Of training an epoch, at most."""

    repeats: int = 1
    """How often a clip may come in an epoch, where the corpus has fewer hours."""

    train: tuple[str, ...] = ("train",)
    """Splits of the corpus that are trained on."""

    valid: tuple[str, ...] = ("valid",)
    """Splits of the corpus that validate; of other splits nothing is heard."""

    fetch: dict[str, int] = field(default_factory=dict)
    """Numbers that the corpus's `fetch` takes, by name: how many clips to make."""


@dataclass(frozen=True)
class Mix:
    """A mix, as its file says it."""

    parts: dict[str, MixPart]
    """By corpus, in the order in which they are fetched."""

    piece_seconds: float = 10.0
    """Longer clips are cut into rows of equal length up to this."""

    min_seconds: float = 1.0
    """Shorter clips are left out and counted."""

    valid_minutes: float = 3.0
    """Of validation, at most, for each corpus."""

    def check(self) -> None:
        """Raise UserError where a value makes no sense."""
        if not self.parts:
            raise UserError("must name at least one corpus", where="$.parts")
        for name, part in self.parts.items():
            if not 0 < part.hours < math.inf:
                raise UserError(f"must be above 0, but is {part.hours}", where=f"$.parts.{name}.hours")
            if part.repeats < 1:
                raise UserError(f"must be at least 1, but is {part.repeats}", where=f"$.parts.{name}.repeats")
            if not part.train:
                raise UserError("must name at least one split", where=f"$.parts.{name}.train")
            if twice := set(part.train) & set(part.valid):
                raise UserError(f"trains on `{min(twice)}`, too", where=f"$.parts.{name}.valid")
        if not 0 < self.min_seconds < self.piece_seconds / 2 < math.inf:
            raise UserError(
                f"must be above 0 and below half of `piece_seconds`, {self.piece_seconds}, but is {self.min_seconds}",
                where="$.min_seconds",
            )
        if self.valid_minutes < 0:
            raise UserError(f"must not be negative, but is {self.valid_minutes}", where="$.valid_minutes")


@dataclass(frozen=True)
class Drawn:
    """What was drawn of a corpus."""

    train: list[Clip]
    """Rows of an epoch, copies included."""

    valid: list[Clip]

    available_hours: float
    """Of the training splits, without what is too short."""

    clips: int
    """Different clips of the training splits that are heard."""

    too_short: int
    """Clips of the splits asked for that were left out."""

    @property
    def hours(self) -> float:
        """Of training an epoch, copies counted."""
        return sum(clip.seconds for clip in self.train) / 3600


def draw_part(corpus: str, clips: Iterable[Clip], part: MixPart, mix: Mix) -> Drawn:
    """Return the rows that a mix has of a corpus.

    Parameters
    ----------
    corpus
        Its name, which goes before the ids.
    clips
        All of its clips.
    part, mix
        What is wanted.
    """
    train: list[Clip] = []
    valid: list[Clip] = []
    too_short = 0
    for clip in clips:
        if clip.split not in (*part.train, *part.valid):
            continue
        if clip.seconds < mix.min_seconds:
            too_short += 1
        else:
            (train if clip.split in part.train else valid).append(clip)
    train.sort(key=lambda clip: _digest(corpus, clip.id))
    valid.sort(key=lambda clip: _digest(corpus, clip.id))
    available = sum(clip.seconds for clip in train)
    heard = list(_epoch(train, available, part))
    return Drawn(
        [row for clip, copy in heard for row in _rows(corpus, clip, part, mix, "train", copy)],
        [row for clip in _up_to(valid, mix.valid_minutes * 60) for row in _rows(corpus, clip, part, mix, "valid", 0)],
        available / 3600,
        len({clip.id for clip, _ in heard}),
        too_short,
    )


def _epoch(clips: Sequence[Clip], available: float, part: MixPart) -> Iterator[tuple[Clip, int]]:
    """Yield clips with the numbers of their copies: all of them as often as fits, then the first ones."""
    if not available:
        return
    wanted = min(part.hours * 3600, available * part.repeats)
    whole = min(int(wanted / available + 1e-9), part.repeats)
    for copy in range(whole):
        for clip in clips:
            yield clip, copy
    for clip in _up_to(clips, wanted - whole * available):
        yield clip, whole


def _up_to(clips: Iterable[Clip], seconds: float) -> Iterator[Clip]:
    """Yield the first clips that are not longer together."""
    for clip in clips:
        seconds -= clip.seconds
        if seconds < 0:
            return
        yield clip


def _rows(corpus: str, clip: Clip, part: MixPart, mix: Mix, split: str, copy: int) -> Iterator[Clip]:
    """Yield the pieces of a clip, with what is known of who and what is heard; labels would be those of the whole."""
    pieces = max(1, math.ceil(clip.seconds / mix.piece_seconds - 1e-9))
    seconds = clip.seconds / pieces
    known = {"domain": part.domain, "corpus": corpus, "track": clip.extra.get("track")}
    bare = replace(clip, text=None, translation=None, tags=None, label=None, split=split, extra=known)
    name = f"{corpus}/{clip.id}" + (f"~{copy + 1}" if copy else "")
    for piece in range(pieces):
        yield replace(
            bare,
            id=name if pieces == 1 else f"{name}#{piece:02d}",
            start=clip.start + piece * seconds,
            seconds=seconds,
        )


def _digest(corpus: str, name: str) -> bytes:
    return hashlib.sha256(f"mix/{corpus}/{name}".encode("utf-8", "surrogateescape")).digest()
