"""What a model should not be trusted with, as far as its facts tell: each sentence has its reason in them."""

from __future__ import annotations

from collections.abc import Iterator

from audio_ssl.shipped.facts import ScoreRow, ShippedFacts


def limits_of(facts: ShippedFacts) -> list[str]:
    """Return sentences."""
    return [*_of_the_form(facts), *_of_the_audio(facts), *_of_the_scores(facts)]


def _of_the_form(facts: ShippedFacts) -> Iterator[str]:
    yield f"It is small ({facts.parameters / 1e6:.1f} million parameters), made for machines without a GPU."
    yield f"It hears nothing above {facts.sample_rate / 2000:g} kHz, and channels are mixed to one."


def _of_the_audio(facts: ShippedFacts) -> Iterator[str]:
    total = sum(one.hours for one in facts.corpora) or 1.0
    made = [one for one in facts.corpora if one.made]
    if made:
        share = sum(one.hours for one in made) / total
        names = ", ".join(one.title for one in made)
        yield f"{share:.0%} of its audio is synthetic, made by this package ({names})."
    languages = sorted({language for one in facts.corpora for language in one.languages})
    if languages:
        yield f"Languages that its clips name: {', '.join(languages)}. Others are not known to work."
    female, male = (sum(getattr(one, key) for one in facts.corpora) for key in ("female_hours", "male_hours"))
    if female or male:
        yield (
            f"Of speech whose speaker's gender is known it heard {female:.2f} h of women and {male:.2f} h of men. "
            "Audit what is built on it with `audio-ssl fairness`."
        )
    else:
        yield "No clip names its speaker's gender. Audit what is built on it with `audio-ssl fairness`."
    if unnamed := [one for one in facts.corpora if not one.name]:
        yield f"{unnamed[0].hours:.2f} h of its audio are of no named corpus; their licence is not known."


def _of_the_scores(facts: ShippedFacts) -> Iterator[str]:
    if not facts.scores:
        yield "No scores are recorded: probe it on data of your own before relying on it."
        return
    if facts.gaps:
        yield from _of_the_gaps(facts)
        return
    for own in (row for row in facts.scores if row.system == facts.name):
        others = [row for row in facts.scores if row.task == own.task and row is not own]
        above = [row.system for row in others if _beyond(row, own)]
        level = [row.system for row in others if not _beyond(row, own) and not _beyond(own, row)]
        if above:
            yield f"{own.task}: {', '.join(above)} is better, intervals apart."
        if level:
            yield f"{own.task}: no statistically significant difference from {', '.join(level)}, as intervals overlap."


def _of_the_gaps(facts: ShippedFacts) -> Iterator[str]:
    for task in dict.fromkeys(one.task for one in facts.gaps):
        gaps = [one for one in facts.gaps if one.task == task]
        if above := [one.other for one in gaps if one.high < 0]:
            yield f"{task}: {', '.join(above)} is better on the same clips."
        if level := [one.other for one in gaps if one.low <= 0 <= one.high]:
            yield f"{task}: no statistically significant difference from {', '.join(level)} on the same clips."


def _beyond(one: ScoreRow, other: ScoreRow) -> bool:
    """Tell whether one score is better than another with intervals apart."""
    return one.low > other.high if one.higher_is_better else one.high < other.low
