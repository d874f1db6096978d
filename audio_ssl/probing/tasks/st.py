"""Speech translation: the translation, word by word or character by character, scored by BLEU and chrF.

Words fit a corpus of minutes, where sub-words could not be learned; rare ones become ``<unk>``, which BLEU counts as
wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.probing.tasks._base import NORMALISER, Output, Vocabulary, frequent, normalise

UNKNOWN = "<unk>"


@dataclass(frozen=True)
class Config:
    """Units of the target text."""

    units: str = "words"
    """``words`` or ``characters``."""

    min_count: int = 2
    """Units seen less often in training become ``<unk>``."""


class ST:
    """Translations as words or characters."""

    kind = "st"
    output: Output = "tokens"
    metrics: tuple[str, ...] = ("bleu", "chrf")
    signature = NORMALISER

    def __init__(self, config: Config) -> None:
        self._config = config
        self._vocabulary = Vocabulary([])

    @property
    def classes(self) -> list[str]:
        """Return the units."""
        return self._vocabulary.tokens

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if clip.translation is None:
            return "no translation"
        return None if normalise(clip.translation) else "empty translation"

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the units of the training translations."""
        units = frequent((self._units(clip) for clip in clips), self._config.min_count)
        if not units:
            raise UserError(f"no unit appears `min_count` {self._config.min_count} times in the training translations")
        self._vocabulary = Vocabulary([UNKNOWN, *units], UNKNOWN)

    def target(self, clip: Clip) -> Int[Tensor, " token"]:
        """Return the ids of the units."""
        return torch.tensor(self._vocabulary.encode(self._units(clip)), dtype=torch.long)

    def reference(self, clip: Clip) -> str:
        """Return the normalised translation."""
        return normalise(clip.translation or "")

    def hypothesis(self, prediction: Int[Tensor, " token"]) -> str:
        """Return the units as text."""
        joint = " " if self._config.units == "words" else ""
        return " ".join(joint.join(self._vocabulary.decode(prediction.tolist())).split())

    def _units(self, clip: Clip) -> list[str]:
        text = normalise(clip.translation or "")
        return text.split() if self._config.units == "words" else list(text)


def build(config: Config) -> ST:
    """Make the task; UserError for other units."""
    if config.units not in ("words", "characters"):
        raise UserError(f"`units` must be words or characters, but is `{config.units}`")
    return ST(config)
