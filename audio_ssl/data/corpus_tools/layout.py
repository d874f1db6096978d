"""What a corpus is (`Corpus`), which files it must have, its long recordings in pieces, its splits.

Long recordings in pieces of equal length, for corpora whose annotations are times.

Which split a group of clips belongs to, decided by its name, so that it is the same on every machine.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audio_ssl.base.errors import AudioError, UserError, unknown_name
from audio_ssl.data.audio import audio_info
from audio_ssl.data.ledger import LeftOut
from audio_ssl.data.manifest import Clip


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


def check_split(card: Corpus, split: str | None) -> None:
    """Raise UserError unless `split` is None or one of the card's splits."""
    if split is not None and split not in card.splits:
        raise unknown_name("split", split, card.splits, where=f"corpus {card.name}")


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


def expected(card: Corpus, where: Path, what: str, part: str = "") -> UserError:
    """Return the error for a corpus, or a `part` of it (``a table of``), that is not where it should be."""
    named = f"{part} {card.title}" if part else card.title
    return UserError(f"{named} was expected here, but {what}", where=str(where), remedy=f"layout: {card.layout}")


def first_file(*paths: Path) -> Path:
    """Return the first of some paths that is a file; where none is, the first, which an error then names."""
    return next((path for path in paths if path.is_file()), paths[0])


def piece_seconds(text: str, corpus: str) -> float:
    """Read the option `seconds` of a corpus: the longest piece, 0 for whole recordings.

    Raises
    ------
    UserError
        If it is neither 0 nor at least 1.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and (seconds == 0 or seconds >= 1)):
        raise UserError(f"`seconds` must be 0 or at least 1, but is `{text}`", where=f"corpus {corpus}")
    return seconds


def pieces(clip: Clip, longest: float) -> Iterator[tuple[Clip, float]]:
    """Yield pieces of equal length up to `longest` seconds, each with where it begins in the clip; 0: the clip itself.

    Ids of pieces are the clip's with ``#000``, ``#001`` behind.
    """
    count = max(1, math.ceil(clip.seconds / longest - 1e-9)) if longest else 1
    length = clip.seconds / count
    for number in range(count):
        begin = number * length
        name = clip.id if count == 1 else f"{clip.id}#{number:03d}"
        yield replace(clip, id=name, start=clip.start + begin, seconds=length), begin


def hash_split(corpus: str, key: str, valid: float = 0.1, test: float = 0.1) -> str:
    """Return train, valid or test for a group of clips; depends on nothing but the two names.

    Parameters
    ----------
    corpus
        Name of the corpus, so that two corpora are cut independently.
    key
        What must not be torn apart: a level, a prompt, a track.
    valid, test
        Shares of the groups.

    Examples
    --------
    >>> hash_split("fillets", "city") == hash_split("fillets", "city")
    True
    """
    place = int.from_bytes(_digest(f"{corpus}/{key}")[:8], "big") / 2**64
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def even_split(corpus: str, keys: Iterable[str]) -> dict[str, str]:
    """Return the split of each of a few groups: like `hash_split`, but with at least one group in each split.

    The shares (a tenth for validation, a tenth for the test) are exact, at the price that a split depends on which
    other groups there are. Fewer than three groups are all for training.

    Examples
    --------
    >>> sorted(even_split("game_music", ["a", "b", "c"]).values())
    ['test', 'train', 'valid']
    """
    ordered = sorted(set(keys), key=lambda key: _digest(f"{corpus}/{key}"))
    if len(ordered) < 3:
        return dict.fromkeys(ordered, "train")
    held_out = max(1, round(0.1 * len(ordered)))
    return {
        key: "test" if place < held_out else "valid" if place < 2 * held_out else "train"
        for place, key in enumerate(ordered)
    }


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
