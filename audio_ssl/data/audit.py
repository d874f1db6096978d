"""Describes a manifest: hours, clips, speakers, clip lengths and levels of every group.

Speakers are identified by name. How evenly the hours are spread over the speakers is given as the effective number of
speakers, which is the number of speakers with equal hours that would be as concentrated (Hill 1973, order 2 and order
1), and as the Gini coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.composition import (
    AttributeAmounts,
    AuditedManifest,
    GroupAmounts,
    HoursPerSpeaker,
    Levels,
    ManifestAudit,
    NamedSpeakers,
    Quantiles,
    SharedSpeakers,
    SplitAmounts,
)
from audio_ssl.base.errors import unknown_name
from audio_ssl.data.audit_columns import AuditColumns
from audio_ssl.data.columns import Indices, Numbers, spellings_note

MOST_VALUES = 40
"""Maximum number of rows of an attribute. With more values, those with the fewest hours share the last row."""

_NAMED = 10
_PERCENTS = (5, 25, 50, 75, 95)
_LORENZ_POINTS = 21
_CLIPPED_SHARE = 0.001
"""Share of samples at full scale from which on a clip counts as clipped."""
_ALWAYS = ("gender", "speaker", "language", "split", "label")
"""Columns that are accepted even if no clip has them: all clips are then unknown."""


def columns_needed(by: Sequence[str]) -> list[str]:
    """Return the columns that `describe_manifest` needs."""
    return list(dict.fromkeys([*by, "language", "split"]))


def check_columns(manifests: Sequence[AuditColumns], by: Sequence[str]) -> None:
    """Raise UserError for a column that none of the manifests has."""
    found: set[str] = set().union(*(columns.found for columns in manifests))
    for name in by:
        if name not in found and name not in _ALWAYS:
            raise unknown_name("column", name, found, where="--by")


def describe_manifest(columns: AuditColumns, by: Sequence[str], source: AuditedManifest) -> ManifestAudit:
    """Describe a manifest.

    Parameters
    ----------
    columns
        Columns of the manifest, read with `columns_needed`.
    by
        Columns whose values are the groups.
    source
        Name, path and hash of the manifest.
    """
    everything = np.arange(len(columns.seconds))
    splits = _parts(columns, "split", everything)
    languages = _rows(columns, "language", everything)
    return ManifestAudit(
        **vars(source),
        total=_total(columns, everything),
        by=_by(columns, by, everything),
        spellings=tuple(note for name in by if (note := spellings_note(name, columns.values[name].merged))),
        languages=languages if any(row.known for row in languages) else (),
        splits=tuple(SplitAmounts(name, _total(columns, index), _by(columns, by, index)) for name, _, index in splits)
        if len(splits) > 1
        else (),
        shared_speakers=_shared_between(columns, splits),
    )


def shared_speakers(first: AuditColumns, second: AuditColumns) -> NamedSpeakers:
    """Return the number and the first names of the speakers that two manifests share."""
    return _named(sorted(set(first.speakers.names) & set(second.speakers.names)))


def _total(columns: AuditColumns, index: Indices) -> GroupAmounts:
    return replace(_row(columns, "all", True, index, float(columns.seconds[index].sum())), total=True)


def _by(columns: AuditColumns, by: Sequence[str], index: Indices) -> tuple[AttributeAmounts, ...]:
    return tuple(AttributeAmounts(name, _rows(columns, name, index), _several(columns, name, index)) for name in by)


def _rows(columns: AuditColumns, name: str, index: Indices) -> tuple[GroupAmounts, ...]:
    """Describe every value of a column, sorted by name, unknown last."""
    hours = float(columns.seconds[index].sum())
    parts = _parts(columns, name, index)
    known = [part for part in parts if part[1]]
    if len(known) > MOST_VALUES:
        # A stable sort keeps values with equal hours in the order of their names.
        ranked = sorted(known, key=lambda part: -float(columns.seconds[part[2]].sum()))
        kept, rest = sorted(ranked[: MOST_VALUES - 1], key=lambda part: part[0]), ranked[MOST_VALUES - 1 :]
        together = np.sort(np.concatenate([part[2] for part in rest]))
        known = [*kept, (f"{len(rest)} other values", True, together)]
    parts = [*known, *(part for part in parts if not part[1])]
    return tuple(_row(columns, value, is_known, inside, hours) for value, is_known, inside in parts)


def _parts(columns: AuditColumns, name: str, index: Indices) -> list[tuple[str, bool, Indices]]:
    """Return every value, whether it is known, and the clips that have it; unknown last."""
    codes = columns.values[name]
    inside = codes.index[index]
    order = np.argsort(inside, kind="stable")
    present, starts = np.unique(inside[order], return_index=True)
    parts = [
        (codes.names[code], True, clips) if code >= 0 else ("unknown", False, clips)
        for code, clips in zip(present, np.split(index[order], starts[1:]), strict=True)
    ]
    return sorted(parts, key=lambda part: not part[1])


def _row(columns: AuditColumns, value: str, is_known: bool, index: Indices, hours_of_all: float) -> GroupAmounts:
    seconds, speakers = columns.seconds[index], columns.speakers.index[index]
    named = speakers >= 0
    held = _sums(speakers[named], seconds[named]) / 3600
    total = float(seconds.sum())
    return GroupAmounts(
        value=value,
        known=is_known,
        total=False,
        hours=round(total / 3600, 6),
        share_of_hours=_rounded(total / hours_of_all if hours_of_all else 0.0),
        clips=len(index),
        speakers=len(held),
        clips_without_speaker=int(np.count_nonzero(~named)),
        hours_per_speaker=_hours_per_speaker(held),
        effective_speakers=_rounded(effective_number(held)),
        effective_speakers_entropy=_rounded(entropy_number(held)),
        gini=_rounded(gini(held)) if len(held) else None,
        lorenz=_lorenz(held),
        clip_seconds=_quantiles(seconds),
        level_dbfs=_levels(columns, index),
    )


def _sums(codes: Indices, amounts: Numbers) -> Numbers:
    """Return the sum of the amounts of each code that occurs."""
    _, inverse = np.unique(codes, return_inverse=True)
    # Without clips, bincount returns integers.
    return np.asarray(np.bincount(inverse, weights=amounts), dtype=np.float64)


def _hours_per_speaker(held: Numbers) -> HoursPerSpeaker | None:
    if len(held) == 0:
        return None
    return HoursPerSpeaker(*(_rounded(float(one)) for one in (held.mean(), np.median(held), held.max())))


def _lorenz(held: Numbers) -> tuple[tuple[float, float], ...]:
    """Return points (share of speakers, share of hours), beginning with the speakers with the fewest hours."""
    if len(held) == 0 or held.sum() <= 0:
        return ()
    below = np.concatenate([[0.0], np.cumsum(np.sort(held))]) / held.sum()
    share = np.linspace(0.0, 1.0, _LORENZ_POINTS)
    hours = np.interp(share * len(held), np.arange(len(held) + 1), below)
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in zip(share, hours, strict=True))


def _quantiles(values: Numbers) -> Quantiles:
    if len(values) == 0:
        return Quantiles(*[math.nan] * len(_PERCENTS))
    return Quantiles(*(round(float(value), 3) for value in np.percentile(values, _PERCENTS)))


def _levels(columns: AuditColumns, index: Indices) -> Levels | None:
    """Return the levels of the clips that are not silent, and counts; None where nothing was measured."""
    level = columns.level_dbfs[index]
    known = level[~np.isnan(level)]
    if len(known) == 0:
        return None
    heard = known[np.isfinite(known)]
    clipped = columns.clipped[index]
    measured = clipped[~np.isnan(clipped)]
    return Levels(
        measured=len(known),
        silent=len(known) - len(heard),
        clipped=int(np.count_nonzero(measured >= _CLIPPED_SHARE)) if len(measured) else None,
        **vars(_quantiles(heard)),
    )


def _several(columns: AuditColumns, name: str, index: Indices) -> NamedSpeakers:
    """Return the speakers with more than one known value of a column."""
    codes, speakers = columns.values[name].index[index], columns.speakers.index[index]
    known = (codes >= 0) & (speakers >= 0)
    width = len(columns.values[name].names) + 1
    pairs = np.unique(speakers[known] * width + codes[known])
    who, times = np.unique(pairs // width, return_counts=True)
    return _named([columns.speakers.names[code] for code in who[times > 1]])


def _shared_between(columns: AuditColumns, splits: Sequence[tuple[str, bool, Indices]]) -> tuple[SharedSpeakers, ...]:
    """Return the shared speakers of every two splits that share any."""
    who = {name: np.unique(columns.speakers.index[index]) for name, known, index in splits if known}
    rows = []
    for first, second in combinations(who, 2):
        both = np.intersect1d(who[first], who[second], assume_unique=True)
        names = [columns.speakers.names[code] for code in both if code >= 0]
        if names:
            rows.append(SharedSpeakers(first, second, **vars(_named(names))))
    return tuple(rows)


def _named(names: Sequence[str]) -> NamedSpeakers:
    return NamedSpeakers(len(names), tuple(names[:_NAMED]))


def _rounded(value: float) -> float:
    """Round to six digits, as further digits depend on the order of the sums."""
    return float(f"{value:.6g}") if math.isfinite(value) else value


Amounts = npt.ArrayLike
"""``[holder]``, not negative."""


def effective_number(amounts: Amounts) -> float:
    """Return the inverse Simpson index 1 / Σ p²: so many holders with equal amounts would be as concentrated.

    Hill's number of order 2 (Hill 1973); 0 if all amounts are 0.

    Examples
    --------
    >>> effective_number([1, 1, 1, 1]), round(effective_number([97, 1, 1, 1]), 2), effective_number([])
    (4.0, 1.06, 0.0)
    """
    held = np.asarray(amounts, dtype=np.float64)
    total = held.sum()
    return float(1 / np.sum((held / total) ** 2)) if total > 0 else 0.0


def entropy_number(amounts: Amounts) -> float:
    """Return exp(−Σ p log p), Hill's number of order 1. Small holders weigh more than in `effective_number`.

    Examples
    --------
    >>> round(entropy_number([1, 1, 1, 1]), 9), entropy_number([5, 0]), entropy_number([])
    (4.0, 1.0, 0.0)
    """
    held = np.asarray(amounts, dtype=np.float64)
    if held.sum() <= 0:
        return 0.0
    share = held[held > 0] / held.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def gini(amounts: Amounts) -> float:
    """Return the Gini coefficient: 0 if all amounts are equal, close to 1 if one holder has nearly everything.

    Examples
    --------
    >>> gini([2, 2, 2]), gini([0, 0, 0, 1]), gini([])
    (0.0, 0.75, 0.0)
    """
    held = np.sort(np.asarray(amounts, dtype=np.float64))
    total, number = held.sum(), len(held)
    if total <= 0:
        return 0.0
    rank = np.arange(1, number + 1)
    return float(max(0.0, 2 * np.sum(rank * held) / (number * total) - (number + 1) / number))
