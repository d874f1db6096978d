"""The composition of manifests in words and numbers: what its page and its answer say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audio_ssl.report.numbers import MISSING, count, finite

FEW_SPEAKERS = 20
"""Fewer speakers' worth of hours than this say more of these speakers than of their group."""

_Row = Mapping[str, Any]
_MOST_NAMED = 6
_HARD_SPACE = "\u00a0"


def composition_answer(report: _Row) -> dict[str, list[str]]:
    """Say in sentences what the manifests hold and what to mind."""
    hours, speakers, mind = [], [], []
    for manifest in report["manifests"]:
        name = manifest["name"]
        first, *others = amount_sentences(manifest)
        hours += [f"{name}: {first}", *(f"{name}: {one[0].lower()}{one[1:]}" for one in others)]
        if manifest["total"]["speakers"]:
            speakers.append(f"{name}: {evenness(manifest['total'])}.")
            speakers += [
                f"{name}, {part['attribute']} {row['value']}: {evenness(row)}."
                for part in manifest["by"]
                for row in part["rows"][:_MOST_NAMED]
                if row["speakers"] and len(part["rows"]) > 1
            ]
        mind += [f"{name}: {one[0].lower()}{one[1:]}" for one in warnings(manifest, named=False)]
    mind += [f"{one['a']} and {one['b']} share {count(one['count'], 'speaker')}." for one in report["shared_speakers"]]
    return {"hours": hours, "speakers": speakers, "to mind": mind}


def amount_sentences(manifest: _Row) -> list[str]:
    """Say how many hours there are, and how they are shared: the first attribute in the first sentence."""
    total = manifest["total"]
    held = f"{hours_of(total)} in {count(total['clips'], 'clip')}"
    if not manifest["by"]:
        return [f"{held}."]
    first, *others = manifest["by"]
    return [f"{held}; by {first['attribute']}, {_shares(first)}.", *(_shares_alone(part) for part in others)]


def _shares_alone(part: _Row) -> str:
    return f"By {part['attribute']}, the hours are {_shares(part)}."


def _shares(part: _Row) -> str:
    known = [row for row in part["rows"] if row["known"]]
    shown = sorted(known, key=lambda row: -row["hours"])[:_MOST_NAMED] if len(known) > _MOST_NAMED else known
    words = [f"{percent(row['share_of_hours'])} {row['value']}" for row in shown]
    if len(known) > len(shown):
        words.append(f"{percent(sum(row['share_of_hours'] for row in known if row not in shown))} others")
    unknown = sum(row["share_of_hours"] for row in part["rows"] if not row["known"])
    return ", ".join([*words, f"{percent(unknown)} unknown" if unknown else "none unknown"])


def evenness(row: _Row) -> str:
    """Say how many speakers there are and how the hours lie over them."""
    each = row["hours_per_speaker"]
    return (
        f"{count(row['speakers'], 'speaker')}, as good as {tenths(row['effective_speakers'])} with equal hours; "
        f"median {time_of(each['median'])} a speaker, most {time_of(each['max'])}"
    )


def warnings(manifest: _Row, named: bool = True) -> list[str]:
    """Say what to mind before this manifest is used; with `named`, who the speakers are."""
    said = []
    for part in manifest["by"]:
        several = part["speakers_of_several"]
        if several["count"]:
            whom = names_of(several) if named else ""
            said.append(f"{count(several['count'], 'speaker')} with more than one {part['attribute']}{whom}.")
        said += _few(part)
    for one in manifest["shared_speakers"]:
        whom = names_of(one) if named else ""
        said.append(f"The splits {one['a']} and {one['b']} share {count(one['count'], 'speaker')}{whom}.")
    total = manifest["total"]
    if total["clips_without_speaker"]:
        said.append(
            f"{count(total['clips_without_speaker'], 'clip')} without a speaker, left out of counts of speakers."
        )
    level = total["level_dbfs"]
    if level and level["silent"]:
        said.append(f"{count(level['silent'], 'clip')} of digital silence.")
    if manifest["unreadable"]:
        said.append(f"{count(manifest['unreadable'], 'clip')} could not be read.")
    return said


def _few(part: _Row) -> list[str]:
    few = [row for row in part["rows"] if row["known"] and 0 < row["effective_speakers"] < FEW_SPEAKERS]
    if not few or part["attribute"] == "speaker":
        return []
    groups = ", ".join(f"{row['value']} ({tenths(row['effective_speakers'])})" for row in few[:_MOST_NAMED])
    more = f" and {len(few) - _MOST_NAMED} more" if len(few) > _MOST_NAMED else ""
    return [
        f"By {part['attribute']}, as good as fewer than {FEW_SPEAKERS} speakers with equal hours: {groups}{more}. "
        "What a model learns from so few may be theirs and not their group's."
    ]


def names_of(shared: _Row) -> str:
    """Name the first speakers, in brackets."""
    return f" ({', '.join(shared['names'])}{' …' if shared['count'] > len(shared['names']) else ''})"


def percent(share: float) -> str:
    r"""Write a share of the whole.

    Examples
    --------
    >>> percent(0.504), percent(0.0001), percent(0.0)
    ('50.4\xa0%', '<\xa00.1\xa0%', '0.0\xa0%')
    """
    return ("< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %").replace(" ", _HARD_SPACE)


def tenths(value: Any) -> str:
    """Write a number with one decimal; a dash where there is none."""
    amount = finite(value)
    return MISSING if amount is None else f"{amount:,.1f}".replace("-", "−")


def plain_hours(hours: float) -> str:
    """Write hours for a column of hours.

    Examples
    --------
    >>> plain_hours(1234.56), plain_hours(1.234), plain_hours(0.01234)
    ('1,234.6', '1.23', '0.012')
    """
    return f"{hours:,.1f}" if hours >= 100 else f"{hours:.2f}" if hours >= 0.1 or hours == 0 else f"{hours:.2g}"


def hours_of(row: _Row) -> str:
    """Write the hours of a row with their unit."""
    return f"{plain_hours(row['hours'])}{_HARD_SPACE}h" if row["hours"] >= 0.1 else time_of(row["hours"])


def time_of(hours: float) -> str:
    r"""Write the hours of one speaker: they may be seconds or days.

    Examples
    --------
    >>> time_of(0.0042), time_of(0.3), time_of(12.34)
    ('15.1\xa0s', '18.0\xa0min', '12.3\xa0h')
    """
    if hours < 1 / 60:
        return f"{3600 * hours:.1f}{_HARD_SPACE}s"
    return f"{60 * hours:.1f}{_HARD_SPACE}min" if hours < 1 else f"{hours:,.1f}{_HARD_SPACE}h"
