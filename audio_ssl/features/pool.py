"""Frames of a clip to one vector, piece by piece: mean, maximum, or a mean weighted by learned attention."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Pool(Protocol):
    """Takes frames ``[..., frame, dim]`` in pieces."""

    def add(self, frames: Tensor) -> None:
        """Take some frames."""
        ...

    def result(self) -> Tensor:
        """Return ``[..., dim]``, float32."""
        ...


class MeanPool:
    """The mean frame, summed in float64 so that pieces do not matter."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, frames: Float[Tensor, "*axes frame dim"]) -> None:
        """Take some frames."""
        part = frames.sum(-2, dtype=torch.float64)
        self._sum = part if self._sum is None else self._sum + part
        self._count += frames.shape[-2]

    def result(self) -> Tensor:
        """Return the mean."""
        assert self._sum is not None
        return (self._sum / self._count).float()


class MaxPool:
    """The largest value of each dimension."""

    def __init__(self) -> None:
        self._largest: Tensor | None = None

    def add(self, frames: Float[Tensor, "*axes frame dim"]) -> None:
        """Take some frames."""
        part = frames.amax(-2)
        self._largest = part if self._largest is None else torch.maximum(self._largest, part)

    def result(self) -> Tensor:
        """Return the maximum."""
        assert self._largest is not None
        return self._largest.float()


class Attention(nn.Module):
    """Self-attentive pooling (Lin et al. 2017, arXiv 1703.03130): frames weighted by a softmax of learned scores.

    Parameters
    ----------
    dim
        Width of the frames.
    hidden_dim
        Width of the scoring layer.
    """

    def __init__(self, dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, 1, bias=False)

    def scores(self, frames: Float[Tensor, "*axes frame dim"]) -> Float[Tensor, "*axes frame"]:
        """Return the score of each frame, before the softmax."""
        return cast(Tensor, self.outer(torch.tanh(self.inner(frames)))).squeeze(-1)

    def forward(
        self, frames: Float[Tensor, "batch frame dim"], inside: Bool[Tensor, "batch frame"]
    ) -> Float[Tensor, "batch dim"]:
        """Return the weighted mean of each clip's frames."""
        weights = self.scores(frames).masked_fill(~inside, float("-inf")).softmax(-1)
        return (weights[..., None] * frames).sum(-2)


class AttentivePool:
    """The same over frames that come in pieces."""

    def __init__(self, attention: Attention) -> None:
        self._attention = attention
        self._largest = self._weight = self._sum = torch.zeros(())

    def add(self, frames: Float[Tensor, "*axes frame dim"]) -> None:
        """Take some frames."""
        scores = self._attention.scores(frames.float()).double()
        first = self._sum.ndim == 0
        largest = scores.amax(-1) if first else torch.maximum(self._largest, scores.amax(-1))
        weights = (scores - largest[..., None]).exp()
        total, weight = (weights[..., None] * frames).sum(-2), weights.sum(-1)
        if not first:
            fade = (self._largest - largest).exp()
            total, weight = total + self._sum * fade[..., None], weight + self._weight * fade
        self._largest, self._weight, self._sum = largest, weight, total

    def result(self) -> Tensor:
        """Return the weighted mean."""
        return (self._sum / self._weight[..., None]).float()
