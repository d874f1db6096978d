"""N-gram language models of words: trained from transcripts, kept and exchanged as ARPA files.

Interpolated Kneser-Ney smoothing with one discount an order (Kneser & Ney 1995; Chen & Goodman 1999, section 4.1.6), or
Witten-Bell's (1991), which assumes less of how counts are spread and suits a few hundred sentences. Nothing is pruned.
An ARPA file says the same to kenlm, SRILM and speechbrain.

ARPA files of any size by kenlm, where that package is installed: SUPERB's 4-grams of books fill Python's memory.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from audio_ssl.base.errors import UserError, check_choice

WordSequence = tuple[str, ...]

START, END, UNKNOWN_WORD = "<s>", "</s>", "<unk>"
SMOOTHINGS = ("kneser_ney", "witten_bell")
_NEVER = -99.0
_MISSING_UNKNOWN = -100.0
"""What kenlm gives an unknown word where a model has no ``<unk>``."""


class NgramEntry(NamedTuple):
    """Base-10 logarithms, as ARPA files have them."""

    probability: float
    """Of the last word after the others."""

    backoff: float = 0.0
    """Weight of the shorter context where a word never came after these."""


class NGram:
    """A model.

    Parameters
    ----------
    entries
        By n-gram; contexts of a kept n-gram are kept too.
    """

    def __init__(self, entries: Mapping[WordSequence, NgramEntry]) -> None:
        self._entries = dict(entries)
        self.order = max(map(len, self._entries))
        """Longest n-gram."""

    @property
    def words(self) -> list[str]:
        """Return the known words, without those for start, end and unknown."""
        return [gram[0] for gram in self._entries if len(gram) == 1 and gram[0] not in (START, END, UNKNOWN_WORD)]

    def __contains__(self, word: str) -> bool:
        return (word,) in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def start(self) -> WordSequence:
        """Return the context at the start of a sentence."""
        return (START,)[: self.order - 1]

    def score(self, context: WordSequence, word: str) -> tuple[float, WordSequence]:
        """Return the log10 probability of a word, and the context after it.

        Parameters
        ----------
        context
            From `start`, or from the word before.
        word
            Any; what is not known counts as ``<unk>``.
        """
        known = word if word in self else UNKNOWN_WORD
        after = (*context, known)
        following = after[-(self.order - 1) :] if self.order > 1 else ()
        total = 0.0
        for first in range(len(after)):
            entry = self._entries.get(after[first:])
            if entry is not None:
                return total + entry.probability, following
            shorter = self._entries.get(after[first:-1])
            total += shorter.backoff if shorter is not None else 0.0
        return total + _MISSING_UNKNOWN, following

    def sentence(self, words: Iterable[str]) -> float:
        """Return the log10 probability of a sentence and its end."""
        total, context = 0.0, self.start()
        for word in (*words, END):
            score, context = self.score(context, word)
            total += score
        return total

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Return the perplexity per word of some sentences, their ends counted as words, unknown words too."""
        total, count = 0.0, 0
        for words in sentences:
            total += self.sentence(words)
            count += len(words) + 1
        return float(10 ** (-total / count)) if count else math.nan

    def arpa(self) -> str:
        """Return the model as an ARPA file."""
        grams: list[list[WordSequence]] = [[] for _ in range(self.order)]
        for gram in self._entries:
            grams[len(gram) - 1].append(gram)
        lines = ["\\data\\", *(f"ngram {n}={len(found)}" for n, found in enumerate(grams, 1)), ""]
        for n, found in enumerate(grams, 1):
            lines.append(f"\\{n}-grams:")
            for gram in found:
                entry = self._entries[gram]
                backoff = f"\t{entry.backoff:.7g}" if n < self.order else ""
                lines.append(f"{entry.probability:.7g}\t{' '.join(gram)}{backoff}")
            lines.append("")
        return "\n".join([*lines, "\\end\\", ""])


def train_ngrams(sentences: Iterable[Sequence[str]], order: int, smoothing: str = "kneser_ney") -> NGram:
    """Train a model.

    Parameters
    ----------
    sentences
        Of words; those called as the words for start, end and unknown are left out.
    order
        Longest n-gram, 1 to 5.
    smoothing
        One of `SMOOTHINGS`.

    Raises
    ------
    UserError
        If there is no word, or for another order or smoothing.
    """
    if not 1 <= order <= 5:
        raise UserError(f"`order` must be 1 to 5, but is {order}")
    check_choice("smoothing", smoothing, SMOOTHINGS)
    counts: list[Counter[WordSequence]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = (START, *(word for word in sentence if word not in (START, END, UNKNOWN_WORD)), END)
        for n, found in enumerate(counts, 1):
            found.update(words[first : first + n] for first in range(len(words) - n + 1))
    if len(counts[0]) <= 2:
        raise UserError("no training transcript has a word, so there is no language to model")
    if smoothing == "kneser_ney":
        counts = _continuations(counts)
    counts[0].pop((START,), None)
    return NGram(_smoothed(counts, smoothing))


def _smoothed(counts: Sequence[Counter[WordSequence]], smoothing: str) -> dict[WordSequence, NgramEntry]:
    """Return interpolated probabilities, and what each context leaves to the shorter one, as backoff."""
    # Words that training lacks share one place beside the known ones, where all are equally likely.
    base = 1.0 / (len(counts[0]) + 1)
    probabilities: dict[WordSequence, float] = {}
    left: dict[WordSequence, float] = {}
    for n, found in enumerate(counts, 1):
        totals, types = Counter[WordSequence](), Counter(gram[:-1] for gram in found)
        for gram, count in found.items():
            totals[gram[:-1]] += count
        if smoothing == "kneser_ney":
            discount = _discount(found)
            wholes, left_of = totals, {context: discount * types[context] for context in totals}
        else:
            discount = 0.0
            wholes, left_of = totals + types, {context: float(types[context]) for context in totals}
        for context, whole in wholes.items():
            left[context] = left_of[context] / whole
        for gram, count in found.items():
            context = gram[:-1]
            shorter = base if n == 1 else probabilities[gram[1:]]
            probabilities[gram] = (count - discount) / wholes[context] + left[context] * shorter
    entries: dict[WordSequence, NgramEntry] = {
        (UNKNOWN_WORD,): NgramEntry(math.log10(left.pop(()) * base)),
        (START,): NgramEntry(_NEVER),
    }
    for gram, probability in probabilities.items():
        entries[gram] = NgramEntry(math.log10(probability))
    for context, weight in left.items():
        entries[context] = NgramEntry(entries[context].probability, math.log10(weight))
    return entries


def read_arpa(path: Path, longest: int | None = None) -> NGram:
    """Read an ARPA file, which may be compressed (``.gz``).

    Parameters
    ----------
    path
        The file.
    longest
        Read no n-gram above this; its backoffs then weigh what is not read.

    Raises
    ------
    UserError
        If there is no such file, or it is none; the text has the line.
    """
    if not path.is_file():
        raise UserError("no such language model", where=str(path))
    entries: dict[WordSequence, NgramEntry] = {}
    length = 0
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if text.startswith("\\"):
                    length = int(text[1:].partition("-")[0]) if text.endswith("-grams:") else 0
                    if longest is not None and length > longest:
                        break
                elif text and length:
                    gram, entry = _entry(text, length, f"{path}:{number}")
                    entries[gram] = entry
    except (OSError, EOFError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"cannot be read as an ARPA file: {error}", where=str(path)) from error
    if not any(len(gram) == 1 for gram in entries):
        raise UserError("is no ARPA file: it has no line `\\1-grams:` with words below", where=str(path))
    return NGram(entries)


def _entry(text: str, length: int, where: str) -> tuple[WordSequence, NgramEntry]:
    fields = text.split()
    if len(fields) not in (length + 1, length + 2):
        raise UserError(f"must be a probability, {length} words and perhaps a backoff, but is `{text}`", where=where)
    words = tuple(fields[1 : length + 1])
    try:
        return words, NgramEntry(float(fields[0]), float(fields[length + 1]) if len(fields) == length + 2 else 0.0)
    except ValueError as error:
        raise UserError(f"has no number where one must be: `{text}`", where=where) from error


def _continuations(counts: Sequence[Counter[WordSequence]]) -> list[Counter[WordSequence]]:
    """Return Kneser-Ney's counts: below the highest order, how many different words came before an n-gram."""
    changed = []
    for lower, higher in pairwise(counts):
        found = Counter(gram[1:] for gram in higher)
        # Nothing comes before the start of a sentence: its n-grams keep their counts.
        found.update({gram: count for gram, count in lower.items() if gram[0] == START})
        changed.append(found)
    return [*changed, counts[-1].copy()]


def _discount(counts: Counter[WordSequence]) -> float:
    """Return ``n1 / (n1 + 2 n2)`` (Ney et al. 1994), kept away from 0 and 1, which counts of small texts may give."""
    once, twice = (sum(1 for count in counts.values() if count == n) for n in (1, 2))
    return min(max(once / max(once + 2 * twice, 1), 0.1), 0.9)


def has_kenlm() -> bool:
    """Return whether kenlm is installed."""
    return find_spec("kenlm") is not None


class KenLM:
    """A model that kenlm reads; its states are the contexts.

    Parameters
    ----------
    path
        An ARPA file.
    words
        The words it knows.

    Raises
    ------
    UserError
        If kenlm cannot read it.
    """

    def __init__(self, path: Path, words: list[str]) -> None:
        self._kenlm: Any = import_module("kenlm")
        try:
            self._model = self._kenlm.Model(str(path))
        except OSError as error:
            raise UserError(f"kenlm cannot read it: {error}", where=str(path)) from error
        self.words = words
        """Without those for start, end and unknown."""
        self.order: int = self._model.order
        """Longest n-gram."""

    def start(self) -> Any:
        """Return the context at the start of a sentence."""
        state = self._kenlm.State()
        self._model.BeginSentenceWrite(state)
        return state

    def score(self, context: Any, word: str) -> tuple[float, Any]:
        """Return the log10 probability of a word, and the context after it."""
        after = self._kenlm.State()
        return float(self._model.BaseScore(context, word, after)), after
