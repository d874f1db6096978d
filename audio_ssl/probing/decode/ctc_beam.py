"""Beam search of CTC heads by speechbrain, with an n-gram model of the training transcripts' words.

Hypotheses are ranked by ``log P(tokens | frames) + alpha log P(words) + beta words``, as in SUPERB's recognition with a
language model (Yang et al. 2021) and in pyctcdecode, which speechbrain's `CTCBeamSearcher` follows. The end of the
sentence is not scored, as there.

Words are what stands between spaces, the words of sentencepieces, or every token where there are neither (phones).

How a search weighs the words of a hypothesis: what speechbrain's searchers ask of a language model.

The formulas are those of speechbrain's `KenlmScorer` and of pyctcdecode before it. They stand here because that class
cannot be imported without the package kenlm, which is compiled; `NGram` reads the same files, `KenLM` larger ones.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from audio_ssl.artifacts.result import REMEDY
from audio_ssl.base.catalog import quiet_import
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.decode._language_model import END, SMOOTHINGS, KenLM, NGram, has_kenlm, read_arpa, train_ngrams
from audio_ssl.probing.head import CTCHeadBase, Decoder, Head, HeadBatch
from audio_ssl.probing.task import Task

logger = logging.getLogger(__name__)


with quiet_import():
    from speechbrain.decoders.ctc import CTCBeamSearcher

_BLANK = "<blank>"
_MODEL_FILE = "language_model.arpa"
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


class CTCBeam(Decoder):
    """The search."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ids: dict[str, int] = {}
        self._whole = False
        self._searcher: CTCBeamSearcher | None = None
        self._own: NGram | None = None
        self.signature = _sign(config)

    def why_not(self, head: Head) -> str | None:
        """Return why a head cannot be searched, or None."""
        return None if isinstance(head, CTCHeadBase) else "ctc_beam searches the heads whose names begin with ctc"

    def start(self, task: Task, train: Sequence[Clip]) -> None:
        """Take the task's tokens, and train or read the language model."""
        config = self._config
        model: WordModel | None = None
        if config.arpa is not None:
            model = _read(Path(config.arpa))
        elif config.order:
            model = self._own = self._learned(task, train)
        self._open(task, model)

    def restore(self, task: Task, folder: Path) -> None:
        """Take the task's tokens, and the language model of a result; an ARPA file of the probe is read again."""
        config = self._config
        model: WordModel | None = None
        if config.arpa is not None:
            model = _read(Path(config.arpa))
        elif config.order:
            path = folder / _MODEL_FILE
            if not path.is_file():
                raise UserError("the language model of the search is missing", where=str(path), remedy=REMEDY)
            model = self._own = read_arpa(path)
        self._open(task, model)

    def _open(self, task: Task, model: WordModel | None) -> None:
        """Make the searcher."""
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
        if model is not None:
            self._searcher.lm = WordScorer(model, config.alpha, config.beta, config.unknown_offset)

    def decode(self, head: Head, batch: HeadBatch) -> list[Tensor]:
        """Return the token ids of each clip's best hypothesis."""
        assert isinstance(head, CTCHeadBase)
        return self.search(head.log_probabilities(batch))

    def search(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the token ids of the best hypothesis of each clip."""
        assert self._searcher is not None
        found = []
        for row in rows:
            # Frames are given, not shares of the longest clip, which lose a frame where they are rounded down.
            (best,) = self._searcher.decode_log_probs(row.cpu().numpy(), len(row))
            found.append(torch.tensor(self._tokens(best.text.split()), dtype=torch.long))
        return found

    def files(self) -> dict[str, bytes]:
        """Return the language model that was trained, as an ARPA file."""
        return {} if self._own is None else {_MODEL_FILE: self._own.arpa().encode()}

    def _learned(self, task: Task, clips: Sequence[Clip]) -> NGram:
        config = self._config
        # Words as the head can write them: without characters that it has no token for.
        sentences = [str(task.hypothesis(task.target(clip))).split() for clip in clips]
        model = train_ngrams(sentences, config.order, config.smoothing)
        rest = [words for number, words in enumerate(sentences) if number % _HELD_OUT]
        held_out = sentences[::_HELD_OUT]
        measured = ""
        if any(rest) and len(sentences) >= _HELD_OUT:
            perplexity = train_ngrams(rest, config.order, config.smoothing).perplexity(held_out)
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


_LONG = 6
"""Letters from which on an unknown word costs more, the longer it is."""


def _sign(config: Config) -> str:
    """Return the settings of the search."""
    parts = [f"speechbrain {version('speechbrain')} CTCBeamSearcher", f"beam:{config.beam_size}"]
    if config.arpa is not None:
        parts.append(f"lm:{Path(config.arpa).name}")
    elif config.order:
        parts.append(f"lm:{config.order}-gram of the training transcripts, {config.smoothing}")
    else:
        return "|".join([*parts, "lm:none"])
    return "|".join([*parts, f"alpha:{config.alpha:g}", f"beta:{config.beta:g}"])


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
