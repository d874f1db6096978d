"""Frames at another rate: a new frame is the mean of what the old ones say about its span of time.

Old frame i stands for the time from i to i + 1 hops. A mean over spans keeps a clip's mean and lets nothing alias when
the rate falls; when it rises, frames are repeated, with a mix at the borders. The last frame may cover less.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_TOLERANCE = 1e-6
"""Of an old frame: spans that miss a border by rounding only end on it."""


def frames_at(frames: int, step: float) -> int:
    """Return how many new frames cover `frames` old ones; `step` is old frames a new one.

    Examples
    --------
    >>> [frames_at(n, 1.5) for n in (1, 3, 4)]
    [1, 2, 3]
    """
    return math.ceil(frames / step - _TOLERANCE)


class RateChange:
    """Takes old frames in pieces and gives new ones as soon as they are complete.

    Parameters
    ----------
    step
        Old frames a new one: the old rate over the new.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._held: Tensor | None = None
        self._base = self._given = 0

    def add(self, frames: Float[Tensor, "layer frame dim"], last: bool) -> Float[Tensor, "layer new dim"]:
        """Return the new frames that are complete; all that are left with the `last` piece."""
        held = frames if self._held is None else torch.cat([self._held, frames], 1)
        end = self._base + held.shape[1]
        stop = frames_at(end, self._step) if last else math.floor(end / self._step + _TOLERANCE)
        edges = torch.arange(self._given, stop + 1, dtype=torch.float64, device=frames.device) * self._step - self._base
        new = _means(held, edges.clamp(max=held.shape[1])).to(frames.dtype)
        self._given = stop
        drop = min(held.shape[1], max(0, math.floor(stop * self._step) - self._base))
        self._held, self._base = held[:, drop:], self._base + drop
        return new


def _means(frames: Tensor, edges: Tensor) -> Tensor:
    """Return the mean of the frames between consecutive edges, which are numbers of frames."""
    if len(edges) < 2:
        return frames[:, :0]
    values = frames.double()
    sums = torch.cat([torch.zeros_like(values[:, :1]), values.cumsum(1)], 1)
    whole = edges.floor().long().clamp(max=frames.shape[1] - 1)
    integral = sums[:, whole] + (edges - whole)[:, None] * values[:, whole]
    return (integral[:, 1:] - integral[:, :-1]) / (edges[1:] - edges[:-1])[:, None]
