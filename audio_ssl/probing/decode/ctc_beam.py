"""Beam search of CTC heads by speechbrain, with an n-gram model of the training transcripts' words.

Hypotheses are ranked by ``log P(tokens | frames) + alpha log P(words) + beta words``, as in SUPERB's recognition with a
language model (Yang et al. 2021) and in pyctcdecode, which speechbrain's `CTCBeamSearcher` follows. The end of the
sentence is not scored, as there.

Words are what stands between spaces, the words of sentencepieces, or every token where there are neither (phones).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.probing.decode._kenlm import KenLM, has_kenlm
from audio_ssl.probing.decode._ngram import SMOOTHINGS, NGram, read_arpa, train
from audio_ssl.probing.decode._words import WordModel, WordScorer
from audio_ssl.probing.heads._base import Head, HeadBatch
from audio_ssl.probing.heads._ctc import CTCBase
from audio_ssl.probing.heads._speechbrain import quiet_import
from audio_ssl.probing.tasks._base import Task

with quiet_import():
    from speechbrain.decoders.ctc import CTCBeamSearcher

logger = logging.getLogger(__name__)

_BLANK = "<blank>"
_WORD_START = "▁"
_HELD_OUT = 10


@dataclass(frozen=True)
class Config:
    """The search and its language model."""

    beam_size: int = 100
    """Hypotheses kept at each frame (speechbrain: 100)."""

    order: int = 4
    """Longest n-gram, up to 5 (SUPERB: 4); 0: no language model."""

    smoothing: str = "kneser_ney"
    """``kneser_ney``, or ``witten_bell`` for some hundred transcripts."""

    arpa: str | None = None
    """A language model's ARPA file, used instead of one of the training transcripts; read by kenlm where that is
    installed, which large ones need."""

    alpha: float = 0.5
    """Weight of the language model (speechbrain: 0.5; SUPERB's decoder, which weighs otherwise: 2)."""

    beta: float = 1.5
    """Added for every word (speechbrain: 1.5), against the language model's liking for few words."""

    unknown_offset: float = -10.0
    """Added to the log10 probability of words that the language model does not know (speechbrain: -10)."""

    beam_prune: float = -10.0
    """Hypotheses so much worse than the best, as natural logarithm, are dropped."""

    token_prune: float = -5.0
    """Tokens less likely in a frame, as natural logarithm, are not tried, but for the best."""


class CTCBeam:
    """The search."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ids: dict[str, int] = {}
        self._whole = False
        self._searcher: CTCBeamSearcher | None = None
        self._own: NGram | None = None

    @property
    def signature(self) -> str:
        """Return the settings."""
        config = self._config
        parts = [f"speechbrain {version('speechbrain')} CTCBeamSearcher", f"beam:{config.beam_size}"]
        if config.arpa is not None:
            parts.append(f"lm:{Path(config.arpa).name}")
        elif config.order:
            parts.append(f"lm:{config.order}-gram of the training transcripts, {config.smoothing}")
        else:
            return "|".join([*parts, "lm:none"])
        return "|".join([*parts, f"alpha:{config.alpha:g}", f"beta:{config.beta:g}"])

    def why_not(self, head: Head) -> str | None:
        """Return why a head cannot be searched, or None."""
        return None if isinstance(head, CTCBase) else "ctc_beam searches the heads whose names begin with ctc"

    def start(self, task: Task, train: Sequence[Clip]) -> None:
        """Take the task's tokens, and train or read the language model."""
        config, classes = self._config, task.classes
        self._ids = {name: number for number, name in enumerate(classes)}
        spaced, pieces = " " in self._ids, any(name.startswith(_WORD_START) for name in classes)
        # Tokens of more than one letter without spaces between are words themselves: phones.
        self._whole = not spaced and not pieces and any(len(name) > 1 for name in classes)
        tokens = [f"{_WORD_START}{name}" for name in classes] if self._whole else classes
        self._searcher = CTCBeamSearcher(
            blank_index=0,
            vocab_list=[_BLANK, *tokens],
            # The blank is met first, so that it stands for a space that is not there.
            space_token=" " if spaced else _BLANK,
            beam_size=config.beam_size,
            beam_prune_logp=config.beam_prune,
            token_prune_min_logp=config.token_prune,
        )
        model: WordModel | None = None
        if config.arpa is not None:
            model = _read(Path(config.arpa))
        elif config.order:
            model = self._own = self._learned(task, train)
        if model is not None:
            self._searcher.lm = WordScorer(model, config.alpha, config.beta, config.unknown_offset)

    def decode(self, head: Head, batch: HeadBatch) -> list[Tensor]:
        """Return the token ids of each clip's best hypothesis."""
        assert isinstance(head, CTCBase)
        assert self._searcher is not None
        found = []
        for row in head.log_probabilities(batch):
            # Frames are given, not shares of the longest clip, which lose a frame where they are rounded down.
            (best,) = self._searcher.decode_log_probs(row.cpu().numpy(), len(row))
            found.append(torch.tensor(self._tokens(best.text.split()), dtype=torch.long))
        return found

    def files(self) -> dict[str, bytes]:
        """Return the language model that was trained, as an ARPA file."""
        return {} if self._own is None else {"language_model.arpa": self._own.arpa().encode()}

    def _learned(self, task: Task, clips: Sequence[Clip]) -> NGram:
        config = self._config
        # Words as the head can write them: without characters that it has no token for.
        sentences = [str(task.hypothesis(task.target(clip))).split() for clip in clips]
        model = train(sentences, config.order, config.smoothing)
        rest = [words for number, words in enumerate(sentences) if number % _HELD_OUT]
        held_out = sentences[::_HELD_OUT]
        measured = ""
        if any(rest) and len(sentences) >= _HELD_OUT:
            perplexity = train(rest, config.order, config.smoothing).perplexity(held_out)
            measured = f"; perplexity {perplexity:.1f} on every tenth transcript, of the others' model"
        logger.info(
            "language model: %d n-grams up to %d of %d words in %d transcripts%s",
            *(len(model), model.order, len(model.words), len(sentences), measured),
        )
        return model

    def _tokens(self, words: Sequence[str]) -> list[int]:
        """Return token ids that spell some words."""
        if self._whole:
            return [self._ids[word] for word in words]
        if " " in self._ids:
            return self._spelled(" ".join(words)) or []
        found: list[int] = []
        for word in words:
            # The first piece of all need not begin a word.
            found += self._spelled(f"{_WORD_START}{word}") or self._spelled(word) or []
        return found

    def _spelled(self, text: str) -> list[int] | None:
        """Return the fewest tokens that spell a text, or None where they cannot."""
        longest = max(map(len, self._ids))
        best: list[list[int] | None] = [[]]
        for end in range(1, len(text) + 1):
            choices = [
                [*before, self._ids[text[start:end]]]
                for start in range(max(0, end - longest), end)
                if (before := best[start]) is not None and text[start:end] in self._ids
            ]
            best.append(min(choices, key=len, default=None))
        return best[-1]


def _read(path: Path) -> WordModel:
    model: WordModel = KenLM(path, read_arpa(path, 1).words) if has_kenlm() else read_arpa(path)
    reader = "kenlm" if has_kenlm() else "Python; kenlm is not installed"
    logger.info("language model: %d-grams of %d words, %s, read by %s", model.order, len(model.words), path, reader)
    return model


def build(config: Config) -> CTCBeam:
    """Make the search; UserError for numbers or names that do not fit."""
    if config.beam_size < 1:
        raise UserError(f"`beam_size` must be at least 1, but is {config.beam_size}", where="$.decode.beam_size")
    if not 0 <= config.order <= 5:
        raise UserError(f"`order` must be 0 to 5, but is {config.order}", where="$.decode.order")
    if config.smoothing not in SMOOTHINGS:
        known = " or ".join(SMOOTHINGS)
        raise UserError(f"`smoothing` must be {known}, but is `{config.smoothing}`", where="$.decode.smoothing")
    if config.arpa is not None and not Path(config.arpa).is_file():
        raise UserError(f"no such language model: {config.arpa}", where="$.decode.arpa")
    return CTCBeam(config)
