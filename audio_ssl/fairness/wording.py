"""Words of an audit: names of groups and metrics, the direction of a gap, reasons and limits.

The symmetric relative difference is that of Garnerin et al. 2021 and Zanon Boito et al. 2022 (arXiv 2204.01397).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from audio_ssl.artifacts.fairness import ALL, CROSSED, REST, UNKNOWN
from audio_ssl.data.columns import is_gender
from audio_ssl.metrics.registry import metric_phrase

LIMITS = (
    "The differences found describe these clips and these speakers.",
    "Groups are as the corpus recorded them; nothing about a person was inferred.",
    "Groups can differ in what they said, how fast they spoke, and how they were recorded. The mixed model adjusts for "
    "the recorded part of that only. It assumes the same variance between speakers in all groups, and it compares "
    "typical speakers, not the groups' overall rates; the two differ where one group varies more than the other.",
    "Confidence intervals and p-values describe what other speakers of the same kind would change. They do not cover "
    "errors in the references, people who are missing from the test set, or the harm that an error does.",
    "No statistically significant difference does not mean that there is none. The minimum detectable difference says "
    "how large a difference this test set would usually show.",
    "A p-value is about one comparison. A Holm-adjusted p-value takes into account how many comparisons of a metric "
    "were made.",
)
"""Limitations, on every page."""

PEOPLE = {"F": "women", "M": "men"}
"""Group -> the people in it, for sentences."""

_CATEGORIES = {
    "1F": "feminine words about the speaker (1F)",
    "1M": "masculine words about the speaker (1M)",
    "2F": "feminine words about others (2F)",
    "2M": "masculine words about others (2M)",
}
_QUALIFIERS: dict[str, Callable[[str], str]] = {
    "gender": lambda value: f"of gender {value}",
    "age": lambda value: f"aged {value}",
    "accent": lambda value: f"with accent {value}",
    "language": lambda value: f"of {value} clips",
}


def people(by: str, group: str) -> str:
    """Return the name of a group for a sentence.

    Examples
    --------
    >>> people("gender", "F"), people("age", "20–29"), people("gender × age", "M × 30–39")
    ('women', 'speakers aged 20–29', 'men aged 30–39')
    >>> people("sex", "F"), short_people("sex", "M")
    ('women', 'men (M)')
    >>> people("gender", "unknown"), people("accent", "scottish"), people("category", "1F")
    ('speakers whose gender is unknown', 'speakers with accent scottish', 'feminine words about the speaker (1F)')
    """
    if group == ALL:
        return "all speakers"
    if group == REST:
        return "all other speakers"
    if group == UNKNOWN:
        return f"speakers whose {by} is unknown"
    if by == "category":
        return _CATEGORIES.get(group, f"category {group}")
    names, values = by.split(CROSSED), group.split(CROSSED)
    if len(names) != len(values):
        names, values = [by], [group]
    noun = "speakers"
    qualifiers = []
    for name, value in zip(names, values, strict=True):
        if is_gender(name) and value in PEOPLE and noun == "speakers":
            noun = PEOPLE[value]
        else:
            say = _QUALIFIERS.get(name)
            qualifiers.append(say(value) if say else f"of {name} {value}")
    return " ".join((noun, *qualifiers))


def short_people(by: str, group: str) -> str:
    """Return a short name of a group for a figure or a table: the code and its meaning.

    Examples
    --------
    >>> short_people("gender", "F"), short_people("age", "20–29"), short_people("gender × age", "M × 30–39")
    ('women (F)', '20–29', 'men × 30–39')
    """
    if is_gender(by) and group in PEOPLE:
        return f"{PEOPLE[group]} ({group})"
    names, values = by.split(CROSSED), group.split(CROSSED)
    if len(names) != len(values) or len(names) == 1:
        return group
    said = [PEOPLE.get(value, value) if is_gender(name) else value for name, value in zip(names, values, strict=True)]
    return CROSSED.join(said)


def whose(by: str, group: str, thing: str) -> str:
    """Return the phrase for a thing of a group.

    Examples
    --------
    >>> whose("gender", "F", "accuracy"), whose("age", "20–29", "accuracy")
    ("women's accuracy", 'the accuracy of speakers aged 20–29')
    """
    name = people(by, group)
    if name in PEOPLE.values():
        return f"{name}'s {thing}"
    return f"the {thing} {'for' if by == 'category' else 'of'} {name}"


def that_of(by: str, group: str) -> str:
    """Return "men's" or "that of speakers aged 30–39", for the second half of a comparison."""
    name = people(by, group)
    if name in PEOPLE.values():
        return f"{name}'s"
    return f"that {'for' if by == 'category' else 'of'} {name}"


def capital(sentence: str) -> str:
    """Return a sentence with a capital first letter; the rest is unchanged."""
    return sentence[:1].upper() + sentence[1:]


def few_speakers(group: str, speakers: int, needed: int) -> str:
    """Return the reason why a group is too small.

    Examples
    --------
    >>> few_speakers("F", 1, 5)
    'group F has 1 speaker, fewer than the 5 needed'
    """
    people = "1 speaker" if speakers == 1 else f"{speakers} speakers"
    return f"group {group} has {people}, fewer than the {needed} needed"


def small_group(speakers: int) -> str:
    """Return the warning of a comparison with few speakers in the smaller group."""
    return f"the smaller group has only {speakers} speakers, so small differences are usually missed"


def relative_symmetric(a: float, b: float) -> float:
    """Return ``100 * (a - b) / ((a + b) / 2)``; NaN where both are 0.

    Examples
    --------
    >>> relative_symmetric(12.0, 8.0)
    40.0
    """
    return 100.0 * (a - b) / (0.5 * (a + b)) if a + b else math.nan


def relative_to(a: float, b: float) -> float:
    """Return ``100 * (a - b) / b``; NaN where `b` is 0.

    Examples
    --------
    >>> relative_to(12.0, 8.0)
    50.0
    """
    return 100.0 * (a - b) / b if b else math.nan


def gap_direction(
    metric: str, higher_is_better: bool, first: str, second: str, a: float, b: float, by: str | None = None
) -> str:
    """Say which group has the worse score, and by how much; with the attribute `by`, in the words of a sentence.

    Examples
    --------
    >>> gap_direction("wer", False, "F", "M", 12.0, 10.0)
    'the wer of F is 20 % higher than that of M: worse for F'
    >>> gap_direction("wer", False, "F", "M", 12.0, 10.0, by="gender")
    "women's word error rate is 20 % higher than men's: worse for women"
    """
    score = metric if by is None else metric_phrase(metric)
    if not (math.isfinite(a) and math.isfinite(b)):
        return f"the {score} of one group is not defined"
    names = (first, second) if by is None else (people(by, first), people(by, second))
    if a == b:
        return f"the {score} of {names[0]} and {names[1]} is the same"
    relative = relative_to(a, b)
    size = f"{abs(relative):.0f} % " if abs(relative) >= 0.5 else "less than 1 % "
    amount = size if math.isfinite(relative) else ""
    worse = names[0] if (a > b) != higher_is_better else names[1]
    change = f"{amount}{'higher' if a > b else 'lower'}"
    subject = f"the {score} of {first}" if by is None else whose(by, first, score)
    other = f"that of {second}" if by is None else that_of(by, second)
    return f"{subject} is {change} than {other}: worse for {worse}"
