"""Music tagging: several tags a clip, scored by macro ROC-AUC and average precision, as MagnaTagATune in MARBLE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.task import Output, Task, Vocabulary, frequent_tokens


@dataclass(frozen=True)
class Config:
    """Which tags."""

    min_count: int = 5
    """Tags of fewer training clips are left out."""


class Tagging(Task):
    """Tags as zeros and ones."""

    kind = "tagging"
    output: Output = "tags"
    metrics: tuple[str, ...] = ("roc_auc", "average_precision")
    signature = "macro mean over tags"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._vocabulary = Vocabulary([])

    @property
    def classes(self) -> list[str]:
        """Return the tags."""
        return self._vocabulary.tokens

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None; a clip with an empty list of tags has none of them."""
        return "no tags" if clip.tags is None else None

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the tags that enough training clips have, and some have not."""
        tags = frequent_tokens((set(clip.tags or ()) for clip in clips), self._config.min_count)
        usual = {tag for tag in tags if sum(tag in (clip.tags or ()) for clip in clips) == len(clips)}
        self._vocabulary = Vocabulary(tag for tag in tags if tag not in usual)
        if not self.classes:
            raise UserError(
                f"no tag is on at least `min_count` {self._config.min_count} training clips, but not on all"
            )

    def restore(self, classes: Sequence[str], folder: Path) -> None:
        """Take the tags of a result."""
        self._vocabulary = Vocabulary(classes)

    def knows(self, clip: Clip) -> bool:
        """Return whether a tag of a clip is one of training, or it has none."""
        return not clip.tags or not {*clip.tags}.isdisjoint(self.classes)

    def target(self, clip: Clip) -> Float[Tensor, " class"]:
        """Return zeros and ones."""
        target = torch.zeros(len(self.classes))
        target[self._vocabulary.encode(clip.tags or ())] = 1.0
        return target

    def reference(self, clip: Clip) -> list[str]:
        """Return the clip's tags, those left out included."""
        return list(clip.tags or ())

    def hypothesis(self, prediction: Float[Tensor, " class"]) -> list[str]:
        """Return the tags that are more likely than not."""
        return self._vocabulary.decode((prediction > 0).nonzero()[:, 0].tolist())


def build(config: Config) -> Tagging:
    """Make the task."""
    return Tagging(config)
