"""How a search weighs the words of a hypothesis: what speechbrain's searchers ask of a language model.

The formulas are those of speechbrain's `KenlmScorer` and of pyctcdecode before it. They stand here because that class
cannot be imported without the package kenlm, which is compiled; `NGram` reads the same files, `KenLM` larger ones.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from audio_ssl.probing.decode._ngram import END

_LONG = 6
"""Letters from which on an unknown word costs more, the longer it is."""


class WordModel(Protocol):
    """What a language model must give: `NGram` or `KenLM`."""

    @property
    def order(self) -> int:
        """Return the length of the longest n-gram."""
        ...

    @property
    def words(self) -> list[str]:
        """Return the known words."""
        ...

    def start(self) -> Any:
        """Return the context at the start of a sentence."""
        ...

    def score(self, context: Any, word: str) -> tuple[float, Any]:
        """Return the log10 probability of a word, and the context after it."""
        ...


class WordScorer:
    """A language model with its weights.

    Parameters
    ----------
    model
        Of words.
    alpha
        Weight of the model's log-probabilities.
    beta
        Added for every word.
    unknown_offset
        Added to the log10 probability of words that the model does not know.
    """

    def __init__(self, model: WordModel, alpha: float, beta: float, unknown_offset: float) -> None:
        self._model, self._alpha, self._beta, self._offset = model, alpha, beta, unknown_offset
        self._words = set(model.words)
        self._beginnings = {word[:count] for word in self._words for count in range(1, len(word) + 1)}
        self.order = model.order
        """Of the model."""

    def get_start_state(self) -> Any:
        """Return the context at the start of a sentence."""
        return self._model.start()

    def score(self, prev_state: Any, word: str, is_last_word: bool = False) -> tuple[float, Any]:
        """Return what a word adds to a hypothesis, as natural logarithm, and the context after it."""
        score, after = self._model.score(prev_state, word)
        if word not in self._words:
            score += self._offset
        if is_last_word:
            score += self._model.score(after, END)[0]
        return self._alpha * score * math.log(10) + self._beta, after

    def score_partial_token(self, partial_token: str) -> float:
        """Return what the beginning of a word adds: 0, if a known word begins so."""
        if partial_token in self._beginnings:
            return 0.0
        return self._offset * max(1.0, len(partial_token) / _LONG)
