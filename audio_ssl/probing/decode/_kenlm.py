"""ARPA files of any size by kenlm, where that package is installed: SUPERB's 4-grams of books fill Python's memory."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from audio_ssl.errors import UserError


def has_kenlm() -> bool:
    """Tell whether kenlm is installed."""
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
