"""Speech recognition: the transcript in characters (SUPERB's ASR, Yang et al. 2021, arXiv 2105.01051) or pieces.

Of languages without spaces between words CER is the main score. Units come from the training transcripts; a character
of a test transcript that training never saw cannot be recognised and counts as an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audio_ssl.base.errors import check_choice
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.registry import main_first, metrics_of
from audio_ssl.metrics.texts import get_normaliser, language_without_spaces, words_warning
from audio_ssl.probing.tasks._text import TokenTask, make_units


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


class ASR(TokenTask):
    """Transcripts as characters or pieces."""

    kind = "asr"
    metrics: tuple[str, ...] = ("wer", "cer")

    def __init__(self, config: Config) -> None:
        units = make_units(config.units, config.vocab_size, known=("characters", "sentencepiece"))
        super().__init__(units, "a transcript")
        self.metrics = main_first(self.metrics, config.metric)
        self._normalise = get_normaliser(config.normaliser)
        self.signature = self._normalise.signature

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if clip.text is None:
            return "no transcript"
        return None if self.text(clip) else "empty transcript"

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the units of the training transcripts."""
        super().learn(clips)
        language = language_without_spaces(clip.text or "" for clip in clips)
        if language is not None:
            self.metrics, self.warnings = main_first(self.metrics, "cer"), [words_warning(language)]

    def text(self, clip: Clip) -> str:
        """Return the normalised transcript."""
        return self._normalise(clip.text or "")


def build(config: Config) -> ASR:
    """Make the task; UserError for other units, normalisers or main scores."""
    check_choice("metric", config.metric, metrics_of(ASR.kind))
    return ASR(config)
