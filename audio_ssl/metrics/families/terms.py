"""Term coverage and gender accuracy of translations of MuST-SHE (Gaido et al. 2020; Savoldi et al. 2022).

A segment names terms, each in the right form and in that of the other gender. Coverage is the share of terms that the
translation has in either form; accuracy the share of the right form among those. It is no accuracy over all terms: a
system that leaves the terms out can be accurate, so the two belong beside each other.

The published script (``mustshe_gender_accuracy.py`` of FBK-fairseq) lower-cases, takes what is between spaces, and uses
each word of the translation for one term. Ours differs where that goes wrong (the tests count both ways):

* A term of which both forms occur counts as right and as wrong there. Here it is right, and the other form stays free.
* Terms are looked for one after the other there. Here all right forms come first, so their order does not matter.
* It wants tokenised text: ``née.`` and ``l'amie`` are not found. Here punctuation at the ends of words, and elided
  articles, come off. ``né(e)`` and ``né·e`` stay whole: neither form.
* Composed and decomposed accents, and both apostrophes, are the same here.
* Without a term found, accuracy is 0 there, or division by zero for the total. Here it is NaN.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.metric import AdditiveMetric, Answer, Array, as_text, ratio, share

CATEGORY_PAIRS = (("1F", "1M"), ("2F", "2M"))
"""What is compared: feminine and masculine terms whose gender is known from the same place, voice (1) or words (2).

A speaker can be in both groups of a pair: several of a talk's segments are about other people.
"""

_APOSTROPHES = str.maketrans(dict.fromkeys("’ʼ´", "'"))
_QUOTED = re.compile(r"(?<!\w)'(\S(?:.{0,500}?\S)?)'(?!\w)")
_BETWEEN = re.compile(r"\s+|[–—…]|\.{2,}")
_WORD = re.compile(r"[\W_]*([^\W_](?:.*[^\W_])?'?)")
_AFTER_ELISION = re.compile(r"(?<=\w')(?=\w)")

_Form = tuple[str, ...]


class TermCounts(NamedTuple):
    """What a translation has of a segment's terms."""

    right: int
    """Right forms."""
    wrong: int
    """Forms of the other gender."""
    found: int
    """Terms of which a form was found."""
    terms: int
    """All of them."""


def count_terms(terms: str, translation: str) -> TermCounts:
    """Look for the terms of a segment in its translation.

    Parameters
    ----------
    terms
        ``right wrong;right wrong``.
    translation
        What the system said.

    Raises
    ------
    UserError
        If `terms` have another form.

    Examples
    --------
    >>> count_terms("née né;l'amie l'ami;seule seul", "Je suis né, l'amie.")
    TermCounts(right=1, wrong=1, found=2, terms=3)
    """
    pairs = _read(terms)
    tokens: list[str | None] = [*_tokens(translation)]
    right = [_take(tokens, one) for one, _ in pairs]
    wrong = [not ours and _take(tokens, other) for ours, (_, other) in zip(right, pairs, strict=True)]
    return TermCounts(sum(right), sum(wrong), sum(right) + sum(wrong), len(pairs))


def why_not(terms: object) -> str | None:
    """Return why a segment with these `terms` cannot be scored, or None.

    Examples
    --------
    >>> why_not("née né;seule")
    'a term needs the right and the wrong form, but is `seule`'
    """
    if not isinstance(terms, str) or not terms.strip(" ;"):
        return "no terms"
    for term in terms.split(";"):
        words = term.lower().split()
        if not words:
            continue
        if len(words) != 2:
            return f"a term needs the right and the wrong form, but is `{term.strip()}`"
        if _forms(words[0]) == _forms(words[1]):
            return f"both forms of a term are `{words[0]}`"
        if not all(any(letter.isalnum() for letter in word) for word in words):
            return f"a form of a term has no letters: `{term.strip()}`"
    return None


def _coverage(terms: Answer, translation: Answer) -> Array:
    counts = count_terms(as_text(terms), as_text(translation))
    return np.array([counts.found, counts.terms], np.float64)


def _accuracy(terms: Answer, translation: Answer) -> Array:
    counts = count_terms(as_text(terms), as_text(translation))
    return np.array([counts.right, counts.wrong], np.float64)


def _why_no_terms(terms: object, hypothesis: str) -> str | None:
    reason = why_not(terms)
    return f"terms: {reason}" if reason else None


def _read(terms: str) -> list[tuple[str, str]]:
    if reason := why_not(terms):
        raise UserError(f"`terms` cannot be used: {reason}", remedy="write `right wrong;right wrong`")
    words = (term.split() for term in terms.lower().split(";"))
    return [(pair[0], pair[1]) for pair in words if pair]


def _tokens(text: str) -> list[str]:
    """Return words in lower case; elided articles keep the apostrophe (Italian ``un'`` is feminine, ``un`` is not)."""
    text = unicodedata.normalize("NFC", text.translate(_APOSTROPHES)).lower()
    text = _QUOTED.sub(r" \1 ", text)
    words = (found[1] for word in _BETWEEN.split(text) if (found := _WORD.match(word)))
    return [token for word in words for token in _AFTER_ELISION.split(word)]


def _forms(word: str) -> list[_Form]:
    """Return a form as words in a row: with its hyphens, then without, as normalised text has it."""
    return list(dict.fromkeys(tuple(_tokens(one)) for one in (word, word.replace("-", " "))))


def _take(tokens: list[str | None], word: str) -> bool:
    """Tell whether a form is among the words that are left, and take it out; the gap stays, so that none close up."""
    for form in _forms(word):
        for start in range(len(tokens) - len(form) + 1):
            if tuple(tokens[start : start + len(form)]) == form:
                tokens[start : start + len(form)] = [None] * len(form)
                return True
    return False


TERM_COVERAGE = AdditiveMetric(
    name="term_coverage",
    label="term coverage",
    columns=("found", "terms"),
    per_clip=_coverage,
    score=share,
    signature_of=lambda: "case:lc|nfc|tok:spaces, punctuation and elision apart|both forms:right",
    reference="terms",
    why_not=_why_no_terms,
)
"""Percent of terms found in either form."""

GENDER_ACCURACY = replace(
    TERM_COVERAGE,
    name="gender_accuracy",
    label="gender accuracy",
    columns=("right", "wrong"),
    per_clip=_accuracy,
    score=lambda sums: 100.0 * ratio(sums[..., 0], sums.sum(-1)),
)
"""Percent of right forms among the terms that were found."""

METRICS = (TERM_COVERAGE, GENDER_ACCURACY)
