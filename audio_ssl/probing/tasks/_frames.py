"""What tasks and heads of frames share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.probing.tasks._base import Output

IGNORED = -100
"""Class of a frame that has no answer; it is left out of losses (torch's own default)."""


class TimesTask(ABC):
    """A question about frames whose answer a column has, with times; its classes are known before training.

    The column is called as the task is, ``kind``. What is left to a task is `why_not_text`, the classes, the target of
    frames and the answer.
    """

    kind: str
    output: Output = "frames"

    def __init__(self) -> None:
        self._grid: FrameGrid | None = None

    @property
    def grid(self) -> FrameGrid:
        """Return the grid of the frames, which `start` was told."""
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

    def learn(self, clips: Sequence[Clip]) -> None:  # noqa: B027 - a task may leave it as it is
        """Do nothing: the classes are known."""

    def start(self, grid: FrameGrid) -> None:
        """Take the grid of the frames."""
        self._grid = grid

    def target(self, clip: Clip) -> Tensor:
        """Refuse: the target depends on the frames."""
        raise AssertionError("the target of frames is `frame_target`")

    def reference(self, clip: Clip) -> str:
        """Return the answer as the manifest has it."""
        text = clip.extra.get(self.kind)
        return "" if text is None else str(text)
