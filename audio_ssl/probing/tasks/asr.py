"""Speech recognition: the transcript in characters (SUPERB's ASR, Yang et al. 2021, arXiv 2105.01051) or pieces.

Of languages without spaces between words CER is the main score. Units come from the training transcripts; a character
of a test transcript that training never saw cannot be recognised and counts as an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from audio_ssl.base.errors import UserError, check_choice
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.registry import main_first, metrics_of
from audio_ssl.metrics.texts import get_normaliser, language_without_spaces, words_warning
from audio_ssl.probing.task import Output
from audio_ssl.probing.tasks._text import make_units


@dataclass(frozen=True)
class Config:
    """Units and normalisation of transcripts."""

    units: str = "characters"
    """``characters`` (SUPERB, the gender study), or ``sentencepiece``: pieces learned from the training transcripts."""

    vocab_size: int = 500
    """Pieces of sentencepiece."""

    metric: str = "wer"
    """The main score: wer, or cer, which still separates systems that get few words right; the other is reported beside
    it. In languages written without spaces it is cer."""

    normaliser: str = "basic"
    """``basic``: lower case, no punctuation; ``none``: as written; or another of `audio_ssl.metrics.texts`."""


class ASR:
    """Transcripts as characters or pieces."""

    kind = "asr"
    output: Output = "tokens"
    metrics: tuple[str, ...] = ("wer", "cer")

    def __init__(self, config: Config) -> None:
        self.metrics = main_first(self.metrics, config.metric)
        self.warnings: list[str] = []
        self._units = make_units(config.units, config.vocab_size, known=("characters", "sentencepiece"))
        self._normalise = get_normaliser(config.normaliser)
        self._characters: set[str] = set()

    @property
    def signature(self) -> str:
        """Return how transcripts were normalised."""
        return self._normalise.signature

    @property
    def classes(self) -> list[str]:
        """Return the units."""
        return self._units.names

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if clip.text is None:
            return "no transcript"
        return None if self._normalise(clip.text or "") else "empty transcript"

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the units of the training transcripts."""
        texts = [self._normalise(clip.text or "") for clip in clips]
        if not any(texts):
            raise UserError("no training clip has a transcript")
        self._characters = set("".join(texts))
        self._units.learn(texts)
        language = language_without_spaces(clip.text or "" for clip in clips)
        if language is not None:
            self.metrics, self.warnings = main_first(self.metrics, "cer"), [words_warning(language)]

    def unseen(self, clips: Sequence[Clip]) -> dict[str, int]:
        """Count the characters of some transcripts that training lacks, the most frequent first."""
        counts = Counter(letter for clip in clips for letter in self._normalise(clip.text or ""))
        return {letter: count for letter, count in counts.most_common() if letter not in self._characters}

    def target(self, clip: Clip) -> Int[Tensor, " token"]:
        """Return the ids of the units."""
        return torch.tensor(self._units.encode(self._normalise(clip.text or "")), dtype=torch.long)

    def reference(self, clip: Clip) -> str:
        """Return the normalised transcript."""
        return self._normalise(clip.text or "")

    def hypothesis(self, prediction: Int[Tensor, " token"]) -> str:
        """Return the units as text."""
        return self._units.decode(prediction.tolist())

    def files(self) -> dict[str, bytes]:
        """Return the sentencepiece model, if there is one."""
        return self._units.files()


def build(config: Config) -> ASR:
    """Make the task; UserError for other units, normalisers or main scores."""
    check_choice("metric", config.metric, metrics_of(ASR.kind))
    return ASR(config)
