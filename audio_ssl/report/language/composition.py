"""The audit of manifests in words: the sentences of its page, its answer and its lines for a terminal."""

from __future__ import annotations

from audio_ssl.artifacts.composition import (
    AttributeAmounts,
    AuditReport,
    GroupAmounts,
    ManifestAudit,
    NamedSpeakers,
    SharedSpeakers,
)
from audio_ssl.report.numbers import HARD_SPACE, MISSING, count, finite

FEW_SPEAKERS = 20
"""Effective number of speakers below which a group is reported to have few speakers."""

LIMITS = (
    "Groups are as the corpus records them. Nothing is inferred from voices or names.",
    "Speakers are identified by name. Different people in two corpora may have the same name, and one person may have "
    "two names.",
    "The effective number of speakers is the number of speakers with equal hours that would be as concentrated: "
    "1 / Σ p² over their shares p of the hours (inverse Simpson index). The Gini coefficient is 0 if all speakers have "
    "equal hours and close to 1 if one speaker has nearly all.",
)
LEVEL_LIMIT = (
    "The level of a clip is the root mean square of all its samples, pauses included, in dB below full scale (dBFS). "
    "It does not measure loudness."
)
LORENZ = (
    "Lorenz curves: the share of the hours (vertical) over the share of the speakers (horizontal), beginning with the "
    "speakers with the fewest hours. The further a curve lies below the line of equal hours, the more a few speakers "
    "dominate."
)
CLIPPED = "Clipped: clips with at least 0.1 % of their samples at full scale."

HOLLOW = " The hollow bar is the unknown part."
SPLITS_APART = "No two splits share a speaker."
MANIFESTS_APART = "No two manifests share a speaker."

_MOST_NAMED = 6


def composition_answer(report: AuditReport) -> dict[str, list[str]]:
    """Return the hours, the speakers and the warnings of all manifests in sentences."""
    hours, speakers, minded = [], [], []
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
        minded += [f"{name}: {one[0].lower()}{one[1:]}" for one in warnings(manifest, named=False)]
    minded += [f"{one.a} and {one.b} share {count(one.count, 'speaker')}." for one in report.shared_speakers]
    return {"hours": hours, "speakers": speakers, "warnings": minded}


def amount_sentences(manifest: ManifestAudit) -> list[str]:
    """Return the hours and clips, and the shares of the groups of each attribute."""
    total = manifest.total
    held = f"{hours_of(total)} in {count(total.clips, 'clip')}"
    if not manifest.by:
        return [f"{held}."]
    first, *others = manifest.by
    return [f"{held}; by {first.attribute}: {_shares(first)}.", *(_shares_alone(part) for part in others)]


def _shares_alone(part: AttributeAmounts) -> str:
    return f"By {part.attribute}: {_shares(part)}."


def _shares(part: AttributeAmounts) -> str:
    known = [row for row in part.rows if row.known]
    shown = sorted(known, key=lambda row: -row.hours)[:_MOST_NAMED] if len(known) > _MOST_NAMED else known
    words = [f"{percent(row.share_of_hours)} {row.value}" for row in shown]
    if len(known) > len(shown):
        words.append(f"{percent(sum(row.share_of_hours for row in known if row not in shown))} others")
    unknown = sum(row.share_of_hours for row in part.rows if not row.known)
    return ", ".join([*words, f"{percent(unknown)} unknown" if unknown else "none unknown"])


def evenness(row: GroupAmounts) -> str:
    """Return the number of speakers, their effective number, and the hours per speaker."""
    said = f"{count(row.speakers, 'speaker')} (effective number {tenths(row.effective_speakers)})"
    each = row.hours_per_speaker
    return f"{said}, median {time_of(each.median)} per speaker, maximum {time_of(each.max)}" if each else said


def warnings(manifest: ManifestAudit, named: bool = True) -> list[str]:
    """Return warnings about a manifest; with `named`, they name speakers."""
    said = []
    for part in manifest.by:
        several = part.speakers_of_several
        if several.count:
            whom = names_of(several) if named else ""
            said.append(f"{count(several.count, 'speaker')} with more than one value of {part.attribute}{whom}.")
        said += _few(part)
    for one in manifest.shared_speakers:
        whom = names_of(one) if named else ""
        said.append(f"The splits {one.a} and {one.b} share {count(one.count, 'speaker')}{whom}.")
    total = manifest.total
    if total.clips_without_speaker:
        said.append(f"{count(total.clips_without_speaker, 'clip')} without a speaker, not in the speaker counts.")
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
        f"Few speakers by {part.attribute} (effective number below {FEW_SPEAKERS}): {groups}{more}. "
        "A model may learn these speakers rather than their group."
    ]


def only_largest(most: int) -> str:
    """Say that a figure does not show all groups."""
    return f" Only the {most} groups with the most hours are shown."


def lengths_caption(attribute: str) -> str:
    """Say what the figure of clip lengths shows."""
    return f"Clip lengths by {attribute}: median, and range from the 5th to the 95th percentile."


def levels_caption(attribute: str) -> str:
    """Say what the figure of levels shows."""
    return f"Levels by {attribute}: median, and range from the 5th to the 95th percentile, without silent clips."


def half_words(row: GroupAmounts) -> str:
    """Say how evenly the hours of a group lie on its speakers, to those who do not see the Lorenz curve."""
    return f"{row.value}: the half of the speakers with fewer hours has {percent(row.lorenz[10][1])} of the hours"


def names_of(shared: NamedSpeakers | SharedSpeakers) -> str:
    """Return the names of the first speakers, in brackets."""
    return f" ({', '.join(shared.names)}{' …' if shared.count > len(shared.names) else ''})"


def percent(share: float) -> str:
    r"""Write a share of the whole.

    Examples
    --------
    >>> percent(0.504), percent(0.0001), percent(0.0)
    ('50.4\xa0%', '<\xa00.1\xa0%', '0.0\xa0%')
    """
    return ("< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %").replace(" ", HARD_SPACE)


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
    return f"{plain_hours(row.hours)}{HARD_SPACE}h" if row.hours >= 0.1 else time_of(row.hours)


def time_of(hours: float) -> str:
    r"""Write hours in seconds, minutes or hours, whichever fits.

    Examples
    --------
    >>> time_of(0.0042), time_of(0.3), time_of(12.34)
    ('15.1\xa0s', '18.0\xa0min', '12.3\xa0h')
    """
    if hours < 1 / 60:
        return f"{3600 * hours:.1f}{HARD_SPACE}s"
    return f"{60 * hours:.1f}{HARD_SPACE}min" if hours < 1 else f"{hours:,.1f}{HARD_SPACE}h"


def manifest_lines(manifest: ManifestAudit) -> list[str]:
    """Describe a manifest in lines for a terminal."""
    lines = [f"{manifest.name}: {_amount(manifest.total)}"]
    for part in manifest.by:
        for row in part.rows:
            share = f"{100 * row.share_of_hours:.1f} %"
            lines.append(f"  {part.attribute} {row.value}: {share} of the hours, {_amount(row)}")
        several = part.speakers_of_several
        if several.count:
            lines.append(f"  speakers with more than one value of {part.attribute}: {several.count}{names_of(several)}")
    lines += [f"  spellings merged, {note}" for note in manifest.spellings]
    lines += [f"  speakers in both {one.a} and {one.b}: {one.count}{names_of(one)}" for one in manifest.shared_speakers]
    return lines


def _amount(row: GroupAmounts) -> str:
    lengths, level = row.clip_seconds, row.level_dbfs
    words = [f"{row.hours:,.2f} h", f"{count(row.clips, 'clip')} of {lengths.p5:.1f} to {lengths.p95:.1f} s"]
    if row.speakers:
        words.append(f"{count(row.speakers, 'speaker')} (effective number {row.effective_speakers:.1f})")
    if row.clips_without_speaker:
        words.append(f"{count(row.clips_without_speaker, 'clip')} without a speaker")
    if level is not None and finite(level.p50) is not None:
        words.append(f"median {level.p50:.1f} dBFS")
    if level is not None and level.silent:
        words.append(f"{level.silent:,} silent")
    return ", ".join(words)
