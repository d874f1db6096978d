"""Relative positions of Transformer-XL: products of what a frame asks for with sinusoids of the distance to others.

Dai et al. 2019 (arXiv 1901.02860), section 3.3. In the form of SpeechBrain's Conformer (``RelPosMHAXL`` and
``RelPosEncXL``), with which it trains BEST-RQ (Whetten et al. 2024, arXiv 2405.04296): past and future distances have
the same sinusoids, so that only the convolutions tell what comes before from what comes after, and scores are divided
by the root of the model's width, not of a head's.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.products import apply


class DistanceScores(nn.Module):
    """Makes of the queries of all heads the queries of contents and a bias per pair of frames.

    Parameters
    ----------
    dim
        Width of the frames.
    heads
        Attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, dim // heads))
        self.position_bias = nn.Parameter(torch.zeros(heads, dim // heads))
        self._heads = heads

    def forward(
        self, query: Float[Tensor, "batch head frame part"], sinusoids: Float[Tensor, "frame dim"]
    ) -> tuple[Float[Tensor, "batch head frame part"], Float[Tensor, "batch head frame frame"]]:
        """Return queries, scaled so that a division by the root of a head's width is one by that of `dim`, and bias.

        Parameters
        ----------
        query
            Of each head.
        sinusoids
            Of the distances 0, 1 and so on (`sinusoids_of`).
        """
        known = apply(self.projection, sinusoids.to(query.dtype))
        known = known.view(len(sinusoids), self._heads, -1).permute(1, 2, 0)
        # float32 for the sums of biases and queries; products are in the type of the queries.
        content = (query + self.content_bias[:, None]) * self._heads**-0.5
        place = (query + self.position_bias[:, None]) * (self._heads * query.shape[-1]) ** -0.5
        return content.to(query.dtype), _by_pairs(place.to(known.dtype) @ known)


def _by_pairs(scores: Float[Tensor, "batch head frame distance"]) -> Float[Tensor, "batch head frame frame"]:
    """Return the score of each pair of frames from those of each frame and each distance."""
    frames = scores.shape[-2]
    # Of distances from -(frames - 1) on, each row begins one further to the left than the one before it.
    both = torch.cat([torch.zeros_like(scores[..., :1]), scores[..., 1:].flip(-1), scores], -1)
    shifted = both.flatten(-2)[..., frames:].view(*scores.shape[:-1], 2 * frames - 1)
    return shifted[..., :frames]


def sinusoids_of(frames: int, dim: int, device: torch.device) -> Float[Tensor, "frame dim"]:
    """Return sines and cosines of distances, in turn, with wavelengths from 2 pi to 20000 pi frames.

    Parameters
    ----------
    frames
        Distances, from 0 on.
    dim
        Width, an even number.
    device
        Where they are made.

    Examples
    --------
    >>> sinusoids_of(2, 4, torch.device("cpu")).round(decimals=2).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.8399999737739563, 0.5400000214576721, 0.009999999776482582, 1.0]]
    """
    speed = torch.exp(torch.arange(0, dim, 2, device=device, dtype=torch.float32) * (-math.log(10000.0) / dim))
    angle = torch.arange(frames, device=device, dtype=torch.float32)[:, None] * speed
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
