"""The card of a corpus (`Corpus`), checks of its files, pieces of long recordings, and splits.

Long recordings are cut into pieces of equal length if their annotations have times. Splits are derived from names, so
they are the same on every machine.
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
    """The card of a corpus: what its users must know."""

    name: str
    """Name of the file, without ``.py``."""

    title: str
    """Title."""

    description: str
    """Content, uses and limitations."""

    licence: str
    """Licence, by its SPDX name if it has one."""

    citation: str
    """Authors to cite, and source."""

    size: str
    """Size of the download, number of clips and minutes, as measured."""

    layout: str
    """Layout of the files below the root."""

    splits: Mapping[str, str]
    """Name of each split to its description."""

    languages: tuple[str, ...] = ()
    """ISO 639 codes of the spoken languages."""

    labels: tuple[str, ...] = ()
    """Columns of the manifest that are filled, including columns of this corpus."""

    made: bool = False
    """Whether `fetch` renders or synthesises the audio."""

    requires: tuple[str, ...] = ()
    """Other programs that `fetch` or `read` needs: ``apt``, ``pip:NAME``."""


def check_split(card: Corpus, split: str | None) -> None:
    """Raise UserError unless `split` is None or one of the card's splits."""
    if split is not None and split not in card.splits:
        raise unknown_name("split", split, card.splits, where=f"corpus {card.name}")


def require_folder(path: Path, card: Corpus, can_fetch: bool | None = None) -> Path:
    """Return `path`; UserError, with the expected layout, if it is not a folder.

    Parameters
    ----------
    path, card
        Folder and card of the corpus.
    can_fetch
        Whether the corpus can be fetched; None: derived from `made` and `requires` of the card.
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
    """Return `path`; UserError if it is not a file. `what` replaces the layout as the remedy."""
    if path.is_file():
        return path
    raise UserError(
        f"{card.title} was expected here, but `{path.name}` is missing",
        where=str(path),
        remedy=what or f"layout: {card.layout}",
    )


def table_files(root: Path, suffixes: Sequence[str], card: Corpus, kinds: str) -> list[Path]:
    """Return the tables at `root`, a table or a folder of tables; UserError if there is none of the `kinds`."""
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
    """Return the files whose names match a pattern, with the match; UserError if there is none."""
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
    """Return the clip of a whole file, without labels; AudioError if the file cannot be used."""
    info = audio_info(path)
    return Clip(clip_id, str(path), 0.0, info.seconds, info.sample_rate)


def usable_file(path: Path, clip_id: str, left_out: LeftOut) -> Clip | None:
    """Return the clip of a whole file, without labels; None if it cannot be used, which `left_out` records."""
    try:
        return whole_file(path, clip_id)
    except AudioError as error:
        left_out.add(path, error.reason)
        return None


def expected(card: Corpus, where: Path, what: str, part: str = "") -> UserError:
    """Return the error for a missing corpus, or a missing `part` of it (``a table of``)."""
    named = f"{part} {card.title}" if part else card.title
    return UserError(f"{named} was expected here, but {what}", where=str(where), remedy=f"layout: {card.layout}")


def first_file(*paths: Path) -> Path:
    """Return the first path that is a file; without one, the first path, which an error then names."""
    return next((path for path in paths if path.is_file()), paths[0])


def piece_seconds(text: str, corpus: str) -> float:
    """Read the option `seconds` of a corpus: the maximum length of a piece; 0 for whole recordings.

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
    """Yield pieces of equal length up to `longest` seconds, with their start within the clip; 0: the whole clip.

    Ids of pieces are the id of the clip with ``#000``, ``#001`` appended.
    """
    count = max(1, math.ceil(clip.seconds / longest - 1e-9)) if longest else 1
    length = clip.seconds / count
    for number in range(count):
        begin = number * length
        name = clip.id if count == 1 else f"{clip.id}#{number:03d}"
        yield replace(clip, id=name, start=clip.start + begin, seconds=length), begin


def hash_split(corpus: str, key: str, valid: float = 0.1, test: float = 0.1) -> str:
    """Return train, valid or test for a group of clips, by the two names only.

    Parameters
    ----------
    corpus
        Name of the corpus, so that corpora are split independently.
    key
        Name of the group that must stay together: a level, a prompt, a track.
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
    """Return the split of each group: as `hash_split`, but for few groups, with at least one group in each split.

    The shares (a tenth for validation and a tenth for the test) are exact, but a split depends on the other groups.
    With fewer than three groups, all are for training.

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


def hash_draw(text: str, choices: int) -> int:
    """Return a number from 0 to below `choices`, drawn by a hash of a text.

    Examples
    --------
    >>> hash_draw("voice/en/3", 12) == hash_draw("voice/en/3", 12) < 12
    True
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % choices


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
