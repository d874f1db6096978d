"""Agreement of a clip's means under two masks, against other clips: a clip-level term beside a frame-level one.

Instruments, key, room and voice stay the same for a whole recording. Predicting frames needs little of them; probes of
tagging, genre or instrument ask for them. A clip under one of its masks (`mask.clones`) is summarised by the mean of
the last hidden state over the frames that the encoder saw. Two summaries of one clip are a positive pair, those of the
other clips of the micro-batch are the negatives. Two masks of the same seconds are too easy to match. By default a
positive pair is therefore the first half of a clip under one mask and the second half under another.

The loss is NT-Xent of SimCLR (Chen et al. 2020, arXiv 2002.05709: two layers, cosines over a temperature), which CLMR
(Spijkervet and Burgoyne 2021, arXiv 2103.09410) brought to music; COLA (Saeed et al. 2021, arXiv 2010.10915) pairs
segments of one recording. A term per clip beside one per frame is EAT's (Chen et al. 2024, arXiv 2401.03497), which
regresses a teacher's mean where this contrasts. With more than two masks, the negatives of a pair are still other clips
only, as the clip's further masks agree as well, and a mask's loss is the mean over its pairs.

A mask's loss counts as often as it hides frames, as the loss of an update is divided by these. Other clips are those of
the micro-batch, which is the same in any number of processes: as for batch norm, `data.seconds_per_batch` is part of
the recipe then. A clip alone in its micro-batch adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.pretrain.view import ModelShape, Objective, ObjectiveOutput, ObjectiveTraits, View
from audio_ssl.targets.spec import TargetSpec

TRAITS = ObjectiveTraits(None, masked=True, clones=True)

_NO_OTHER = -1e4
"""Logit in the place of what is no other clip: nothing after the exponential, yet finite."""


@dataclass(frozen=True)
class Config:
    """Projection, temperature and weight."""

    weight: float = 0.1
    """Factor of this loss in the total."""

    temperature: float = 0.1
    """Cosines are divided by it (SimCLR: 0.1; CLMR: 0.5)."""

    halves: bool = True
    """A pair is the first half of a clip under one mask and the second half under another; false: the whole clip under
    both."""

    projection_dim: int = 128
    """Width after the two layers, which are thrown away (SimCLR, CLMR: 128)."""


class ClipContrast(Objective):
    """Two layers and cross-entropy over the clips of a micro-batch."""

    def __init__(self, config: Config, hidden_dim: int) -> None:
        super().__init__()
        self._temperature, self._halves = config.temperature, config.halves
        self.layers = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, config.projection_dim)
        )

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the sum over masks of (hidden frames) times (mean loss of the mask's pairs)."""
        assert view.seen is not None
        counts = view.counted.sum(1)
        number = torch.arange(len(counts), device=counts.device) % view.clones
        kept = view.seen.counts
        if self._halves:
            number = number % 2
            kept = kept & ((2 * view.seen.places >= view.frames[:, None]) == (number == 1)[:, None])
        with torch.autocast(counts.device.type, enabled=False):
            points = F.normalize(self.layers(view.seen.mean(kept)), dim=1)
            # A fully masked half is neither a positive nor a negative.
            losses, right = self._losses(points @ points.T / self._temperature, view.clones, number, kept.any(1))
            loss_sum = (losses * counts).sum()
        return ObjectiveOutput(loss_sum, counts.sum(), {"clip_accuracy": ((right * counts).sum(), counts.sum())})

    def _losses(
        self,
        cosines: Float[Tensor, "row row"],
        clones: int,
        number: Int[Tensor, " row"],
        there: Bool[Tensor, " row"],
    ) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
        """Return each row's mean loss over its pairs, and the share of pairs nearer than any other clip.

        Rows of one clip are a pair if they differ in their number; rows that are not there are left out.
        """
        clip = torch.arange(len(cosines), device=cosines.device) // clones
        same = clip[:, None] == clip
        pairs = same & (number[:, None] != number) & there[:, None] & there
        others = cosines.masked_fill(same | ~there, _NO_OTHER)
        per_row = pairs.sum(1).clamp(min=1)
        # -log(pair / (pair + others)), where the sums are of exponentials.
        losses = F.softplus(others.logsumexp(1, keepdim=True) - cosines)
        right = cosines.detach() > others.detach().amax(1, keepdim=True)
        return torch.where(pairs, losses, 0.0).sum(1) / per_row, (pairs & right).sum(1) / per_row


def build(config: Config, shape: ModelShape, target: TargetSpec | None) -> ClipContrast:
    """Make the head; UserError for a temperature or a width that cannot be."""
    if not config.temperature > 0:
        raise UserError(f"`temperature` must be above 0, but is {config.temperature:g}")
    check_at_least(config, 1, "projection_dim")
    return ClipContrast(config, shape.dim)
