"""What a search must give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.probing.heads._base import Head, HeadBatch
from audio_ssl.probing.tasks._base import Task


class Decoder(Protocol):
    """A search for the most likely tokens of the test clips.

    It may also have ``files()``: what belongs to the answer, name to content (a language model), after `start`.
    """

    signature: str
    """What it is, with its settings, enough to reproduce the result."""

    def start(self, task: Task, train: Sequence[Clip]) -> None:
        """Take the task's tokens and what the training transcripts say."""
        ...

    def decode(self, head: Head, batch: HeadBatch) -> list[Tensor]:
        """Return token ids of each clip, as `Task.hypothesis` takes them."""
        ...

    def why_not(self, head: Head) -> str | None:
        """Return why this search does not fit a head, or None."""
        ...
