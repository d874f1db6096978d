"""Sets of pretraining audio with the asked hours per group, as even over speakers as the pool allows.

Within a group every clip has one place in an order that depends on the seed and the ids alone: clips of a speaker are
sorted by a hash, a clip's level is what the speaker has given before it, and clips enter from the lowest level up.
Cutting that order at the asked hours is water filling: speakers with little give all, the others up to a common level.
It also nests: more hours with the same seed hold all clips of fewer, and 5 h of women are the same 5 h at any share.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from audio_ssl.data.attributes import attribute, check_column, recorded
from audio_ssl.data.manifest import Clip
from audio_ssl.data.spellings import read_value, spellings_note
from audio_ssl.data.spread import effective_number
from audio_ssl.errors import UserError, unknown_name

_EXAMPLE = "for example gender=F:0.5,M:0.5"
_SLACK_SECONDS = 1e-6
"""Sums of many lengths are not exact."""


@dataclass(frozen=True)
class Balance:
    """The share of the hours that each group of a column gets.

    Examples
    --------
    >>> str(Balance("gender", {"F": 0.3, "M": 0.7}))
    'gender=F:0.3,M:0.7'
    """

    column: str
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check that the shares can be shares."""
        if not self.shares:
            raise UserError("`balance` names no group", remedy=_EXAMPLE)
        for group, share in self.shares.items():
            if not (0 <= share <= 1):
                raise UserError(f"the share of `{group}` must be from 0 to 1, but is {share:g}", where="balance")
        total = math.fsum(self.shares.values())
        if abs(total - 1) > 1e-6:
            raise UserError(f"the shares must sum to 1, but sum to {total:g}", where=f"balance {self}")

    def __str__(self) -> str:
        """Return the balance as it is typed."""
        return f"{self.column}=" + ",".join(f"{group}:{share}" for group, share in self.shares.items())


class Balanced(NamedTuple):
    """What was drawn, and how."""

    clips: list[Clip]
    """Sorted by id."""

    record: dict[str, Any]
    """Plain JSON: what was asked, what each group got and could have given, what was left out, the pool's hash."""


class _Pool(NamedTuple):
    """What of a pool can be drawn, and what cannot."""

    groups: dict[str, list[Clip]]
    has_speakers: bool
    excluded: dict[str, dict[str, float]]
    """Reason to the number of clips and hours."""

    merged: dict[str, str | None]
    """Recorded value to the group it was read as, of those that differ."""


def parse_balance(text: str) -> Balance:
    """Read a balance as it is typed.

    Raises
    ------
    UserError
        If it is not ``COLUMN=GROUP:SHARE,…``, names a group twice, or the shares do not sum to 1.

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
    """Draw from a pool a set with the asked hours of each group.

    Parameters
    ----------
    clips
        The pool, in any order. Clips whose column is unknown are never drawn, nor are clips without a speaker where
        others have one; where none has one, the clips of a group are drawn by hash alone.
    shares
        Which column, and what share of the hours each group gets.
    hours
        Of the whole set. Each group gets its share of them, to within the length of one clip, and one clip at least.
    speaker_hours
        The most that one speaker of a group may give; without it, no more than evenness needs.
    seed
        Decides which clips of a speaker are drawn.

    Returns
    -------
    The clips and the record of the draw.

    Raises
    ------
    UserError
        If `hours` is not positive, a group or the column is not in the pool, an id appears twice, or a group has too
        little audio; the error says how many hours there are and the most that this balance allows.
    """
    shares = _as_read(shares)
    _check_positive("hours", hours)
    if speaker_hours is not None:
        _check_positive("speaker_hours", speaker_hours)
    everything = list(clips)
    pool = _sort_out(everything, shares)
    if speaker_hours is not None and not pool.has_speakers:
        raise UserError("`speaker_hours` needs a speaker of each clip, and the pool records none")
    most = math.inf if speaker_hours is None else speaker_hours * 3600
    orders = {group: _in_order(pool.groups[group], most, seed) for group, share in shares.shares.items() if share}
    _check_enough(orders, shares, hours, speaker_hours)
    drawn = {group: _cut(order, shares.shares[group] * hours * 3600) for group, order in orders.items()}
    chosen = sorted((clip for group in drawn.values() for clip in group), key=lambda clip: clip.id)
    record = {
        "kind": "balance",
        "schema_version": 1,
        "asked": {
            "balance": str(shares),
            "column": shares.column,
            "shares": dict(shares.shares),
            "hours": hours,
            "speaker_hours": speaker_hours,
            "seed": seed,
        },
        "hours": _hours(chosen),
        "clips": len(chosen),
        "groups": {
            group: {
                "asked_hours": round(shares.shares[group] * hours, 6),
                **_amounts(drawn.get(group, []), pool.has_speakers),
                "pool": _amounts(pool.groups[group], pool.has_speakers),
            }
            for group in shares.shares
        },
        "excluded": pool.excluded,
        "notes": _notes(pool, shares.column),
        "pool_hash": _hash_pool(everything, shares.column),
    }
    return Balanced(chosen, record)


def _as_read(shares: Balance) -> Balance:
    """Return the shares under the names that their groups are read as: ``female`` is F."""
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


def _sort_out(clips: Sequence[Clip], shares: Balance) -> _Pool:
    """Split the pool into the groups asked for and, by reason, what is never drawn."""
    column = shares.column
    if not clips:
        raise UserError("the pool has no clips")
    check_column(clips, column)
    seen: set[str] = set()
    groups: dict[str, list[Clip]] = {group: [] for group in shares.shares}
    apart: dict[str, list[Clip]] = {}
    found: set[str] = set()
    merged: dict[str, str | None] = {}
    for clip in clips:
        if clip.id in seen:
            raise UserError(f"the id `{clip.id}` appears twice in the pool")
        seen.add(clip.id)
        written = recorded(clip, column)
        value = None if written is None else read_value(column, written)
        if written is not None and written != value:
            merged[written] = value
        if value is None:
            apart.setdefault(f"{column} unknown", []).append(clip)
            continue
        found.add(value)
        if value in groups:
            groups[value].append(clip)
        else:
            apart.setdefault(f"{column} {value}: not asked for", []).append(clip)
    for group, share in shares.shares.items():
        if share and group not in found:
            raise unknown_name("group", group, found, where=f"the pool's column `{column}`")
    has_speakers = any(clip.speaker for group, share in shares.shares.items() if share for clip in groups[group])
    if has_speakers:
        for group, members in groups.items():
            nameless = [clip for clip in members if not clip.speaker]
            if nameless:
                apart.setdefault("no speaker", []).extend(nameless)
                groups[group] = [clip for clip in members if clip.speaker]
    excluded = {reason: {"clips": len(some), "hours": _hours(some)} for reason, some in sorted(apart.items())}
    return _Pool(groups, has_speakers, excluded, merged)


def _in_order(clips: Sequence[Clip], most_seconds: float, seed: int) -> list[Clip]:
    """Order the clips of a group for drawing; what would take a speaker above `most_seconds` is left out."""
    salt = f"{seed}\n".encode()
    # File names need not be UTF-8; ids made of them have lone surrogates.
    hashes = [
        (hashlib.blake2b(salt + clip.id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), clip.id, clip)
        for clip in clips
    ]
    hashes.sort(key=lambda one: one[:2])
    given: dict[str, float] = {}
    levels: list[tuple[float, int, Clip]] = []
    for place, (_, _, clip) in enumerate(hashes):
        # Without a speaker each clip stands at level 0, so the hash alone orders them.
        level = given.get(clip.speaker, 0.0) if clip.speaker else 0.0
        if level + clip.seconds <= most_seconds + _SLACK_SECONDS:
            levels.append((level, place, clip))
            if clip.speaker:
                given[clip.speaker] = level + clip.seconds
    levels.sort(key=lambda one: one[:2])
    return [clip for _, _, clip in levels]


def _cut(order: Sequence[Clip], seconds: float) -> list[Clip]:
    """Take the clips from the first whose lengths come closest to `seconds` in sum."""
    total = 0.0
    for number, clip in enumerate(order):
        after = total + clip.seconds
        if after >= seconds:
            # Half a clip at most, but no group is left empty.
            closer = after - seconds <= seconds - total or number == 0
            return list(order[: number + closer])
        total = after
    return list(order)


def _check_enough(
    orders: Mapping[str, Sequence[Clip]], shares: Balance, hours: float, speaker_hours: float | None
) -> None:
    there = {group: math.fsum(clip.seconds for clip in order) / 3600 for group, order in orders.items()}
    poor = [group for group in orders if there[group] < shares.shares[group] * hours - _SLACK_SECONDS / 3600]
    if not poor:
        return
    limit = "" if speaker_hours is None else f" with at most {speaker_hours:g} h of one speaker"
    short = "; ".join(
        f"`{shares.column}` {group} needs {shares.shares[group] * hours:g} h and has {_floor(there[group])} h{limit}"
        for group in poor
    )
    most = min(there[group] / shares.shares[group] for group in orders)
    remedy = f"this balance allows at most {_floor(most)} h in all"
    raise UserError(f"too little audio: {short}", where=f"balance {shares}", remedy=remedy)


def _floor(hours: float) -> str:
    """Write hours rounded down to four digits, so that asking for them can be met."""
    if hours <= 0:
        return "0"
    digits = 3 - math.floor(math.log10(hours))
    return f"{math.floor(hours * 10**digits) / 10**digits:.{max(digits, 0)}f}"


def _hours(clips: Iterable[Clip]) -> float:
    return round(math.fsum(clip.seconds for clip in clips) / 3600, 6)


def _amounts(clips: Sequence[Clip], has_speakers: bool) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {}
    for clip in clips:
        if clip.speaker:
            seconds.setdefault(clip.speaker, []).append(clip.seconds)
    held = [math.fsum(each) for each in seconds.values()]
    return {
        "hours": _hours(clips),
        "clips": len(clips),
        "speakers": len(held) if has_speakers else None,
        "effective_speakers": round(effective_number(sorted(held)), 3) if has_speakers else None,
        "most_hours_of_a_speaker": round(max(held, default=0.0) / 3600, 6) if has_speakers else None,
    }


def _notes(pool: _Pool, column: str) -> list[str]:
    notes: list[str] = []
    if said := spellings_note(column, pool.merged):
        notes.append(f"Read as the same, {said}.")
    if not pool.has_speakers:
        notes.append("No clip has a speaker, so the hours of a group are spread over clips and not over speakers.")
    groups_of: dict[str, set[str]] = {}
    for group, clips in pool.groups.items():
        for clip in clips:
            if clip.speaker:
                groups_of.setdefault(clip.speaker, set()).add(group)
    several = sorted(speaker for speaker, groups in groups_of.items() if len(groups) > 1)
    if several:
        named = ", ".join(several[:10]) + (" …" if len(several) > 10 else "")
        notes.append(f"Speakers of the pool that appear under more than one {column}: {len(several)} ({named}).")
    return notes


def _hash_pool(clips: Iterable[Clip], column: str) -> str:
    """Return 16 hex digits over what decides a draw, whatever the order of the pool."""
    rows = sorted(repr((clip.id, clip.seconds, clip.speaker, attribute(clip, column))) for clip in clips)
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.encode("ascii", "backslashreplace") + b"\n")
    return digest.hexdigest()[:16]
