"""No search: what the head says by itself, as without `decode`. For comparisons with searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.probing.head import Decoder, Head, HeadBatch, greedy
from audio_ssl.probing.task import Task


@dataclass(frozen=True)
class Config:
    """No options."""


class Greedy(Decoder):
    """The head's own predictions."""

    signature = "greedy"

    def start(self, task: Task, train: Sequence[Clip]) -> None:
        """Do nothing: the head knows its tokens."""

    def decode(self, head: Head, batch: HeadBatch) -> list[Tensor]:
        """Return the head's token ids."""
        return head.predict(batch)

    def search(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the tokens of the most likely class of each frame."""
        return [greedy(row.argmax(-1)) for row in rows]

    def why_not(self, head: Head) -> str | None:
        """Return None: every head of tokens has predictions."""
        return None if "tokens" in head.outputs else "a search is for heads that give tokens"


def build(config: Config) -> Greedy:
    """Make the search."""
    return Greedy()
