"""What a head and a search must give, and what CTC heads share.

What a head must give: a loss on a batch, and predictions.

What CTC heads share: loss per token, greedy decoding, and how many frames a text needs.

What a search must give.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.data.manifest import Clip
from audio_ssl.probing.task import Output, Task


@dataclass(frozen=True)
class HeadBatch:
    """Features of some clips."""

    features: Float[Tensor, "batch frame dim"]
    """One frame a clip for tasks that answer once a clip, unless the head wants all; anything past a clip's frames."""

    frames: Int[Tensor, " batch"]
    """Frames of each clip."""


class Head(nn.Module):
    """A trainable answer to a question.

    A head either gives `forward`, `losses` and `answers`, and many of it are then trained in one pass (`stackable`); or
    it gives `loss` and `predict`, and is trained alone.
    """

    outputs: tuple[Output, ...] = ()
    """What kinds of task it can answer."""

    needs_frames = False
    """Whether it wants all frames of a clip where it answers once a clip; else it is given their mean."""

    sharpness = 1.0
    """What scores of classes are multiplied with before the softmax that the loss takes of them."""

    stackable = False
    """Whether `forward` is free of loops over time and of batch statistics, so that copies can run as one."""

    def forward(
        self, features: Float[Tensor, "batch frame dim"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """Return the numbers that `losses` and `answers` take."""
        raise AssertionError("each stackable head has its own layers")

    def losses(
        self, outputs: Float[Tensor, "run batch ..."], frames: Int[Tensor, " batch"], targets: Sequence[Tensor]
    ) -> Float[Tensor, " run"]:
        """Return the mean loss of a batch for each of some copies of this head, whose clips are the same.

        Parameters
        ----------
        outputs
            What the copies' `forward` gave.
        frames
            Frames of each clip.
        targets
            Of each clip.
        """
        raise AssertionError("each stackable head has its own loss")

    def answers(self, outputs: Float[Tensor, "batch ..."], frames: Int[Tensor, " batch"]) -> list[Tensor]:
        """Return the prediction of each clip from what `forward` gave: token ids, scores, values or a vector."""
        return list(outputs)

    def loss(self, batch: HeadBatch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the mean loss of a batch."""
        return self.losses(self(batch.features, batch.frames)[None], batch.frames, targets)[0]

    @torch.no_grad()
    def predict(self, batch: HeadBatch) -> list[Tensor]:
        """Return token ids, scores of classes, values, activations or a vector of each clip."""
        return self.answers(self(batch.features, batch.frames), batch.frames)

    def why_not(self, frames: int, target: Tensor) -> str | None:
        """Return why a clip of `frames` frames cannot be used, or None."""
        return None

    def linear_layers(self) -> tuple[nn.Linear, ...] | None:
        """Return the layers that the head is in evaluation, where these are linear and nothing else, or None.

        Of a head that answers once a clip, the mean over time may stand anywhere between them.
        """
        return None

    @property
    def reach_frames(self) -> int | None:
        """Frames on either side of a frame that its numbers depend on; None: all of a clip."""
        return None


class CTCHeadBase(Head):
    """Tokens from frames; class 0 is the blank (Graves et al. 2006). `forward` gives logits of blank and tokens."""

    outputs: tuple[Output, ...] = ("tokens",)

    def losses(
        self, outputs: Float[Tensor, "run batch frame class"], frames: Int[Tensor, " batch"], targets: Sequence[Tensor]
    ) -> Float[Tensor, " run"]:
        """Return the CTC loss per token, in float32."""
        runs, clips = outputs.shape[:2]
        lengths = torch.tensor([len(target) for target in targets], device=outputs.device)
        log_probabilities = F.log_softmax(outputs.flatten(0, 1).float(), dim=-1).transpose(0, 1)
        wanted = torch.cat(list(targets)).to(outputs.device).repeat(runs) + 1
        each = F.ctc_loss(log_probabilities, wanted, frames.repeat(runs), lengths.repeat(runs), reduction="none")
        return (each.view(runs, clips) / lengths.clamp(min=1)).mean(1)

    def answers(self, outputs: Float[Tensor, "batch frame class"], frames: Int[Tensor, " batch"]) -> list[Tensor]:
        """Return the greedy decoding of each clip, on the CPU."""
        found = outputs.argmax(-1).cpu()
        return [greedy(row[:count]) for row, count in zip(found, frames.tolist(), strict=True)]

    @torch.no_grad()
    def log_probabilities(self, batch: HeadBatch) -> list[Float[Tensor, "frame class"]]:
        """Return each clip's log-probabilities, for decoders that search."""
        found = F.log_softmax(self(batch.features, batch.frames).float(), dim=-1)
        return [row[:count] for row, count in zip(found, batch.frames.tolist(), strict=True)]

    def why_not(self, frames: int, target: Tensor) -> str | None:
        """CTC needs a frame for each character, and one more between equal neighbours."""
        needed = len(target) + int((target[1:] == target[:-1]).sum())
        return None if needed <= frames else f"{len(target)} characters need {needed} frames, but there are {frames}"


def greedy(best: Int[Tensor, " frame"]) -> Int[Tensor, " token"]:
    """Return the tokens of the best class of each frame: repetitions are one, blanks (0) go, tokens count from 0.

    Examples
    --------
    >>> greedy(torch.tensor([0, 3, 3, 0, 3, 1, 1, 0])).tolist()
    [2, 2, 0]
    """
    merged: Tensor = torch.unique_consecutive(best)
    return merged[merged != 0] - 1


def masked(
    features: Float[Tensor, "batch frame dim"],
    frames: Int[Tensor, " batch"],
    time: tuple[int, int],
    dims: tuple[int, int],
) -> Float[Tensor, "batch frame dim"]:
    """Return frames with stretches of time and bands of dimensions set to 0 (SpecAugment, Park et al. 2019).

    Each clip has masks of its own; 0 is the mean of what a head is given. There is no time warping.

    Parameters
    ----------
    features
        Frames.
    frames
        Frames of each clip.
    time, dims
        How many masks, and the largest width of each: in frames, and in dimensions.
    """
    clips, total, width = features.shape
    for axis, size, (count, most) in ((1, frames, time), (2, torch.full_like(frames, width), dims)):
        place = torch.arange(total if axis == 1 else width, device=features.device)
        for _ in range(count):
            draws = torch.rand(2, clips, device=features.device)
            hidden = (draws[0] * (size.clamp(max=most) + 1)).floor()
            first = (draws[1] * (size - hidden + 1)).floor()
            mask = (place >= first[:, None]) & (place < (first + hidden)[:, None])
            features = torch.where(mask.unsqueeze(3 - axis), 0.0, features)
    return features


class Decoder(ABC):
    """A search for the most likely tokens of the test clips."""

    signature: str
    """What it is, with its settings, enough to reproduce the result."""

    @abstractmethod
    def start(self, task: Task, train: Sequence[Clip]) -> None:
        """Take the task's tokens and what the training transcripts say."""

    def restore(self, task: Task, folder: Path) -> None:
        """Take the task's tokens, and what `start` has learned from the search's `files` in a result folder.

        Raises
        ------
        UserError
            If a file is missing or damaged.
        """
        self.start(task, ())

    @abstractmethod
    def decode(self, head: Head, batch: HeadBatch) -> list[Tensor]:
        """Return token ids of each clip, as `Task.hypothesis` takes them."""

    @abstractmethod
    def search(self, rows: Sequence[Float[Tensor, "frame class"]]) -> list[Tensor]:
        """Return the token ids of clips whose log-probabilities of blank and tokens a CTC head gave."""

    @abstractmethod
    def why_not(self, head: Head) -> str | None:
        """Return why this search does not fit a head, or None."""

    def files(self) -> dict[str, bytes]:
        """Return what else belongs to the result after `start`, name to content (a language model)."""
        return {}
