"""Key detection: one of 24 keys, scored by MIREX's weighted key score (MERT and MARBLE on GiantSteps)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.families.music import KEYS
from audio_ssl.probing.task import Output, Task


@dataclass(frozen=True)
class Config:
    """No options: the label of a clip is its key, as ``F# minor``."""


class Key(Task):
    """The label as one of 24 classes."""

    kind = "key"
    output: Output = "class"
    metrics: tuple[str, ...] = ("key_score", "accuracy")
    signature = "mir_eval.key.weighted_score"

    @property
    def classes(self) -> list[str]:
        """Return the 24 keys."""
        return list(KEYS)

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if clip.label is None:
            return "no key"
        return None if clip.label in KEYS else f"`{clip.label}` is no key; a key is written like F# minor"

    def target(self, clip: Clip) -> Int[Tensor, ""]:
        """Return the class."""
        return torch.tensor(KEYS.index(clip.label or ""))

    def reference(self, clip: Clip) -> str:
        """Return the key."""
        return clip.label or ""

    def hypothesis(self, prediction: Float[Tensor, " class"]) -> str:
        """Return the most likely key."""
        return KEYS[int(prediction.argmax())]


def build(config: Config) -> Key:
    """Make the task."""
    return Key()
