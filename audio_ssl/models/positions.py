"""Ways to tell frames where they are: convolutions, a rotation of queries and keys, a bias per distance.

Convolutions: wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477, section 2) has one wide one, data2vec (Baevski et al.
2022, arXiv 2202.03555) several narrow ones. Rotation: RoFormer (Su et al. 2021, arXiv 2104.09864). Bias:
WavLM (Chen et al. 2021, arXiv 2110.13900) learns it, ALiBi (Press et al. 2021, arXiv 2108.12409) is a straight line.

Transformer-XL (Dai et al. 2019, arXiv 1901.02860, section 3.3): products of what a frame asks for with sinusoids of the
distance to others. In the form of SpeechBrain's Conformer (``RelPosMHAXL`` and
``RelPosEncXL``), with which it trains BEST-RQ (Whetten et al. 2024, arXiv 2405.04296): past and future distances have
the same sinusoids, so that only the convolutions tell what comes before from what comes after, and scores are divided
by the root of the model's width, not of a head's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from audio_ssl.models.fast.cpu import linear

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, each ``[frame, dim / 2]``, float32."""


_ALL = torch.ones(1, 1, 1, dtype=torch.bool)
"""Where nothing is padded."""


class ConvPositions(nn.Module):
    """One weight-normalised grouped convolution and GELU; the caller adds the result to the frames.

    Parameters
    ----------
    dim
        Width of the frames.
    kernel_frames
        Width of the kernel; an even kernel's extra last frame is cut, as in fairseq.
    groups
        Channel groups.
    """

    def __init__(self, dim: int, kernel_frames: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel_frames, padding=kernel_frames // 2, groups=groups)
        nn.init.normal_(conv.weight, std=(4.0 / (kernel_frames * dim)) ** 0.5)
        nn.init.zeros_(cast(Tensor, conv.bias))
        self.conv = parametrizations.weight_norm(conv, dim=2)

    def forward(
        self, x: Float[Tensor, "batch frame dim"], inside: Bool[Tensor, "batch frame 1"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Return position information of frames that are zero wherever there is padding."""
        y = self.conv(x.transpose(1, 2))[..., : x.shape[1]]
        return F.gelu(y).transpose(1, 2)

    def packed(self, x: Float[Tensor, "1 packed dim"], spans: Sequence[slice]) -> Float[Tensor, "1 packed dim"]:
        """Return the same of clips that lie one after the other."""
        with parametrize.cached():
            return torch.cat([self(x[:, span], _ALL) for span in spans], 1)


class StackedConvPositions(nn.Module):
    """Convolutions, each with a layer norm without weights and GELU (data2vec audio: 5 of 19 frames).

    Parameters
    ----------
    dim
        Width of the frames.
    kernel_frames
        Width of each kernel; an even kernel's extra last frame is cut.
    groups
        Channel groups.
    layers
        Number of convolutions.
    """

    def __init__(self, dim: int, kernel_frames: int, groups: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv1d(dim, dim, kernel_frames, padding=kernel_frames // 2, groups=groups)})
            for _ in range(layers)
        )

    def forward(
        self, x: Float[Tensor, "batch frame dim"], inside: Bool[Tensor, "batch frame 1"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Return position information of frames that are zero wherever there is padding."""
        for layer in self.layers:
            # A clip alone sees zeros past its end at every layer; so must it in a batch.
            x = torch.where(inside, x, 0.0)
            y = cast(nn.ModuleDict, layer)["conv"](x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
            x = F.gelu(F.layer_norm(y, y.shape[-1:]))
        return x

    def packed(self, x: Float[Tensor, "1 packed dim"], spans: Sequence[slice]) -> Float[Tensor, "1 packed dim"]:
        """Return the same of clips that lie one after the other."""
        return torch.cat([self(x[:, span], _ALL) for span in spans], 1)


class RelativePositions(nn.Module):
    """One learnt bias per head and bucket of distances, shared by all blocks, each of which gates it (WavLM).

    Parameters
    ----------
    heads
        Attention heads.
    buckets
        Buckets for both directions together; half of each direction's are single distances, the others grow with the
        logarithm of the distance.
    max_distance_frames
        Distances from here on share the last bucket.
    """

    def __init__(self, heads: int, buckets: int, max_distance_frames: int) -> None:
        super().__init__()
        self._buckets, self._max_distance = buckets, max_distance_frames
        self.embedding = nn.Embedding(buckets, heads)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, frames: int) -> Float[Tensor, "head frame frame"]:
        """Return the bias of each query (second axis) on each key (last axis)."""
        distance = torch.arange(1 - frames, frames, device=self.embedding.weight.device)
        values = self.embedding(buckets_of(distance, self._buckets, self._max_distance)).T
        if torch.compiler.is_compiling():
            # A window's length must be a number there, and here it is open.
            place = torch.arange(frames, device=values.device)
            return cast(Tensor, values[:, place - place[:, None] + frames - 1])
        # Row q holds the distances -q .. frames - 1 - q: windows of the one list of distances, the last first.
        return cast(Tensor, values.unfold(1, frames, 1).flip(1))


def buckets_of(distance: Int[Tensor, " distance"], buckets: int, max_distance: int) -> Int[Tensor, " distance"]:
    """Return the bucket of each signed distance, key minus query (T5, Raffel et al. 2019, arXiv 1910.10683).

    Examples
    --------
    >>> buckets_of(torch.tensor([-1, 0, 1, 5, 5000]), 320, 800).tolist()
    [1, 0, 161, 165, 319]
    """
    half = buckets // 2
    exact = half // 2
    size = distance.abs()
    share = torch.log(size.clamp(min=exact).float() / exact) / math.log(max_distance / exact)
    large = (exact + share * (half - exact)).long().clamp(max=half - 1)
    return (distance > 0).long() * half + torch.where(size < exact, size, large)


class LinearBias(nn.Module):
    """Minus the distance, times a fixed slope and a learnt factor per head (ALiBi; the factor is data2vec 2.0's).

    Parameters
    ----------
    heads
        Attention heads.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self._slopes = slopes(heads)
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, frames: int) -> Float[Tensor, "head frame frame"]:
        """Return the bias of each query (second axis) on each key (last axis)."""
        place = torch.arange(frames, device=self.scale.device, dtype=torch.float32)
        slope = torch.tensor(self._slopes, device=self.scale.device)[:, None, None]
        # A factor below zero would favour what is far away.
        return -(place - place[:, None]).abs() * (slope * self.scale.clamp(min=0.0))


def slopes(heads: int) -> list[float]:
    """Return ALiBi's slopes: powers of one ratio, and between them where the heads are no power of two.

    Examples
    --------
    >>> slopes(4)
    [0.25, 0.0625, 0.015625, 0.00390625]
    >>> slopes(3)
    [0.0625, 0.00390625, 0.25]
    """
    power = 2 ** math.floor(math.log2(heads))
    ratio = 2.0 ** (-8 / power)
    even = [ratio ** (head + 1) for head in range(power)]
    return even if heads == power else even + slopes(2 * power)[::2][: heads - power]


def rotation(frames: int, dim: int, base: float, device: torch.device) -> Rotation:
    """Return the cosines and sines that turn pair i of frame t by ``t * base ** (-2 i / dim)`` radians."""
    speed = base ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float64) / dim)
    angle = torch.arange(frames, device=device, dtype=torch.float64)[:, None] * speed
    return angle.cos().float(), angle.sin().float()


def rotate(x: Float[Tensor, "*axes frame dim"], by: Rotation) -> Float[Tensor, "*axes frame dim"]:
    """Turn the pairs (i, i + dim / 2) of each frame, so that products of frames depend on distances only."""
    cosine, sine = by
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(x.dtype)


class DistanceScores(nn.Module):
    """Turns the queries of all heads into queries of contents and a bias for each pair of frames.

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
        known = linear(self.projection, sinusoids.to(query.dtype))
        known = torch.unflatten(known, 1, (self._heads, -1)).permute(1, 2, 0)
        # float32 for the sums of biases and queries; products are in the type of the queries.
        content = (query + self.content_bias[:, None]) * self._heads**-0.5
        place = (query + self.position_bias[:, None]) * (self._heads * query.shape[-1]) ** -0.5
        return content.to(query.dtype), _by_pairs(place.to(known.dtype) @ known)


def _by_pairs(scores: Float[Tensor, "batch head frame distance"]) -> Float[Tensor, "batch head frame frame"]:
    """Return the score of each pair of frames from those of each frame and each distance."""
    frames = scores.shape[-2]
    if torch.compiler.is_compiling():
        # No view of open axes can be proved to fit.
        place = torch.arange(frames, device=scores.device)
        return scores.gather(-1, (place - place[:, None]).abs().expand(*scores.shape[:-2], -1, -1))
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
