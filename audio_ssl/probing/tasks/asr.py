"""Speech recognition: the transcript, character by character (SUPERB's ASR, Yang et al. 2021, arXiv 2105.01051).

Characters come from the training transcripts; a character of a test transcript that training never saw cannot be
recognised and counts as an error.
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


@dataclass(frozen=True)
class Config:
    """No options yet: characters, normalised."""


class ASR:
    """Transcripts as characters."""

    kind = "asr"
    output: Output = "tokens"
    metrics: tuple[str, ...] = ("wer", "cer")
    signature = NORMALISER

    def __init__(self) -> None:
        self._vocabulary = Vocabulary([])

    @property
    def classes(self) -> list[str]:
        """Return the characters."""
        return self._vocabulary.tokens

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if clip.text is None:
            return "no transcript"
        return None if normalise(clip.text) else "empty transcript"

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the characters of the training transcripts."""
        self._vocabulary = Vocabulary(frequent(normalise(clip.text or "") for clip in clips))
        if not self.classes:
            raise UserError("no training clip has a transcript")

    def target(self, clip: Clip) -> Int[Tensor, " token"]:
        """Return the ids of the characters."""
        return torch.tensor(self._vocabulary.encode(normalise(clip.text or "")), dtype=torch.long)

    def reference(self, clip: Clip) -> str:
        """Return the normalised transcript."""
        return normalise(clip.text or "")

    def hypothesis(self, prediction: Int[Tensor, " token"]) -> str:
        """Return the characters as text."""
        return " ".join("".join(self._vocabulary.decode(prediction.tolist())).split())


def build(config: Config) -> ASR:
    """Make the task."""
    return ASR()
