"""What a task must give, and the vocabularies that tasks share.

What tasks and heads of frames share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from audio_ssl.artifacts.clip_predictions import ClipPrediction, NamedNumber, NamedProbability
from audio_ssl.artifacts.result import REMEDY, AttributeScores
from audio_ssl.artifacts.result_tables import ComparisonRow
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.resampling import Interval

Output = Literal["tokens", "class", "tags", "values", "frames", "embedding", "nothing"]
"""What a head gives: a sequence from frames (``tokens``); one class, zeros and ones, or numbers for a clip (``class``,
``tags``, ``values``); activations of each frame (``frames``); a vector to compare (``embedding``); or there is no head,
and the frames themselves are compared (``nothing``)."""

Answer = str | list[str] | list[float]
"""A reference or a hypothesis, as people read it and metrics take it."""


@dataclass(frozen=True)
class HeadOutput:
    """What a head gives for one clip."""

    prediction: Tensor
    """Token ids, scores of classes, values, activations of frames, or a vector: as `Task.hypothesis` takes it."""

    grid: FrameGrid
    """Of the frames that the head was given."""

    log_probabilities: Float[Tensor, "frame class"] | None = None
    """Of blank and tokens in every frame, where the head is of CTC: they tell the times of the tokens."""

    sharpness: float = 1.0
    """`Head.sharpness`: what scores of classes are multiplied with before the softmax."""


class Task(ABC):
    """A question about clips: which of them can be asked, what is right, and how a head's numbers are read.

    What only some tasks have is here at its default, so whoever reads a task asks nothing of it by name.
    """

    kind: str
    """As in the probe: asr, st, key, tagging, classification …"""

    output: Output
    """What it needs of a head."""

    metrics: tuple[str, ...]
    """The first is the main one: it selects layers and rates on the validation clips."""

    signature: str
    """How texts were normalised, and other settings that change the score."""

    tokenizer: str | None = None
    """How BLEU cuts texts into words, see `audio_ssl.metrics.texts`."""

    warnings: Sequence[str] = ()
    """What to know of the score, in sentences."""

    learns_classes = False
    """Whether its classes are those of the training clips, so that a clip of any other cannot be answered."""

    known_speakers = False
    """Whether the test clips may be of speakers of the training clips without a warning."""

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes or tokens, in the order of the head's outputs, without blank and specials."""
        return []

    @property
    def spelled(self) -> list[str]:
        """Return the tokens as sentencepiece spells them: joined, with spaces for ``▁``, they are the text.

        Tasks whose answer is no text have none.
        """
        return []

    @abstractmethod
    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""

    def why_not_after(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used with the classes of training (a label that training lacks), or None."""
        return None

    def learn(self, clips: Sequence[Clip]) -> None:  # noqa: B027 - a task may leave it as it is
        """Take the classes or tokens from the training clips; nothing where they are known."""

    def restore(self, classes: Sequence[str], folder: Path) -> None:
        """Take what `learn` took, from a result: its classes, and the folder with the task's `files`.

        Raises
        ------
        UserError
            If the classes are others than the settings of the task give, or a file is missing or damaged.
        """
        if list(classes) != self.classes:
            raise UserError(
                f"the result has {len(classes)} classes that are not the {len(self.classes)} of the task {self.kind}",
                where=str(folder),
                remedy=REMEDY,
            )

    def knows(self, clip: Clip) -> bool:
        """Return whether a head could give the right answer of a labelled clip, or a part of it."""
        return True

    def target(self, clip: Clip) -> Tensor:
        """Return token ids ``[token]``, a class id (``embedding`` too), ``[class]`` zeros and ones, ``[value]``.

        Tasks of frames are `FrameTask`: their targets depend on how many frames there are.
        """
        raise AssertionError(f"the task {self.kind} has no target of a clip")

    def reference(self, clip: Clip) -> Answer:
        """Return what is right, for people and metrics."""
        raise AssertionError(f"the task {self.kind} has no reference")

    def hypothesis(self, prediction: Tensor) -> Answer:
        """Return the answer as text or numbers: from token ids, scores of classes, values, or activations of frames."""
        raise AssertionError(f"the task {self.kind} has no hypothesis")

    def why_no_prediction(self) -> str | None:
        """Return why this question cannot be answered of a clip that the probe has not seen, or None."""
        return None

    def answered(self, times: bool) -> tuple[str, ...]:
        """Return the fields of a `ClipPrediction` that `clip_prediction` fills, which say the formats it can have.

        Parameters
        ----------
        times
            Whether the head is of CTC, and so tells the times of tokens.
        """
        fields: dict[Output, str] = {"class": "classes", "tags": "tags", "values": "values", "embedding": "embedding"}
        return (fields[self.output],) if self.output in fields else ()

    def clip_prediction(self, clip: Clip, given: HeadOutput) -> ClipPrediction:
        """Return the answer of a clip as a record, with the right answer beside it where the clip has one.

        Parameters
        ----------
        clip
            Its columns may be missing: no label is needed.
        given
            Of the clip's head. The record says the same as `hypothesis` of its prediction.

        Raises
        ------
        UserError
            If the task cannot predict (`why_no_prediction`).
        """
        if why := self.why_no_prediction():
            raise UserError(why)
        reference = None if self.why_not(clip) else self.reference(clip)
        row = clip.row()
        place = {name: row.pop(name) for name in ("id", "path", "start", "seconds", "sample_rate")}
        empty = ClipPrediction(**place, task=self.kind, reference=reference, manifest=row)
        return self.describe(empty, given)

    def describe(self, empty: ClipPrediction, given: HeadOutput) -> ClipPrediction:
        """Return a record whose fields of the answer are filled; `clip_prediction` gives the others."""
        scores = given.prediction.detach().double().cpu()
        if self.output == "class":
            return replace(empty, classes=ranked(self.classes, (scores * given.sharpness).softmax(-1).tolist()))
        if self.output == "tags":
            return replace(empty, tags=ranked(self.classes, scores.sigmoid().tolist()))
        if self.output == "values":
            values = zip(self.classes, cast(list[float], self.hypothesis(given.prediction)), strict=True)
            return replace(empty, values=tuple(NamedNumber(name, value) for name, value in values))
        if self.output == "embedding":
            return replace(empty, embedding=tuple(scores.tolist()))
        raise AssertionError(f"the task {self.kind} does not describe its answer")

    def unseen(self, clips: Sequence[Clip]) -> dict[str, int]:
        """Count what of the clips' references training lacks (characters), the most frequent first."""
        return {}

    def statistics(self, name: str, clip: Clip, prediction: Tensor) -> npt.NDArray[np.float64] | None:
        """Return a clip's statistics of a metric of activations (frame_ap); None: they are those of the hypothesis."""
        return None

    def files(self) -> dict[str, bytes]:
        """Return what else belongs to the result, name to content (a sentencepiece model)."""
        return {}


class FrameTask(Task):
    """A question about every frame: beats, chords, notes."""

    output: Output = "frames"

    @abstractmethod
    def frame_target(self, clip: Clip, frames: int, grid: FrameGrid) -> Tensor:
        """Return ``[frame, class]`` between 0 and 1, or class ids ``[frame]``, for a clip of `frames` frames."""

    @abstractmethod
    def start(self, grid: FrameGrid) -> None:
        """Take the grid of the frames, before any target or hypothesis is computed."""


class PairTask(Task):
    """A question about pairs of clips: is it the same speaker? Its head is trained on classes."""

    output: Output = "embedding"

    @abstractmethod
    def trials(self, clips: Sequence[Clip]) -> list[tuple[int, int, bool]]:
        """Return pairs of positions in `clips`, and whether they are the same."""


@dataclass(frozen=True)
class Comparisons:
    """What comparing frames gave."""

    scores: dict[str, Interval]
    """Of each of the task's metrics, in its unit."""

    unit: str
    """What the intervals are over: speakers, contexts, clips …"""

    rows: Sequence[ComparisonRow] = ()
    """One for each thing that was compared."""


class CompareTask(Task):
    """A question that the frames answer without training (zero-resource evaluation); its probe has no head."""

    output: Output = "nothing"

    def why_no_prediction(self) -> str | None:
        """Return that frames are compared."""
        return f"the task `{self.kind}` compares frames of clips and trains no head, so nothing predicts a new file"

    @abstractmethod
    def compare(
        self, clips: Sequence[Clip], frames: Callable[[Clip], Float[Tensor, "frame dim"]], grid: FrameGrid
    ) -> Comparisons:
        """Compare the frames of some clips, of one layer of one model."""


@dataclass(frozen=True)
class LayerAnswer:
    """What all layers of a system tell."""

    representation: AttributeScores
    metrics: dict[str, Interval]
    """Of the layers that the folds selected."""

    scores: Float[Tensor, "clip class"]
    """Of the same layers, for clips in order."""


class LayerTask(Task):
    """A question about each layer that needs no head: it takes the clips of all splits, in folds of its own."""

    output: Output = "nothing"
    column: str
    """Column of the manifest that is predicted."""

    def why_no_prediction(self) -> str | None:
        """Return that layers are compared."""
        return (
            f"the task `{self.kind}` compares layers and keeps no head, so nothing predicts a new file; a probe of the "
            f"task `classification` with `task.column={self.column}` does"
        )

    @abstractmethod
    def usable(self, clips: Sequence[Clip]) -> tuple[list[Clip], list[tuple[Clip, str]]]:
        """Take the classes from some clips; return the clips that can be used, and the others with the reason."""

    @abstractmethod
    def answer(
        self,
        clips: Sequence[Clip],
        layers: Sequence[int],
        features: Callable[[int], Float[Tensor, "clip dim"]],
        advance: Callable[[], None] = lambda: None,
    ) -> LayerAnswer:
        """Score every layer.

        Parameters
        ----------
        clips
            That `usable` has returned.
        layers
            Their numbers.
        features
            Mean frames of the clips, of one layer.
        advance
            Called after each layer.
        """


def ranked(names: Sequence[str], probabilities: Sequence[float]) -> tuple[NamedProbability, ...]:
    """Return names with their probabilities, the most probable first; equal ones in the order given.

    Examples
    --------
    >>> [one.name for one in ranked(["a", "b", "c"], [0.2, 0.6, 0.2])]
    ['b', 'a', 'c']
    """
    pairs = (NamedProbability(name, value) for name, value in zip(names, probabilities, strict=True))
    return tuple(sorted(pairs, key=lambda one: -one.probability))


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


def frequent_tokens(texts: Iterable[Iterable[str]], min_count: int = 1) -> list[str]:
    """Return the tokens that appear at least `min_count` times, sorted."""
    counts = Counter(token for text in texts for token in text)
    return sorted(token for token, count in counts.items() if count >= min_count)


IGNORED = -100
"""Class of a frame that has no answer; it is left out of losses (torch's own default)."""


class TimesTask(FrameTask):
    """A question about frames whose answer a column has, with times; its classes are known before training.

    The column is called as the task is, ``kind``. What is left to a task is `why_not_text`, the classes, the target of
    frames and the answer.
    """

    def __init__(self) -> None:
        self._grid: FrameGrid | None = None

    @property
    def grid(self) -> FrameGrid:
        """Return the grid of the frames, as given to `start`."""
        assert self._grid is not None, "`start` comes first"
        return self._grid

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        text = self.reference(clip)
        if not text.strip(" ;"):
            return f"no {self.kind}"
        try:
            return self.why_not_text(text)
        except UserError as error:
            return error.what

    @abstractmethod
    def why_not_text(self, text: str) -> str | None:
        """Return why an answer that is there cannot be used, or None; UserError if it cannot be read."""

    def start(self, grid: FrameGrid) -> None:
        """Take the grid of the frames."""
        self._grid = grid

    def reference(self, clip: Clip) -> str:
        """Return the answer as the manifest has it."""
        text = clip.extra.get(self.kind)
        return "" if text is None else str(text)
