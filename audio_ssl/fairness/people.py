"""Groups of speakers and scores as a sentence calls them: "women aged 20–29", "word error rate"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audio_ssl.data.spellings import is_gender
from audio_ssl.fairness.values import ALL as ALL
from audio_ssl.fairness.values import CROSSED as CROSSED
from audio_ssl.fairness.values import PEOPLE
from audio_ssl.fairness.values import REST as REST
from audio_ssl.fairness.values import UNKNOWN as UNKNOWN
from audio_ssl.metrics.names import metric_label

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
_MEASURES = {
    "wer": "word error rate",
    "cer": "character error rate",
    "per": "phone error rate",
    "eer": "equal error rate",
    "bleu": "BLEU score",
    "chrf": "chrF score",
    "uar": "mean recall",
    "min_dcf": "smallest detection cost",
    "fnmr_at_common": "rate of own voices refused",
    "fmr_at_common": "rate of other voices accepted",
}


def people(by: str, group: str) -> str:
    """Call a group by the words of a sentence.

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
    """Call a group by few words, for a figure or a table: the code and what it stands for.

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
    """Say what belongs to a group.

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
    """Say "men's" or "that of speakers aged 30–39", for the second half of a comparison."""
    name = people(by, group)
    if name in PEOPLE.values():
        return f"{name}'s"
    return f"that {'for' if by == 'category' else 'of'} {name}"


def measure(metric: Any) -> str:
    """Call a score by its whole name.

    Examples
    --------
    >>> measure("wer"), measure("term_coverage")
    ('word error rate', 'term coverage')
    """
    return _MEASURES.get(str(metric), metric_label(metric))


def capital(sentence: str) -> str:
    """Begin with a capital letter and leave the rest as it is."""
    return sentence[:1].upper() + sentence[1:]
