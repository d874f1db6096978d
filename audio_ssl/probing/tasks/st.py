"""Speech translation: the translation in words, characters or pieces, scored by BLEU and chrF.

Words fit a corpus of minutes, where pieces could not be learned; rare ones become ``<unk>``, which BLEU counts as
wrong. BLEU's tokeniser is that of the target language (column ``translation_language``). Published scores are of
translations as they are written: ``normaliser: none`` with ``units: sentencepiece``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audio_ssl.base.errors import check_choice
from audio_ssl.data.columns import attribute
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.registry import get_metric
from audio_ssl.metrics.texts import USUAL, check_tokenizer, get_normaliser, language_of_script, one_tokenizer
from audio_ssl.probing.tasks._text import TokenTask, make_units


@dataclass(frozen=True)
class Config:
    """What the target text is, and in which units."""

    units: str = "words"
    """``words``, ``characters``, or ``sentencepiece``: pieces learned from the training translations."""

    min_count: int = 2
    """Words and characters seen less often in training become ``<unk>``."""

    vocab_size: int = 1000
    """Pieces of sentencepiece (LeBenchmark: 1000)."""

    normaliser: str = "basic"
    """``basic``: lower case, no punctuation; ``none``: as written; or another of `audio_ssl.metrics.texts`."""

    tokenizer: str = "auto"
    """How BLEU cuts texts into words: 13a, zh, ja-mecab, ko-mecab, char; ``auto``: as the target language needs it."""

    source: str = "translation"
    """``translation``, or ``text``: the transcript, to see what the same head makes of no translation at all."""


class ST(TokenTask):
    """Translations, or transcripts, as words, characters or pieces."""

    kind = "st"
    metrics: tuple[str, ...] = ("bleu", "chrf")

    def __init__(self, config: Config) -> None:
        self._column = "translation" if config.source == "translation" else "transcript"
        units = make_units(
            config.units, config.vocab_size, config.min_count, True, ("words", "characters", "sentencepiece")
        )
        super().__init__(units, f"a {self._column}")
        self._normalise = get_normaliser(config.normaliser)
        self._asked = config.tokenizer
        self.tokenizer: str = USUAL if self._asked == "auto" else check_tokenizer(self._asked)
        self.signature = self._sign()

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if self._as_written(clip) is None:
            return f"no {self._column}"
        return None if self.text(clip) else f"empty {self._column}"

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the units of the training texts."""
        super().learn(clips)
        if self._asked == "auto":
            self._choose_tokenizer(clips)

    def text(self, clip: Clip) -> str:
        """Return the normalised text."""
        return self._normalise(self._as_written(clip) or "")

    def _sign(self) -> str:
        """Return how texts are normalised, and sacrebleu's signatures."""
        scores = (f"{name} {get_metric(name, (), self.tokenizer).signature}" for name in self.metrics)
        return "; ".join((self._normalise.signature, *scores))

    def _choose_tokenizer(self, clips: Sequence[Clip]) -> None:
        """Take the tokeniser of the target language: as recorded, else as the script of the texts tells."""
        column = "translation_language" if self._column == "translation" else "language"
        recorded = [attribute(clip, column) for clip in clips]
        known = {language for language in recorded if language is not None}
        if not known and (told := language_of_script(self._as_written(clip) or "" for clip in clips)):
            known = {told}
        chosen = one_tokenizer(
            known or {None}, "take clips of one language (data.where), or name a tokenizer: task.tokenizer=char", column
        )
        self.tokenizer = chosen.name
        self.signature = self._sign()
        self.warnings = [chosen.reason] if chosen.reason else []

    def _as_written(self, clip: Clip) -> str | None:
        return clip.translation if self._column == "translation" else clip.text


def build(config: Config) -> ST:
    """Make the task; UserError for other units, normalisers or sources."""
    check_choice("source", config.source, ("translation", "text"))
    return ST(config)
