"""A mix of corpora to pretrain on: how many hours an epoch has of each, and which clips these are.

A run's epoch visits every row of its manifest once (`audio_ssl.data.batching`), so shares are made here, in the
manifest: a corpus that is longer than wanted gives some of its clips, one that is shorter gives its clips several
times. Which, a hash of their names decides. Rows are pieces of clips: one crop of each is heard in an epoch, so without
cutting most of a long clip would not be.

Mixes of corpora: fetches what a mix names, writes its manifest, and beside it what is in it, hour by hour.

A mix is a file of ``recipes/mixes``: which corpora, how many hours of each an epoch has. ``M.mix.json`` lies beside the
manifest ``M.jsonl`` and says for each corpus what an epoch hears, under which licence and whom to credit: what the card
of a model has to say.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audio_ssl.artifacts.draws import MIX_SUFFIX, CorpusHours, DomainHours, MixRecord
from audio_ssl.artifacts.records import write_record
from audio_ssl.base import catalog
from audio_ssl.base.config import read_yaml, structure
from audio_ssl.base.disk import DiskError
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.base.files import locked_file
from audio_ssl.data.corpus import LoadedCorpus, load_corpus
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, hash_manifest, write_manifest

logger = logging.getLogger(__name__)


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


def is_mix(source: str) -> bool:
    """Tell whether a name means a mix, or a path the file of one."""
    return source in catalog.names("recipes/mixes") or source.endswith(".yaml")


def make_mix(
    name: str,
    out: Path,
    *,
    data: Path = Path("data"),
    fetch: bool = False,
    roots: Mapping[str, Path] | None = None,
) -> tuple[int, int]:
    """Write the manifest of a mix, and beside it ``M.mix.json``.

    Parameters
    ----------
    name
        Name of a mix, or the path of its file.
    out
        The manifest to write; files that cannot be used go to `out` with the suffix ``.errors.jsonl``.
    data
        Folder of the corpora, one below it for each, by name.
    fetch
        Fetch first what a package client brings; what is there stays, and what was interrupted goes on.
    roots
        Corpus -> where it lies instead.

    Returns
    -------
    Numbers of rows and of unusable files.

    Raises
    ------
    UserError
        If there is no such mix, its file is wrong, `roots` names a corpus that is not in it, or a domain has no corpus
        at all. A corpus that is not there is named, and gone without.
    """
    mix = structure(Mix, read_yaml(catalog.find("recipes/mixes", name)))
    mix.check()
    for corpus in roots or {}:
        if corpus not in mix.parts:
            raise unknown_name("corpus", corpus, mix.parts, where=f"mix {name}")
    with locked_file(out, MIX_SUFFIX):
        ledger_path = out.with_suffix(".errors.jsonl")
        ledger_path.unlink(missing_ok=True)
        ledger = ErrorLedger(ledger_path, read=False)
        ledger.notes_path.unlink(missing_ok=True)
        found: dict[str, tuple[LoadedCorpus, Drawn]] = {}
        missing: dict[str, str] = {}
        for corpus, part in mix.parts.items():
            root = (roots or {}).get(corpus, data / corpus)
            try:
                found[corpus] = _part(corpus, part, mix, root, fetch, ledger)
            except DiskError:
                # The next corpus would meet the same disk.
                raise
            except UserError as error:
                logger.warning("goes without `%s`: %s", corpus, error)
                missing[corpus] = str(error)
        _check_domains(name, mix, found, fetch)
        return _write(Path(name).stem, out, mix, found, missing), ledger.count


def _part(
    corpus: str, part: MixPart, mix: Mix, root: Path, fetch: bool, ledger: ErrorLedger
) -> tuple[LoadedCorpus, Drawn]:
    loaded = load_corpus(corpus)
    if fetch and loaded.fetch is not None:
        loaded.fetch(root, **part.fetch)
    drawn = draw_part(corpus, loaded.read(root, None, ledger=ledger), part, mix)
    if not drawn.train:
        raise UserError(f"has no clip of {', '.join(part.train)}", where=str(root))
    return loaded, drawn


def _check_domains(name: str, mix: Mix, found: Mapping[str, Any], fetch: bool) -> None:
    for domain in sorted({part.domain for part in mix.parts.values()}):
        wanted = [corpus for corpus, part in mix.parts.items() if part.domain == domain]
        if not any(corpus in found for corpus in wanted):
            raise UserError(
                f"the mix `{name}` has no {domain}: none of {', '.join(wanted)} is there",
                remedy=None if fetch else "--fetch brings those that packages have",
            )


def _write(
    name: str, out: Path, mix: Mix, found: Mapping[str, tuple[LoadedCorpus, Drawn]], missing: Mapping[str, str]
) -> int:
    total = sum(drawn.hours for _, drawn in found.values())
    parts = [_hours(loaded, drawn, mix.parts[corpus].domain, total) for corpus, (loaded, drawn) in found.items()]
    clips: list[Clip] = [clip for _, drawn in found.values() for clip in (*drawn.train, *drawn.valid)]
    record = out.with_suffix(MIX_SUFFIX)
    # A record never stands beside a manifest it does not speak of.
    record.unlink(missing_ok=True)
    count = write_manifest(out, clips)
    domains: dict[str, float] = {}
    for part in parts:
        domains[part.domain] = domains.get(part.domain, 0.0) + part.hours
        logger.info(
            "%-18s %-7s %6.2f h an epoch (%4.1f %%), of %6.2f h",
            part.corpus,
            part.domain,
            part.hours,
            100 * part.share,
            part.available_hours,
        )
    for domain, hours in domains.items():
        logger.info("%-18s %-7s %6.2f h an epoch (%4.1f %%)", "all", domain, hours, 100 * hours / total)
    shares = {domain: DomainHours(hours, hours / total) for domain, hours in domains.items()}
    write_record(record, MixRecord(name, hash_manifest(out), total, shares, tuple(parts), dict(missing)))
    return count


def _hours(loaded: LoadedCorpus, drawn: Drawn, domain: str, total: float) -> CorpusHours:
    card = loaded.card
    return CorpusHours(
        corpus=card.name,
        title=card.title,
        domain=domain,
        licence=card.licence,
        citation=card.citation,
        hours=drawn.hours,
        share=drawn.hours / total,
        available_hours=drawn.available_hours,
        clips=drawn.clips,
        rows=len(drawn.train),
        valid_hours=sum(clip.seconds for clip in drawn.valid) / 3600,
        too_short=drawn.too_short,
        languages=card.languages,
    )
