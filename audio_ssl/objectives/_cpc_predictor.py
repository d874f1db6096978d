"""The predictor of CPC_audio: a causal transformer layer for one step ahead, with relative positions.

Rivière et al. 2020 (arXiv 2002.02848), ``cpc/transformers.py`` of their code: post-norm, projections without a bias,
ReLU, and a learnt vector for each distance back that is multiplied with what a frame asks for, the same in all heads.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class StepPredictor(nn.Module):
    """One transformer layer.

    Parameters
    ----------
    dim
        Width of contexts and predictions; the feed-forward part is 8 times as wide (CPC_audio: 256 and 2048).
    heads
        Attention heads.
    dropout
        On the attention weights and inside the feed-forward part.
    reach_frames
        Distances from here on share one vector (CPC_audio knows no longer ones: 116, its window without the last 12).
    """

    def __init__(self, dim: int, heads: int, dropout: float, reach_frames: int) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        self.query, self.key = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.value, self.out = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        bound = (dim // heads) ** -0.5
        self.distances = nn.Parameter(torch.empty(reach_frames, dim // heads).uniform_(-bound, bound))
        self.attention_norm, self.final_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.inner, self.outer = nn.Linear(dim, 8 * dim), nn.Linear(8 * dim, dim)

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """Return what each frame predicts from itself and those before it."""
        x = self.attention_norm(x + self._attend(x))
        fed = F.dropout(F.relu(self.inner(x)), self._dropout, self.training)
        return cast(Tensor, self.final_norm(x + self.outer(fed)))

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        place = torch.arange(x.shape[1], device=x.device)
        back = (place[:, None] - place).clamp(0, len(self.distances) - 1)
        asked = query @ self.distances.to(query.dtype).T
        scores = query @ key.mT + asked.gather(-1, back.expand(*query.shape[:2], -1, -1))
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        weights = (scores.float() / math.sqrt(query.shape[-1])).masked_fill(later, -torch.inf).softmax(-1)
        mixed = F.dropout(weights.to(value.dtype), self._dropout, self.training) @ value
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))
