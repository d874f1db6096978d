"""What belongs to each clip of a padded batch, and what is hidden from the encoder."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def frame_mask(frames: Int[Tensor, " batch"], total: int) -> Bool[Tensor, "batch frame"]:
    """Return ``[batch, frame]``, True where a frame belongs to its clip.

    Examples
    --------
    >>> frame_mask(torch.tensor([1, 2]), 2).tolist()
    [[True, False], [True, True]]
    """
    return torch.arange(total, device=frames.device) < frames[:, None]


def key_mask(frames: Int[Tensor, " batch"], total: int) -> Bool[Tensor, "batch 1 1 frame"]:
    """Return the frames that may be attended to; a clip without frames attends to its first, so nothing becomes NaN."""
    return frame_mask(frames.clamp(min=1), total)[:, None, None]


def hide(
    x: Float[Tensor, "batch frame dim"],
    mask: Bool[Tensor, "batch frame"] | None,
    embedding: Float[Tensor, " dim"],
    inside: Bool[Tensor, "batch frame 1"],
) -> Float[Tensor, "batch frame dim"]:
    """Replace masked frames by the mask embedding and frames past the clip by zeros."""
    if mask is not None:
        x = torch.where(mask[..., None], embedding.to(x.dtype), x)
    # where, not multiplication: garbage in the padding may be infinite, and inf * 0 is NaN.
    return torch.where(inside, x, 0.0)
