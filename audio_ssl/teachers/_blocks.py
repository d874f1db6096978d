"""Acoustic features of two kinds clustered as one frame, each kind with its share of the distances.

MERT's first models have two k-means teachers, of log-mel and of chroma (Li et al. 2023, arXiv 2306.00107); labels of
both together say timbre and harmony in one code. Chroma has unit length and log-mel hundreds of bands that vary by
several units each, so a plain concatenation would be clustered by log-mel alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.teachers import cqt


class FramesOf(Protocol):
    """Features of one clip."""

    grid: FrameGrid
    dim: int

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return the frames of one whole clip."""
        ...


class Blocks:
    """Features side by side; all are centred on the same hops, so they have as many frames.

    Parameters
    ----------
    blocks
        The kinds, in order.
    """

    def __init__(self, blocks: Sequence[FramesOf]) -> None:
        self._blocks = tuple(blocks)
        self.dims = [block.dim for block in blocks]
        self.dim = sum(self.dims)
        self.grid = max((block.grid for block in blocks), key=lambda grid: grid.window_samples)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return the frames of one whole clip."""
        return torch.cat([block(waveform) for block in self._blocks], 1)


class LogCQT:
    """Logarithms of constant-Q magnitudes, those of the `cqt` teacher with ``log: true``.

    Parameters
    ----------
    sample_rate
        Of the clips, in Hz.
    hop_samples
        From one frame to the next.
    bins, bins_per_octave
        From C1 (32.7 Hz) upwards.
    """

    def __init__(self, sample_rate: int, hop_samples: int, bins: int, bins_per_octave: int) -> None:
        config = cqt.Config(n_bins=bins, bins_per_octave=bins_per_octave, hop_samples=hop_samples, log=True)
        self._teacher = cqt.build(config, sample_rate, torch.device("cpu"))
        self.dim, self.grid = bins, self._teacher.spec.grid

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, bin]``."""
        return self._teacher(waveform)


def scaling(
    kinds: Sequence[str],
    dims: Sequence[int],
    mean: Float[Tensor, " dim"],
    variance: Float[Tensor, " dim"],
    standardize: bool,
    second_share: float,
) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
    """Return what is taken from features before they are clustered, and what they are then multiplied with.

    Parameters
    ----------
    kinds, dims
        Of each block.
    mean, variance
        Of each feature over the corpus.
    standardize
        Give each feature zero mean and unit variance; never chroma, whose unit length makes frames of any loudness
        alike.
    second_share
        Of the variance, where there are two blocks; both together then have variance 1.

    Examples
    --------
    >>> variance = torch.tensor([1.0, 3.0, 100.0])
    >>> _, scale = scaling(["logmel", "chroma"], [2, 1], torch.zeros(3), variance, False, 0.5)
    >>> [round(float(one), 3) for one in scale.square() * variance]
    [0.125, 0.375, 0.5]
    """
    shares = (1.0,) if len(kinds) == 1 else (1 - second_share, second_share)
    means, scales = [], []
    blocks = zip(kinds, torch.split(mean, list(dims)), torch.split(variance, list(dims)), shares, strict=True)
    for kind, own_mean, own_variance, share in blocks:
        scaled = standardize and kind != "chroma"
        means.append(own_mean if scaled else torch.zeros_like(own_mean))
        scale = (own_variance + 1e-8).rsqrt() if scaled else torch.ones_like(own_variance)
        if len(kinds) > 1:
            scale = scale * (share / (scale.square() * own_variance).sum().clamp(min=1e-12)).sqrt()
        scales.append(scale)
    return torch.cat(means), torch.cat(scales)
