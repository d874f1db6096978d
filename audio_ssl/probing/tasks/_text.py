"""Questions that are answered by a text, and what text is cut into: characters, words, or learned pieces of words."""

from __future__ import annotations

import io
import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from audio_ssl.artifacts.clip_predictions import ClipPrediction, TimedLabel
from audio_ssl.base.catalog import optional_packages
from audio_ssl.base.errors import UserError, check_choice
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.texts import language_without_spaces
from audio_ssl.probing.alignment import TokenFrames, align
from audio_ssl.probing.task import HeadOutput, Output, Task, Vocabulary, frequent_tokens

logger = logging.getLogger(__name__)

UNKNOWN = "<unk>"
UNITS = ("characters", "words", "sentencepiece")
_WORD_START = "▁"
_TOKENS_UP_TO_SECONDS = 3600.0
"""Times of the characters of longer clips would be more than a line of JSON Lines may hold."""
_LONGEST_TEXT_BYTES = 1_000_000


class TokenTask(Task):
    """A question whose answer is a text, in units that are learned from the training clips.

    Parameters
    ----------
    units
        How text is cut.
    thing
        What a clip must have, for people: transcript, phones …
    """

    output: Output = "tokens"

    def __init__(self, units: Units, thing: str) -> None:
        self._units, self._thing = units, thing
        self._known: set[str] = set()

    @property
    def classes(self) -> list[str]:
        """Return the units."""
        return self._units.names

    @property
    def spelled(self) -> list[str]:
        """Return the units, with ``▁`` for spaces."""
        return self._units.spelled

    @abstractmethod
    def text(self, clip: Clip) -> str:
        """Return the text that is cut into units; empty where a clip has none."""

    def symbols(self, text: str) -> list[str]:
        """Return what of a text training must have had to say it: its characters."""
        return list(text)

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the units of the training texts; UserError where there are none."""
        texts = [self.text(clip) for clip in clips]
        if not any(texts):
            raise UserError(f"no training clip has {self._thing}")
        self._known = {symbol for text in texts for symbol in self.symbols(text)}
        self._units.learn(texts)

    def restore(self, classes: Sequence[str], folder: Path) -> None:
        """Take the units of a result."""
        self._units.restore(classes)
        self._known = {symbol for name in classes for symbol in self.symbols(name.replace(_WORD_START, " "))}

    def knows(self, clip: Clip) -> bool:
        """Return whether a symbol of the text but the space is one of training."""
        return not {*self.symbols(self.text(clip))}.isdisjoint(self._known - {" "})

    def unseen(self, clips: Sequence[Clip]) -> dict[str, int]:
        """Count the symbols of some texts that training lacks, the most frequent first."""
        counts = Counter(symbol for clip in clips for symbol in self.symbols(self.text(clip)))
        return {symbol: count for symbol, count in counts.most_common() if symbol not in self._known}

    def target(self, clip: Clip) -> Int[Tensor, " token"]:
        """Return the ids of the units."""
        return torch.tensor(self._units.encode(self.text(clip)), dtype=torch.long)

    def reference(self, clip: Clip) -> str:
        """Return the text."""
        return self.text(clip)

    def hypothesis(self, prediction: Int[Tensor, " token"]) -> str:
        """Return the units as text."""
        return self._units.decode(prediction.tolist())

    def describe(self, empty: ClipPrediction, given: HeadOutput) -> ClipPrediction:
        """Return the text, with the times of its words and tokens where the head tells them."""
        said = replace(empty, text=self.hypothesis(given.prediction))
        ids = given.prediction.tolist()
        found = None if given.log_probabilities is None else align(given.log_probabilities, ids)
        return said if found is None else self.timed(said, ids, found, given.grid)

    def answered(self, times: bool) -> tuple[str, ...]:
        """Return the text, and its words and tokens where there are times."""
        return ("text", "words", "tokens") if times else ("text",)

    def timed(
        self, said: ClipPrediction, ids: Sequence[int], found: Sequence[TokenFrames], grid: FrameGrid
    ) -> ClipPrediction:
        """Return a record with the words and tokens of its text; `found` are the frames of the tokens `ids`."""
        words = [
            timed_label(word, [found[place] for place in places], grid, said.seconds)
            for word, places in self._units.words(ids)
        ]
        short = said.seconds <= _TOKENS_UP_TO_SECONDS
        tokens = self.timed_tokens(ids, found, grid, said.seconds) if short else None
        return replace(said, words=tuple(words), tokens=tokens)

    def timed_tokens(
        self, ids: Sequence[int], found: Sequence[TokenFrames], grid: FrameGrid, clip_seconds: float
    ) -> tuple[TimedLabel, ...]:
        """Return the tokens that are no spaces."""
        names = [self.classes[token] for token in ids]
        return tuple(
            timed_label(name, [frames], grid, clip_seconds)
            for name, frames in zip(names, found, strict=True)
            if name.strip(f" {_WORD_START}")
        )

    def files(self) -> dict[str, bytes]:
        """Return the sentencepiece model, if there is one."""
        return self._units.files()


class Units(Protocol):
    """A way to cut text."""

    @property
    def names(self) -> list[str]:
        """Return the units, in the order of their ids."""
        ...

    @property
    def spelled(self) -> list[str]:
        """Return the units with ``▁`` for a space, also for the one that words have before them."""
        ...

    def learn(self, texts: Sequence[str]) -> None:
        """Take the units from the training texts."""
        ...

    def restore(self, names: Sequence[str]) -> None:
        """Take units that were learned before, in the order of their ids."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's units."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some units, with single spaces."""
        ...

    def words(self, ids: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Return each word of some units, with the places in `ids` that it is made of."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return what else is needed to read the ids."""
        ...


def timed_label(label: str, frames: Sequence[TokenFrames], grid: FrameGrid, clip_seconds: float) -> TimedLabel:
    """Return a label from the start of its first token to the end of its last one."""
    (start, _), (_, end) = frames[0].seconds(grid, clip_seconds), frames[-1].seconds(grid, clip_seconds)
    total = sum(one.last - one.first for one in frames)
    mean = sum(one.probability * (one.last - one.first) for one in frames) / total
    return TimedLabel(start, end, label, round(mean, 4))


class Symbols:
    """Characters or words.

    Parameters
    ----------
    words
        Words rather than characters.
    min_count
        Units seen less often are unknown.
    unknown
        A unit of its own stands for unknown ones; else they are left out.
    """

    def __init__(self, words: bool, min_count: int = 1, unknown: bool = False) -> None:
        self._words, self._min_count, self._unknown = words, min_count, UNKNOWN if unknown else None
        self._vocabulary = Vocabulary([])

    @property
    def names(self) -> list[str]:
        """Return the units."""
        return self._vocabulary.tokens

    @property
    def spelled(self) -> list[str]:
        """Return words behind a ``▁``, or characters."""
        return [f"{_WORD_START}{name}" if self._words else name.replace(" ", _WORD_START) for name in self.names]

    def learn(self, texts: Sequence[str]) -> None:
        """Take the units that are frequent enough."""
        units = frequent_tokens((self.cut(text) for text in texts), self._min_count)
        if not units:
            raise UserError(f"no unit appears `min_count` {self._min_count} times in the training texts")
        self._vocabulary = Vocabulary([self._unknown, *units] if self._unknown else units, self._unknown)

    def restore(self, names: Sequence[str]) -> None:
        """Take units that were learned before."""
        self._vocabulary = Vocabulary(names, self._unknown)

    def encode(self, text: str) -> list[int]:
        """Return the ids."""
        return self._vocabulary.encode(self.cut(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text."""
        return " ".join((" " if self._words else "").join(self._vocabulary.decode(ids)).split())

    def words(self, ids: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Return the words; each character is one in languages without spaces between words."""
        names = self._vocabulary.decode(ids)
        spaced = not self._words and " " in self.names and language_without_spaces(self.names) is None
        return grouped(names, (lambda name: name == " ") if spaced else lambda _: True)

    def files(self) -> dict[str, bytes]:
        """Return nothing: the names say all."""
        return {}

    def cut(self, text: str) -> list[str]:
        """Return the characters or words of a text."""
        return text.split() if self._words else list(text)


class Pieces:
    """Pieces of words by sentencepiece's unigram model (Kudo 2018), which is learned anew and the same every time.

    Every character of the training texts is covered; one that training lacks is left out.

    Parameters
    ----------
    vocab_size
        Pieces; fewer, where the texts do not give as many.
    """

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._model = b""
        self.names: list[str] = []
        """Of the pieces; those that begin a word begin with ``▁``."""

    @property
    def spelled(self) -> list[str]:
        """Return the pieces as they are."""
        return self.names

    def learn(self, texts: Sequence[str]) -> None:
        """Train the model; UserError if the texts are empty."""
        with optional_packages("units `sentencepiece`"):
            import sentencepiece
        if not any(texts):
            raise UserError("no training text has a character, so no pieces can be learned")
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            # One more: sentencepiece counts the unknown piece, which is none of ours.
            vocab_size=self._vocab_size + 1,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=_LONGEST_TEXT_BYTES,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            # All texts, in their order, by one thread: nothing is left to chance.
            input_sentence_size=0,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
        self._model = model.getvalue()
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=self._model)
        self.names = [self._processor.id_to_piece(number) for number in range(1, self._processor.vocab_size())]
        if len(self.names) < self._vocab_size:
            logger.info("sentencepiece found %d pieces, not %d: the texts are short", len(self.names), self._vocab_size)

    def restore(self, names: Sequence[str]) -> None:
        """Take pieces that were learned before: enough to read ids, while cutting texts needs the model."""
        self.names = list(names)

    def encode(self, text: str) -> list[int]:
        """Return the ids, without unknown characters."""
        return [number - 1 for number in self._processor.encode(text) if number]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text."""
        return " ".join("".join(self.names[number] for number in ids).replace(_WORD_START, " ").split())

    def words(self, ids: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Return the words, which begin with ``▁``; each piece is one in languages without spaces between words."""
        names = [self.names[number] for number in ids]
        unspaced = language_without_spaces(name.strip(_WORD_START) for name in self.names) is not None
        found = grouped(names, lambda name: unspaced or name.startswith(_WORD_START))
        return [(word.removeprefix(_WORD_START), places) for word, places in found if word != _WORD_START]

    def files(self) -> dict[str, bytes]:
        """Return the model, as sentencepiece reads it; its ids are ours and one more."""
        return {"units.model": self._model}


def grouped(names: Sequence[str], begins: Callable[[str], bool]) -> list[tuple[str, list[int]]]:
    """Return words and the places of their units; a unit for which `begins` is true begins one, a space is in none.

    Examples
    --------
    >>> grouped(["a", " ", "b", "c"], lambda name: name == " ")
    [('a', [0]), ('bc', [2, 3])]
    """
    found: list[list[int]] = [[]]
    for place, name in enumerate(names):
        if begins(name):
            found.append([])
        if name != " ":
            found[-1].append(place)
    return [("".join(names[place] for place in places), places) for places in found if places]


def make_units(
    name: str, vocab_size: int, min_count: int = 1, unknown: bool = False, known: Sequence[str] = UNITS
) -> Units:
    """Return a way to cut text.

    Parameters
    ----------
    name
        One of `known`.
    vocab_size
        Of sentencepiece.
    min_count, unknown
        Of characters and words.
    known
        Those of `UNITS` that a task has.

    Raises
    ------
    UserError
        For another name, or too small a number.
    """
    check_choice("units", name, known)
    if name == "sentencepiece":
        if vocab_size < 2:
            raise UserError(f"`vocab_size` must be at least 2, but is {vocab_size}")
        return Pieces(vocab_size)
    if min_count < 1:
        raise UserError(f"`min_count` must be at least 1, but is {min_count}")
    return Symbols(name == "words", min_count, unknown)
