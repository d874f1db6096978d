"""What CTC heads share: loss per token, greedy decoding, and how many frames a text needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.probing.heads._base import Head, HeadBatch
from audio_ssl.probing.tasks._base import Output


class CTCBase(Head):
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
