"""The composition of manifests in words and numbers: what its page and its answer say."""

from __future__ import annotations

from audio_ssl.artifacts.composition import (
    AttributeAmounts,
    AuditReport,
    GroupAmounts,
    ManifestAudit,
    NamedSpeakers,
    SharedSpeakers,
)
from audio_ssl.report.numbers import MISSING, count, finite

FEW_SPEAKERS = 20
"""Fewer speakers' worth of hours than this say more of these speakers than of their group."""

_MOST_NAMED = 6
_HARD_SPACE = "\u00a0"


def composition_answer(report: AuditReport) -> dict[str, list[str]]:
    """Say in sentences what the manifests hold and what to mind."""
    hours, speakers, mind = [], [], []
    for manifest in report.manifests:
        name = manifest.name
        first, *others = amount_sentences(manifest)
        hours += [f"{name}: {first}", *(f"{name}: {one[0].lower()}{one[1:]}" for one in others)]
        if manifest.total.speakers:
            speakers.append(f"{name}: {evenness(manifest.total)}.")
            speakers += [
                f"{name}, {part.attribute} {row.value}: {evenness(row)}."
                for part in manifest.by
                for row in part.rows[:_MOST_NAMED]
                if row.speakers and len(part.rows) > 1
            ]
        mind += [f"{name}: {one[0].lower()}{one[1:]}" for one in warnings(manifest, named=False)]
    mind += [f"{one.a} and {one.b} share {count(one.count, 'speaker')}." for one in report.shared_speakers]
    return {"hours": hours, "speakers": speakers, "to mind": mind}


def amount_sentences(manifest: ManifestAudit) -> list[str]:
    """Say how many hours there are, and how they are shared: the first attribute in the first sentence."""
    total = manifest.total
    held = f"{hours_of(total)} in {count(total.clips, 'clip')}"
    if not manifest.by:
        return [f"{held}."]
    first, *others = manifest.by
    return [f"{held}; by {first.attribute}, {_shares(first)}.", *(_shares_alone(part) for part in others)]


def _shares_alone(part: AttributeAmounts) -> str:
    return f"By {part.attribute}, the hours are {_shares(part)}."


def _shares(part: AttributeAmounts) -> str:
    known = [row for row in part.rows if row.known]
    shown = sorted(known, key=lambda row: -row.hours)[:_MOST_NAMED] if len(known) > _MOST_NAMED else known
    words = [f"{percent(row.share_of_hours)} {row.value}" for row in shown]
    if len(known) > len(shown):
        words.append(f"{percent(sum(row.share_of_hours for row in known if row not in shown))} others")
    unknown = sum(row.share_of_hours for row in part.rows if not row.known)
    return ", ".join([*words, f"{percent(unknown)} unknown" if unknown else "none unknown"])


def evenness(row: GroupAmounts) -> str:
    """Say how many speakers there are and how the hours lie over them."""
    said = f"{count(row.speakers, 'speaker')}, as good as {tenths(row.effective_speakers)} with equal hours"
    each = row.hours_per_speaker
    return f"{said}; median {time_of(each.median)} a speaker, most {time_of(each.max)}" if each else said


def warnings(manifest: ManifestAudit, named: bool = True) -> list[str]:
    """Say what to mind before this manifest is used; with `named`, who the speakers are."""
    said = []
    for part in manifest.by:
        several = part.speakers_of_several
        if several.count:
            whom = names_of(several) if named else ""
            said.append(f"{count(several.count, 'speaker')} with more than one {part.attribute}{whom}.")
        said += _few(part)
    for one in manifest.shared_speakers:
        whom = names_of(one) if named else ""
        said.append(f"The splits {one.a} and {one.b} share {count(one.count, 'speaker')}{whom}.")
    total = manifest.total
    if total.clips_without_speaker:
        said.append(f"{count(total.clips_without_speaker, 'clip')} without a speaker, left out of counts of speakers.")
    level = total.level_dbfs
    if level and level.silent:
        said.append(f"{count(level.silent, 'clip')} of digital silence.")
    if manifest.unreadable:
        said.append(f"{count(manifest.unreadable, 'clip')} could not be read.")
    return said


def _few(part: AttributeAmounts) -> list[str]:
    few = [row for row in part.rows if row.known and 0 < row.effective_speakers < FEW_SPEAKERS]
    if not few or part.attribute == "speaker":
        return []
    groups = ", ".join(f"{row.value} ({tenths(row.effective_speakers)})" for row in few[:_MOST_NAMED])
    more = f" and {len(few) - _MOST_NAMED} more" if len(few) > _MOST_NAMED else ""
    return [
        f"By {part.attribute}, as good as fewer than {FEW_SPEAKERS} speakers with equal hours: {groups}{more}. "
        "What a model learns from so few may be theirs and not their group's."
    ]


def names_of(shared: NamedSpeakers | SharedSpeakers) -> str:
    """Name the first speakers, in brackets."""
    return f" ({', '.join(shared.names)}{' …' if shared.count > len(shared.names) else ''})"


def percent(share: float) -> str:
    r"""Write a share of the whole.

    Examples
    --------
    >>> percent(0.504), percent(0.0001), percent(0.0)
    ('50.4\xa0%', '<\xa00.1\xa0%', '0.0\xa0%')
    """
    return ("< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %").replace(" ", _HARD_SPACE)


def tenths(value: float | None) -> str:
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


def hours_of(row: GroupAmounts) -> str:
    """Write the hours of a row with their unit."""
    return f"{plain_hours(row.hours)}{_HARD_SPACE}h" if row.hours >= 0.1 else time_of(row.hours)


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


def manifest_lines(manifest: ManifestAudit) -> list[str]:
    """Describe a manifest in lines for a terminal."""
    lines = [f"{manifest.name}: {_amount(manifest.total)}"]
    for part in manifest.by:
        for row in part.rows:
            share = f"{100 * row.share_of_hours:.1f} %"
            lines.append(f"  {part.attribute} {row.value}: {share} of the hours, {_amount(row)}")
        several = part.speakers_of_several
        if several.count:
            lines.append(f"  speakers of more than one {part.attribute}: {several.count}{names_of(several)}")
    lines += [f"  spellings read as the same: {note}" for note in manifest.spellings]
    lines += [f"  speakers in both {one.a} and {one.b}: {one.count}{names_of(one)}" for one in manifest.shared_speakers]
    return lines


def _amount(row: GroupAmounts) -> str:
    lengths, level = row.clip_seconds, row.level_dbfs
    words = [f"{row.hours:,.2f} h", f"{count(row.clips, 'clip')} of {lengths.p5:.1f} to {lengths.p95:.1f} s"]
    if row.speakers:
        words.append(f"{count(row.speakers, 'speaker')} (as good as {row.effective_speakers:.1f} with equal hours)")
    if row.clips_without_speaker:
        words.append(f"{count(row.clips_without_speaker, 'clip')} without a speaker")
    if level is not None and finite(level.p50) is not None:
        words.append(f"median {level.p50:.1f} dBFS")
    if level is not None and level.silent:
        words.append(f"{level.silent:,} silent")
    return ", ".join(words)
