"""Which class a clip is of, by any column of the manifest: emotion, intent, language, speaker, genre, pitch.

SUPERB's keyword spotting, intent, speaker identification and emotion (Yang et al. 2021, arXiv 2105.01051), and MARBLE's
genre, instrument, pitch, singer and technique (Yuan et al. 2023, arXiv 2306.10548).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.registry import main_first, metrics_of
from audio_ssl.probing.task import Output, Task, Vocabulary


@dataclass(frozen=True)
class Config:
    """Which column, and how it is scored."""

    column: str = "label"
    """Column of the manifest that holds the class: label, speaker, gender, language, or one of the corpus's own."""

    min_count: int = 2
    """Classes of fewer training clips are left out, and their clips are counted."""

    metric: str = "accuracy"
    """The main metric: accuracy, uar (unweighted average recall) or macro_f1; the other two are reported beside it."""


class Classification(Task):
    """The value of a column as one class."""

    kind = "classification"
    output: Output = "class"
    learns_classes = True
    metrics: tuple[str, ...] = ("accuracy", "uar", "macro_f1")

    def __init__(self, config: Config) -> None:
        self.column, self.known_speakers = config.column, config.column == "speaker"
        self.metrics = main_first(self.metrics, config.metric)
        self.signature = f"column {config.column}, at least {config.min_count} training clips a class"
        self._min_count = config.min_count
        self._counts: Counter[str] = Counter()
        self._vocabulary = Vocabulary([])

    @property
    def classes(self) -> list[str]:
        """Return the classes of the training clips."""
        return self._vocabulary.tokens

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        value = clip.row().get(self.column)
        if value is None or value == "":
            return f"no `{self.column}`"
        if isinstance(value, list):
            return f"`{self.column}` holds several names; the task `tagging` asks for those"
        if isinstance(value, float) and not value.is_integer():
            return f"`{self.column}` is a number, {value:g}; the task `regression` asks for those"
        return None

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the classes that enough training clips are of; UserError if there are fewer than two."""
        self._counts = Counter(self.reference(clip) for clip in clips)
        self._vocabulary = Vocabulary(sorted(n for n, count in self._counts.items() if count >= self._min_count))
        if len(self.classes) < 2:
            raise UserError(
                f"`{self.column}` must have two classes of at least `min_count` {self._min_count} training clips, but "
                f"has {len(self.classes)} (of {len(self._counts)} in all)",
                where="$.task.column",
            )

    def restore(self, classes: Sequence[str], folder: Path) -> None:
        """Take the classes of a result."""
        self._vocabulary = Vocabulary(classes)

    def why_not_after(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used with the classes of training, or None."""
        name = self.reference(clip)
        if name in self.classes:
            return None
        if count := self._counts[name]:
            return f"the {self.column} `{name}` has {count} training clips, fewer than `min_count` {self._min_count}"
        return f"the {self.column} `{name}` is not in training"

    def knows(self, clip: Clip) -> bool:
        """Return whether the class of a clip is one of training."""
        return self.reference(clip) in self.classes

    def target(self, clip: Clip) -> Int[Tensor, ""]:
        """Return the class."""
        return torch.tensor(self._vocabulary.encode([self.reference(clip)])[0])

    def reference(self, clip: Clip) -> str:
        """Return the name of the class."""
        value = clip.row()[self.column]
        return str(int(value)) if isinstance(value, float) else str(value)

    def hypothesis(self, prediction: Float[Tensor, " class"]) -> str:
        """Return the name of the most likely class."""
        return self.classes[int(prediction.argmax())]


def build(config: Config) -> Classification:
    """Make the task; UserError for another metric."""
    known = dict.fromkeys([*Classification.metrics, *metrics_of(Classification.kind)])
    if config.metric not in known:
        raise unknown_name("metric of classes", config.metric, known, "$.task.metric")
    return Classification(config)
