"""Mixes of corpora: fetches what a mix names, writes its manifest, and beside it what is in it, hour by hour.

A mix is a file of ``recipes/mixes``: which corpora, how many hours of each an epoch has. ``M.mix.json`` lies beside the
manifest ``M.jsonl`` and says for each corpus what an epoch hears, under which licence and whom to credit: what the card
of a model has to say.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_ssl import catalog
from audio_ssl.atomic import write_json
from audio_ssl.config import read_yaml, structure
from audio_ssl.data.corpus import LoadedCorpus, load_corpus
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, hash_manifest, write_manifest
from audio_ssl.data.mix import Drawn, Mix, MixPart, draw_part
from audio_ssl.disk import DiskError
from audio_ssl.errors import UserError, unknown_name
from audio_ssl.lock import locked_file

logger = logging.getLogger(__name__)

SUFFIX = ".mix.json"
"""Of the file beside a manifest that says what it is made of."""


@dataclass(frozen=True)
class CorpusHours:
    """What is heard of one corpus."""

    corpus: str
    title: str
    domain: str
    licence: str
    citation: str

    hours: float
    """Of training an epoch, copies counted."""

    share: float
    """Of the hours of an epoch."""

    available_hours: float
    """Of its training splits."""

    clips: int
    """Different clips of its training splits that are heard."""

    rows: int
    """Of training in the manifest: pieces of clips, and copies."""

    valid_hours: float
    too_short: int
    """Clips that were left out."""

    languages: tuple[str, ...]


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
    with locked_file(out, SUFFIX):
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
    record = out.with_suffix(SUFFIX)
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
    write_json(
        record,
        {
            "mix": name,
            "manifest_hash": hash_manifest(out),
            "hours": total,
            "domains": {domain: {"hours": hours, "share": hours / total} for domain, hours in domains.items()},
            "corpora": [vars(part) for part in parts],
            "missing": dict(missing),
        },
    )
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
