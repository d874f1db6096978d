"""Metrics of texts: word, phone and character error rate, BLEU, chrF, accuracy, slots.

Alignments come from RapidFuzz, and every count is that of jiwer, which aligns with it too: the tests compare them.
N-gram counts come from sacrebleu. Here they are kept per clip.

Slot filling is scored as in SUPERB (Yang et al. 2021, arXiv 2105.01051; s3prl's `slot_type_f1` and `slot_value_cer`).
Answers are text with marked slots, ``play <artist>queen</artist> now``. A mark without its end is no slot; marks inside
a slot's value are not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from audio_ssl.base.text import composed
from audio_ssl.metrics.metric import AdditiveMetric, Answer, Array, as_text, ratio, share
from audio_ssl.metrics.texts import USUAL, check_tokenizer

_ERRORS = ("substitutions", "deletions", "insertions")
_MAX_ORDER = 4
_CHRF_BETA = 2
"""Weight of recall (Popović 2017): chrF2."""
_SPACES = re.compile(r"\s\s+")


def edits(reference: Answer, hypothesis: Answer, characters: bool = False) -> Array:
    """Return substitutions, deletions, insertions, and the words (or characters) of the reference."""
    reference, hypothesis = as_text(reference), as_text(hypothesis)
    units = len(reference.strip()) if characters else len(reference.split())
    if units == 0:
        # Nothing was said: every word recognised is an insertion.
        inserted = len(hypothesis.strip()) if characters else len(hypothesis.split())
        return np.array([0, 0, inserted, 0], np.float64)
    right: Sequence[str] = reference.strip() if characters else _words(reference)
    said: Sequence[str] = hypothesis.strip() if characters else _words(hypothesis)
    counts = {"replace": 0, "delete": 0, "insert": 0, "equal": 0}
    for part in _opcodes()(right, said):
        counts[part.tag] += max(part.src_end - part.src_start, part.dest_end - part.dest_start)
    return np.array([counts["replace"], counts["delete"], counts["insert"], len(right)], np.float64)


@lru_cache
def _opcodes() -> Callable[..., Any]:
    # Imported here, as all below: what a metric is called is known without the packages that compute it.
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.opcodes


def _words(text: str) -> list[str]:
    """Return what jiwer takes for words: a single white space other than a blank does not part them."""
    return [word for word in _SPACES.sub(" ", text).strip().split(" ") if word]


def error_rate(sums: Array) -> Array:
    """Score the sums of `edits`, in percent."""
    return 100.0 * ratio(sums[..., :3].sum(-1), sums[..., 3])


@lru_cache
def _bleu_counter(tokenizer: str) -> Any:
    from sacrebleu.metrics import bleu as sacrebleu_bleu

    counter = sacrebleu_bleu.BLEU(effective_order=False, tokenize=check_tokenizer(tokenizer))
    # The signature knows the number of references once something was scored.
    counter.corpus_score(["a"], [["a"]])
    return counter


def _bleu_statistics(reference: Answer, hypothesis: Answer, tokenizer: str = USUAL) -> Array:
    found = _bleu_counter(tokenizer)._extract_corpus_statistics([as_text(hypothesis)], [[as_text(reference)]])[0]
    return np.array(found, np.float64)


@lru_cache
def bleu(tokenizer: str = USUAL) -> AdditiveMetric:
    """Return corpus BLEU with one of sacrebleu's tokenisers.

    Raises
    ------
    UserError
        If there is none of the name, or its package is not installed.
    """
    check_tokenizer(tokenizer)
    return replace(
        BLEU,
        per_clip=lambda reference, hypothesis: _bleu_statistics(reference, hypothesis, tokenizer),
        signature_of=lambda: str(_bleu_counter(tokenizer).get_signature()),
    )


def _bleu_score(sums: Array) -> Array:
    """Score sacrebleu's statistics: ``sys_len, ref_len, correct 1-4, total 1-4``, exponentially smoothed."""
    system, reference = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2 : 2 + _MAX_ORDER], sums[..., 2 + _MAX_ORDER :]
    # A zero count of matches counts as 1/2, the next one as 1/4 ...: Chen & Cherry 2014, method 3.
    zeros = np.cumsum((correct == 0) & (total > 0), axis=-1)
    smoothed = np.where(correct == 0, 0.5 ** np.maximum(zeros, 1), correct)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_precision = np.log(smoothed / total).mean(-1)
        brevity = np.where(system < reference, 1.0 - reference / system, 0.0)
        score = 100.0 * np.exp(log_precision + brevity)
    # As sacrebleu: no n-gram of some order, or no match at all, is a score of 0.
    score = np.where((total == 0).any(-1) | (correct == 0).all(-1) | (system == 0), 0.0, score)
    return np.asarray(np.where(reference == 0, np.nan, score))


@lru_cache
def _chrf_counter() -> Any:
    from sacrebleu.metrics import chrf as sacrebleu_chrf

    return sacrebleu_chrf.CHRF(beta=_CHRF_BETA)


def _chrf_statistics(reference: Answer, hypothesis: Answer) -> Array:
    found = _chrf_counter()._extract_corpus_statistics([as_text(hypothesis)], [[as_text(reference)]])[0]
    return np.array(found, np.float64)


def _chrf_signature() -> str:
    import sacrebleu

    return f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{sacrebleu.__version__}"


def _chrf_score(sums: Array) -> Array:
    """Score ``(hypothesis, reference, matching)`` n-gram counts of orders 1-6 with beta 2."""
    counts = sums.reshape(*sums.shape[:-1], -1, 3)
    hypothesis, reference, match = counts[..., 0], counts[..., 1], counts[..., 2]
    # Orders that either side has not are left out of the mean (sacrebleu, eps_smoothing=False).
    effective = (hypothesis > 0) & (reference > 0)
    orders = effective.sum(-1)
    precision = np.where(effective, match / np.maximum(hypothesis, 1), 0.0).sum(-1)
    recall = np.where(effective, match / np.maximum(reference, 1), 0.0).sum(-1)
    precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
    factor = float(_CHRF_BETA) ** 2
    score = 100.0 * np.nan_to_num(ratio((1 + factor) * precision * recall, factor * precision + recall))
    return np.asarray(np.where(reference.sum(-1) == 0, np.nan, score))


def _exact_match(reference: Answer, hypothesis: Answer) -> Array:
    if isinstance(reference, str) and isinstance(hypothesis, str):
        reference, hypothesis = composed(reference), composed(hypothesis)
    return np.array([float(reference == hypothesis), 1.0])


WER = AdditiveMetric(
    name="wer",
    label="WER",
    phrase="word error rate",
    higher_is_better=False,
    tasks=("asr",),
    main_of=("asr",),
    packages=("rapidfuzz",),
    columns=(*_ERRORS, "words"),
    per_clip=edits,
    score=error_rate,
    prose=True,
    errors=True,
)
"""Word error rate; can exceed 100 %."""

CER = replace(
    WER,
    name="cer",
    label="CER",
    phrase="character error rate",
    main_of=(),
    columns=(*_ERRORS, "characters"),
    per_clip=lambda reference, hypothesis: edits(reference, hypothesis, True),
)
"""Character error rate, spaces included."""

PER = replace(
    WER,
    name="per",
    label="PER",
    phrase="phone error rate",
    tasks=("phones",),
    main_of=("phones",),
    columns=(*_ERRORS, "phones"),
    prose=False,
    signature_of=lambda: "units:between spaces",
)
"""Phone error rate, over phones with spaces between them (``HH AH0 L OW1``); stress marks count as written."""

BLEU = AdditiveMetric(
    name="bleu",
    label="BLEU",
    phrase="BLEU score",
    unit="points",
    tasks=("st",),
    main_of=("st",),
    packages=("sacrebleu",),
    columns=("sys_len", "ref_len", *(f"{kind}_{n}" for kind in ("correct", "total") for n in range(1, 5))),
    per_clip=_bleu_statistics,
    score=_bleu_score,
    signature_of=lambda: str(_bleu_counter(USUAL).get_signature()),
    of_tokenizer=bleu,
    prose=True,
    translation=True,
)
"""Corpus BLEU of languages with spaces between words."""

CHRF = AdditiveMetric(
    name="chrf",
    label="chrF",
    phrase="chrF score",
    unit="points",
    tasks=("st",),
    packages=("sacrebleu",),
    columns=tuple(f"{kind}_{n}" for n in range(1, 7) for kind in ("hypothesis", "reference", "match")),
    per_clip=_chrf_statistics,
    score=_chrf_score,
    signature_of=_chrf_signature,
    prose=True,
    translation=True,
)
"""Corpus chrF2."""

ACCURACY = AdditiveMetric(
    name="accuracy",
    label="accuracy",
    tasks=("key", "classification"),
    main_of=("classification",),
    columns=("correct", "clips"),
    per_clip=_exact_match,
    score=share,
)
"""Share of clips whose label is right."""

_SLOT = re.compile(r"<([^\s<>/]+)>(.+?)</\1>")
_MARK = re.compile(r"</?[^\s<>/]+>")


def slots(text: str) -> dict[str, list[str]]:
    """Return the values of each slot type, in their order.

    Examples
    --------
    >>> slots("play <song>help</song> and <song>yesterday</song> by <artist>the beatles</artist>")
    {'song': ['help', 'yesterday'], 'artist': ['the beatles']}
    """
    found: dict[str, list[str]] = {}
    for kind, value in _SLOT.findall(text):
        words = " ".join(_MARK.sub(" ", value).split())
        if words:
            found.setdefault(kind, []).append(words)
    return found


def _type_f1(reference: Answer, hypothesis: Answer) -> Array:
    right, said = set(slots(as_text(reference))), set(slots(as_text(hypothesis)))
    # Nothing to find and nothing found is right.
    f1 = 2 * len(right & said) / (len(right) + len(said)) if right or said else 1.0
    return np.array([f1, 1.0])


def _value_edits(reference: Answer, hypothesis: Answer) -> Array:
    said = slots(as_text(hypothesis))
    total = np.zeros(4)
    for kind, values in slots(as_text(reference)).items():
        for value in values:
            candidates = [edits(value, other, characters=True) for other in said.get(kind, [""])]
            total += min(candidates, key=lambda counts: float(counts[:3].sum()))
    return total


SLOT_F1 = AdditiveMetric(
    name="slot_f1",
    label="slot F1",
    tasks=("slots",),
    main_of=("slots",),
    columns=("f1", "clips"),
    per_clip=_type_f1,
    score=share,
    signature_of=lambda: "slot types, as sets|mean over clips",
)
"""F1 of the set of slot types of each clip, averaged over clips."""

SLOT_CER = AdditiveMetric(
    name="slot_cer",
    label="slot CER",
    higher_is_better=False,
    tasks=("slots",),
    packages=("rapidfuzz",),
    columns=(*_ERRORS, "characters"),
    per_clip=_value_edits,
    score=error_rate,
    signature_of=lambda: "slot values|nearest value of the same type, else empty|spaces count",
)
"""Character error rate of the reference's slot values, each against the nearest value of the same type."""

METRICS = (WER, CER, PER, BLEU, CHRF, ACCURACY, SLOT_F1, SLOT_CER)
