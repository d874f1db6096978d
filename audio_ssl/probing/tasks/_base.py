"""What a task must give, and the vocabularies that tasks share."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from torch import Tensor

from audio_ssl.data.manifest import Clip

Output = Literal["tokens", "class", "tags"]


class Task(Protocol):
    """The meaning of a head's numbers."""

    kind: str
    """As in the probe: asr, st, key, tagging."""
    output: Output
    """``tokens``: a sequence from frames; ``class`` and ``tags``: one answer from a clip's mean frame."""
    metrics: tuple[str, ...]
    """The first is the main one."""
    signature: str
    """How text was normalised."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes or tokens, in the order of the head's outputs (blank and specials not among them)."""
        ...

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        ...

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the classes or tokens from the training clips."""
        ...

    def target(self, clip: Clip) -> Tensor:
        """Return token ids ``[token]``, a class id, or ``[class]`` zeros and ones."""
        ...

    def reference(self, clip: Clip) -> str | list[str]:
        """Return what is right, for people and metrics."""
        ...

    def hypothesis(self, prediction: Tensor) -> str | list[str]:
        """Return what the head said: from token ids, or from the scores of the classes."""
        ...


_NOT_SPOKEN = re.compile(r"[^\w\s']|_")


def normalise(text: str) -> str:
    """Lower-case, NFC, letters, digits and apostrophes only, single spaces.

    Examples
    --------
    >>> normalise("Kde jsme? To je… loď!")
    'kde jsme to je loď'
    """
    text = unicodedata.normalize("NFC", text).lower()
    return " ".join(_NOT_SPOKEN.sub(" ", text).split())


NORMALISER = "lower|nfc|punctuation removed, apostrophes kept"


class Vocabulary:
    """Tokens with ids from 0; unknown ones are left out, or map to `unknown` where given."""

    def __init__(self, tokens: Iterable[str], unknown: str | None = None) -> None:
        self.tokens = list(tokens)
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        self._unknown = self._ids.get(unknown) if unknown is not None else None

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids."""
        found = (self._ids.get(token, self._unknown) for token in tokens)
        return [index for index in found if index is not None]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens."""
        return [self.tokens[index] for index in ids]


def frequent(texts: Iterable[Iterable[str]], min_count: int = 1) -> list[str]:
    """Return the tokens that appear at least `min_count` times, sorted."""
    counts = Counter(token for text in texts for token in text)
    return sorted(token for token, count in counts.items() if count >= min_count)
