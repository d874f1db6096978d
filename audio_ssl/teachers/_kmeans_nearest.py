"""The nearest of many codes for each frame, by matrix product, in memory that does not grow with the clip."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TILE_SCORES = 1 << 18
"""Scores held at once (1 MiB of float32, a core's cache), whatever the frames and codes."""


def nearest(
    frames: Float[Tensor, "frame dim"], codes: Float[Tensor, "code dim"], bias: Float[Tensor, " code"] | None = None
) -> tuple[Int[Tensor, " frame"], Float[Tensor, " frame"]]:
    """Return for each frame the code with the largest dot product plus bias, and that largest score.

    With ``bias = -|code|^2 / 2`` that is the nearest code, as ``|x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2)``; without
    bias and with codes of unit length it is the nearest to the normalised frame. Of equal scores the first code wins.

    Examples
    --------
    >>> nearest(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.eye(2))
    (tensor([0, 1]), tensor([2., 3.]))
    """
    rows = max(1, _TILE_SCORES // len(codes))
    across = codes.T.contiguous()
    start = torch.zeros((), dtype=frames.dtype, device=frames.device) if bias is None else bias
    labels, best = [], []
    for part in torch.split(frames, rows):
        scores = torch.addmm(start, part, across)
        found = _argmax(scores)
        labels.append(found)
        best.append(scores.gather(1, found[:, None])[:, 0])
    if not labels:
        return frames.new_zeros(0, dtype=torch.int64), frames.new_zeros(0)
    return torch.cat(labels), torch.cat(best)


def _argmax(scores: Float[Tensor, "frame code"]) -> Int[Tensor, " frame"]:
    """Take the argmax by numpy on a CPU: torch's is not vectorised there and takes as long as the matrix product."""
    if scores.device.type == "cpu":
        return torch.from_numpy(scores.numpy().argmax(1))
    return scores.argmax(1)


def half_squares(codes: Float[Tensor, "code dim"]) -> Float[Tensor, " code"]:
    """Return the bias that makes `nearest` the Euclidean one, ``-|code|^2 / 2``."""
    return -0.5 * codes.square().sum(1)
