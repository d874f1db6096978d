"""Draws sets with given hours per group, spread over the speakers as evenly as the pool allows.

The clips of a group have a fixed order that depends on the seed and the ids only. The clips of each speaker are sorted
by a hash. The level of a clip is the amount of audio of the same speaker before it. Clips are drawn from the lowest
level up until the hours are reached. So speakers with little audio give all of it, and the others give up to a common
level (water filling). Sets are nested: with the same seed, a larger set contains the smaller one, and 5 h of women are
the same 5 h at any share.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from audio_ssl.artifacts.draws import DrawnAmounts, DrawRecord, DrawRequest, ExcludedAmount, GroupDraw
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.audit import effective_number
from audio_ssl.data.clip_table import ClipTable, Indices, Numbers, table_of
from audio_ssl.data.columns import read_value, spellings_note
from audio_ssl.data.manifest import Clip
from audio_ssl.data.pool import PoolRows, pool_rows

_EXAMPLE = "for example gender=F:0.5,M:0.5"
_SLACK_SECONDS = 1e-6
"""Tolerance, as sums of many lengths are not exact."""


@dataclass(frozen=True)
class Balance:
    """Share of the hours of each group of a column.

    Examples
    --------
    >>> str(Balance("gender", {"F": 0.3, "M": 0.7}))
    'gender=F:0.3,M:0.7'
    """

    column: str
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check that the shares are valid."""
        if not self.shares:
            raise UserError("`balance` names no group", remedy=_EXAMPLE)
        for group, share in self.shares.items():
            if not (0 <= share <= 1):
                raise UserError(f"the share of `{group}` must be from 0 to 1, but is {share:g}", where="balance")
        total = math.fsum(self.shares.values())
        if abs(total - 1) > 1e-6:
            raise UserError(f"the shares must sum to 1, but sum to {total:g}", where=f"balance {self}")

    def __str__(self) -> str:
        """Return the balance in the form of the command line."""
        return f"{self.column}=" + ",".join(f"{group}:{share}" for group, share in self.shares.items())


class Balanced(NamedTuple):
    """The drawn clips and the record of the draw."""

    clips: list[Clip]
    """Sorted by id."""

    record: DrawRecord


class _Pool(NamedTuple):
    """A pool divided into the groups that are drawn from (by clip number) and the clips that are excluded."""

    rows: PoolRows
    groups: dict[str, Indices]
    has_speakers: bool
    excluded: dict[str, ExcludedAmount]
    """By reason."""


def parse_balance(text: str) -> Balance:
    """Read a balance from the form of the command line.

    Raises
    ------
    UserError
        If the text is not ``COLUMN=GROUP:SHARE,…``, names a group twice, or the shares do not sum to 1.

    Examples
    --------
    >>> parse_balance("gender=F:0.5,M:0.5")
    Balance(column='gender', shares={'F': 0.5, 'M': 0.5})
    """
    column, mark, rest = text.partition("=")
    if not (column.strip() and mark and rest.strip()):
        raise UserError(f"`balance` must be COLUMN=GROUP:SHARE,…, but is `{text}`", remedy=_EXAMPLE)
    shares: dict[str, float] = {}
    for part in rest.split(","):
        group, mark, share = (piece.strip() for piece in part.rpartition(":"))
        try:
            amount = float(share)
        except ValueError:
            amount = math.nan
        if not (group and mark and math.isfinite(amount)):
            raise UserError(f"`balance` must be COLUMN=GROUP:SHARE,…, but has `{part}`", remedy=_EXAMPLE)
        if group in shares:
            raise UserError(f"`balance` names the group `{group}` twice")
        shares[group] = amount
    return Balance(column.strip(), shares)


def balance(
    clips: Iterable[Clip], shares: Balance, hours: float, *, speaker_hours: float | None = None, seed: int = 0
) -> Balanced:
    """Draw a set with given hours of each group from a pool.

    Parameters
    ----------
    clips
        The pool, in any order. A `ClipTable` must have the columns ``speaker`` and that of `shares`; only the drawn
        clips are created from it. Clips with an unknown group are excluded. Clips without a speaker are excluded if
        other clips have one. If no clip has a speaker, clips are drawn by hash alone.
    shares
        The column and the share of the hours of each group.
    hours
        Hours of the whole set. Each group gets its share to within the length of one clip, and at least one clip.
    speaker_hours
        Maximum hours per speaker of a group (default: no maximum).
    seed
        Random seed; it decides which clips of a speaker are drawn.

    Returns
    -------
    The clips and the record of the draw.

    Raises
    ------
    UserError
        If `hours` is not positive, the column or a group is not in the pool, an id appears twice, or a group has too
        little audio. The message has the available hours and the maximum that this balance allows.
    """
    shares = _as_read(shares)
    _check_positive("hours", hours)
    if speaker_hours is not None:
        _check_positive("speaker_hours", speaker_hours)
    source = clips if isinstance(clips, ClipTable) else table_of(list(clips), ("speaker", shares.column))
    pool = _sort_out(pool_rows(source, shares.column), shares)
    if speaker_hours is not None and not pool.has_speakers:
        raise UserError("`speaker_hours` needs speakers, but no clip of the pool has one")
    most = math.inf if speaker_hours is None else speaker_hours * 3600
    orders = {
        group: _in_order(pool.rows, pool.groups[group], most, seed) for group, share in shares.shares.items() if share
    }
    seconds = pool.rows.seconds
    _check_enough({group: seconds[order] for group, order in orders.items()}, shares, hours, speaker_hours)
    drawn = {
        group: order[: _how_many(seconds[order].tolist(), shares.shares[group] * hours * 3600)]
        for group, order in orders.items()
    }
    chosen = sorted((row for rows in drawn.values() for row in rows.tolist()), key=pool.rows.ids.__getitem__)
    nothing = np.zeros(0, np.int64)
    record = DrawRecord(
        asked=DrawRequest(str(shares), shares.column, dict(shares.shares), hours, speaker_hours, seed),
        hours=_hours(seconds[chosen]),
        clips=len(chosen),
        groups={
            group: GroupDraw(
                asked_hours=round(share * hours, 6),
                **vars(_amounts(pool, drawn.get(group, nothing))),
                pool=_amounts(pool, pool.groups[group]),
            )
            for group, share in shares.shares.items()
        },
        excluded=pool.excluded,
        notes=tuple(_notes(pool, shares.column)),
        pool_hash=_hash_pool(pool.rows),
    )
    return Balanced(list(source.take(np.array(chosen, np.int64))), record)


def _as_read(shares: Balance) -> Balance:
    """Return the shares with normalised group names: ``female`` becomes F."""
    named: dict[str, float] = {}
    for group, share in shares.shares.items():
        name = read_value(shares.column, group) or group
        if name in named:
            raise UserError(f"`balance` names the group `{name}` twice", where=f"balance {shares}")
        named[name] = share
    return Balance(shares.column, named)


def _check_positive(name: str, hours: float) -> None:
    if not (math.isfinite(hours) and hours > 0):
        raise UserError(f"`{name}` must be above 0, but is {hours:g}")


def _sort_out(rows: PoolRows, shares: Balance) -> _Pool:
    """Divide the pool into the groups that are drawn from and, by reason, the excluded clips."""
    column, codes = shares.column, rows.values
    number = {name: code for code, name in enumerate(codes.names)}
    for group, share in shares.shares.items():
        if share and group not in number:
            raise unknown_name("group", group, codes.names, where=f"the pool's column `{column}`")
    groups = {group: np.flatnonzero(codes.index == number.get(group, -2)) for group in shares.shares}
    apart = {f"{column} unknown": np.flatnonzero(codes.index < 0)}
    for name, code in number.items():
        if name not in groups:
            apart[f"{column} {name}: not asked for"] = np.flatnonzero(codes.index == code)
    named = rows.speakers.index >= 0
    has_speakers = any(named[groups[group]].any() for group, share in shares.shares.items() if share)
    if has_speakers:
        apart["no speaker"] = np.sort(np.concatenate([some[~named[some]] for some in groups.values()]))
        groups = {group: some[named[some]] for group, some in groups.items()}
    excluded = {
        reason: ExcludedAmount(len(some), _hours(rows.seconds[some]))
        for reason, some in sorted(apart.items())
        if len(some)
    }
    return _Pool(rows, groups, has_speakers, excluded)


def _in_order(pool: PoolRows, group: Indices, most_seconds: float, seed: int) -> Indices:
    """Return the clips of a group in the order of drawing, without those that exceed `most_seconds` of a speaker."""
    by_hash = group[_hash_order([pool.ids[row] for row in group.tolist()], seed)]
    given: dict[int, float] = {}
    levels: list[float] = []
    kept: list[int] = []
    seconds, speakers = pool.seconds[by_hash].tolist(), pool.speakers.index[by_hash].tolist()
    for place, (length, speaker) in enumerate(zip(seconds, speakers, strict=True)):
        # Without speakers, all clips have level 0, so they are ordered by hash.
        level = given.get(speaker, 0.0)
        if level + length <= most_seconds + _SLACK_SECONDS:
            levels.append(level)
            kept.append(place)
            if speaker >= 0:
                given[speaker] = level + length
    return by_hash[np.array(kept, np.int64)[np.argsort(np.array(levels), kind="stable")]]


def _hash_order(ids: Sequence[str], seed: int) -> Indices:
    """Return the order of ids by a hash of seed and id, ties by id."""
    salt = hashlib.blake2b(f"{seed}\n".encode(), digest_size=8)

    def digest(name: str) -> int:
        found = salt.copy()
        # Ids made of file names that are not UTF-8 contain lone surrogates.
        found.update(name.encode("utf-8", "surrogatepass"))
        return int.from_bytes(found.digest(), "big")

    hashes = np.fromiter(map(digest, ids), np.uint64, len(ids))
    order = np.argsort(hashes, kind="stable")
    if (np.diff(hashes[order]) == 0).any():
        return np.array(sorted(range(len(ids)), key=lambda place: (hashes[place], ids[place])), np.int64)
    return order


def _how_many(lengths: Sequence[float], seconds: float) -> int:
    """Return the number of clips, counted from the first, whose sum is closest to `seconds`."""
    total = 0.0
    for number, length in enumerate(lengths):
        after = total + length
        if after >= seconds:
            # The error is at most half a clip, but no group is left empty.
            return number + (after - seconds <= seconds - total or number == 0)
        total = after
    return len(lengths)


def _check_enough(lengths: Mapping[str, Numbers], shares: Balance, hours: float, speaker_hours: float | None) -> None:
    there = {group: math.fsum(each.tolist()) / 3600 for group, each in lengths.items()}
    poor = [group for group in there if there[group] < shares.shares[group] * hours - _SLACK_SECONDS / 3600]
    if not poor:
        return
    limit = "" if speaker_hours is None else f" with at most {speaker_hours:g} h of one speaker"
    short = "; ".join(
        f"`{shares.column}` {group} needs {shares.shares[group] * hours:g} h and has {_floor(there[group])} h{limit}"
        for group in poor
    )
    most = min(there[group] / shares.shares[group] for group in there)
    remedy = f"this balance allows at most {_floor(most)} h in all"
    raise UserError(f"too little audio: {short}", where=f"balance {shares}", remedy=remedy)


def _floor(hours: float) -> str:
    """Write hours rounded down to four digits, so that a request for them can be met."""
    if hours <= 0:
        return "0"
    digits = 3 - math.floor(math.log10(hours))
    return f"{math.floor(hours * 10**digits) / 10**digits:.{max(digits, 0)}f}"


def _hours(seconds: Numbers) -> float:
    return round(math.fsum(seconds.tolist()) / 3600, 6)


def _amounts(pool: _Pool, rows: Indices) -> DrawnAmounts:
    seconds, speakers = pool.rows.seconds[rows], pool.rows.speakers.index[rows]
    named = speakers >= 0
    _, inverse = np.unique(speakers[named], return_inverse=True)
    held = np.sort(np.bincount(inverse, weights=seconds[named])) if named.any() else np.zeros(0)
    known = pool.has_speakers
    return DrawnAmounts(
        hours=_hours(seconds),
        clips=len(rows),
        speakers=len(held) if known else None,
        effective_speakers=round(effective_number(held), 3) if known else None,
        most_hours_of_a_speaker=round(float(held.max(initial=0.0)) / 3600, 6) if known else None,
    )


def _notes(pool: _Pool, column: str) -> list[str]:
    notes: list[str] = []
    if said := spellings_note(column, pool.rows.values.merged):
        notes.append(f"Spellings merged, {said}.")
    if not pool.has_speakers:
        notes.append("No clip has a speaker, so clips are drawn without regard to speakers.")
    people = [np.unique(pool.rows.speakers.index[rows]) for rows in pool.groups.values()]
    who, times = np.unique(np.concatenate(people), return_counts=True)
    several = sorted(pool.rows.speakers.names[code] for code in who[(times > 1) & (who >= 0)].tolist())
    if several:
        named = ", ".join(several[:10]) + (" …" if len(several) > 10 else "")
        notes.append(f"Speakers of the pool with more than one {column}: {len(several)} ({named}).")
    return notes


def _hash_pool(rows: PoolRows) -> str:
    """Return a hash (16 hex digits) of everything that determines a draw; it does not depend on the pool's order."""
    speakers, groups = [*rows.speakers.names, None], [*rows.values.names, None]
    texts = sorted(
        repr((name, length, speakers[speaker], groups[group]))
        for name, length, speaker, group in zip(
            rows.ids,
            rows.seconds.tolist(),
            rows.speakers.index.tolist(),
            rows.values.index.tolist(),
            strict=True,
        )
    )
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("ascii", "backslashreplace") + b"\n")
    return digest.hexdigest()[:16]
