"""What targets are: their shape, their meaning, and the check that they keep what they promise.

Teachers make targets and objectives consume them; neither needs to know the other, both know this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.errors import AudioError


@dataclass(frozen=True)
class TargetSpec:
    """Shape and meaning of a teacher's targets."""

    kind: Literal["codes", "values"]
    """``codes``: int64 classes; ``values``: float32."""

    width: int
    """Codebooks, or bins."""

    num_classes: int | None
    """Classes of each codebook; None for values."""

    grid: FrameGrid
    """How samples become target frames."""


def check_targets(targets: Shaped[Tensor, "frame width"], spec: TargetSpec, samples: int) -> None:
    """Raise AudioError unless the targets of a clip have the count, shape and range their spec promises."""
    frames = spec.grid.num_frames(samples)
    if tuple(targets.shape) != (frames, spec.width):
        raise AudioError(f"targets have the shape {list(targets.shape)}, but {[frames, spec.width]} was expected")
    if spec.kind == "values":
        if not bool(torch.isfinite(targets).all()):
            raise AudioError("targets contain NaN or infinite values")
    elif frames and (int(targets.min()) < 0 or int(targets.max()) >= (spec.num_classes or 0)):
        raise AudioError(f"codes must lie in 0..{(spec.num_classes or 0) - 1}, but reach {int(targets.max())}")
