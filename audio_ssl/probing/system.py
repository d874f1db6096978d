"""What is trained: a mix of layers or one of them, standardised or whitened, and a head.

Layers are mixed by a softmax over learned weights, uniform at the start (SUPERB, Yang et al. 2021, arXiv 2105.01051).
Each layer's dimensions are first standardised by the training clips, so that sources of any scale train with the same
settings. Whitening gives every direction the same variance, not only every dimension: most of a hidden layer's variance
lies in some twenty directions, and a linear head trained for a thousand updates sees little else. It is the symmetric
one (ZCA, Bell and Sejnowski 1997), which turns the frames as little as can be, so that layers can still be mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.data.manifest import Clip
from audio_ssl.probing.features import Bank, Layers, portions
from audio_ssl.probing.heads._base import Head, HeadBatch

SMALLEST_VARIANCE = 1e-9
"""Of a dimension that is used, as a share of the layer's mean variance."""

WEAKEST_DIRECTION = 1e-5
"""Share of the strongest direction's variance below which whitening leaves a direction out: noise, not information."""

_BATCH_CLIPS = 32
"""Clips that a trained head answers at a time."""


@dataclass(frozen=True)
class Run:
    """One of the trainings that answer a question."""

    layer: int | None
    """The layer its head sees; None: a learned mix of all."""
    lr: float
    """Learning rate."""
    seed: int
    """Of weights, dropout and order."""
    whiten: bool = False
    """Whether its head sees whitened layers."""


@dataclass(frozen=True)
class Statistics:
    """Of the training frames, by layer and dimension."""

    mean: Float[Tensor, "layer 1 dim"]
    """Taken away."""
    scale: Float[Tensor, "layer rows dim"]
    """One over the deviation, one row; 0 for a dimension that never varies: a clip where it does would be nothing else.
    Of whitened layers the matrix ``[layer, dim, dim]`` that does it."""

    def standardise(self, layers: Layers) -> Layers:
        """Return standardised or whitened layers, where the statistics are; padding is no longer zero."""
        values = layers.values.to(self.mean.device) - self.mean[:, None]
        return Layers(scaled(values, self.scale), layers.frames.to(self.mean.device))

    def to(self, device: torch.device) -> Statistics:
        """Return the statistics on a device."""
        return Statistics(self.mean.to(device), self.scale.to(device))


class System(nn.Module):
    """Layer mix and head.

    Parameters
    ----------
    head
        The trainable answer.
    statistics
        Of the training clips.
    layer
        Use this layer only; None mixes all.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: Head, statistics: Statistics, layer: int | None) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("mean", statistics.mean)
        self.register_buffer("scale", statistics.scale)
        count = len(statistics.mean)
        self.layer = 0 if layer is None and count == 1 else layer
        self.mix = nn.Parameter(torch.zeros(count)) if self.layer is None else None

    def batch(self, standardised: Layers) -> HeadBatch:
        """Return what the head sees of standardised layers."""
        if self.mix is None:
            features = standardised.values[cast(int, self.layer)]
        else:
            features = torch.einsum("l,lbfd->bfd", self.mix.softmax(0), standardised.values)
        return HeadBatch(features, standardised.frames)

    def predict(self, bank: Bank, clips: Sequence[Clip]) -> list[Tensor]:
        """Return the head's predictions, clips in the order given."""
        return [answer for batch in self.batches(bank, clips) for answer in self.head.predict(batch)]

    def batches(self, bank: Bank, clips: Sequence[Clip]) -> Iterator[HeadBatch]:
        """Yield what the head sees of some clips, in evaluation."""
        self.eval()
        statistics = Statistics(self.mean, self.scale)
        for part in portions(clips, bank, _BATCH_CLIPS):
            with torch.no_grad():
                batch = self.batch(statistics.standardise(bank.batch(part)))
            yield batch

    def layer_weights(self) -> list[float] | None:
        """Return the learned weights of the layers, or None where there is nothing to mix."""
        return None if self.mix is None else cast(list[float], self.mix.detach().softmax(0).tolist())


def measure(bank: Bank, clips: Sequence[Clip], whiten: bool = False) -> Statistics:
    """Return the statistics of each layer over all frames of some clips: of each dimension, or of all directions."""
    total, sums, squares = 0, torch.zeros(()), torch.zeros(())
    shift: Tensor | None = None
    for part in _blocks(bank, clips):
        layers = part.double()
        # Sums of squares lose nothing where they are taken about a value near the mean.
        shift = layers.mean(1, keepdim=True) if shift is None else shift
        centred = layers - shift
        total += layers.shape[1]
        sums = sums + centred.sum(1, keepdim=True)
        squares = squares + (centred.mT @ centred if whiten else centred.square().sum(1, keepdim=True))
    mean = sums / total
    offset = cast(Tensor, shift) + mean
    if whiten:
        return Statistics(offset.float(), _whitening(squares / total - mean.mT @ mean).float())
    variance = (squares / total - mean.square()).clamp(min=0.0)
    # Relative to the layer, so that its unit does not matter.
    usual = variance.mean(2, keepdim=True)
    scale = torch.where(variance > SMALLEST_VARIANCE * usual, (variance + 1e-6 * usual).rsqrt(), 0.0)
    return Statistics(offset.float(), scale.float())


def _blocks(bank: Bank, clips: Sequence[Clip]) -> Iterator[Float[Tensor, "layer frame dim"]]:
    """Yield the frames of one clip after another; of mean frames, those of many clips at once."""
    if not bank.pooled:
        yield from map(bank.one, clips)
        return
    for start in range(0, len(clips), _BLOCK_CLIPS):
        yield bank.batch(clips[start : start + _BLOCK_CLIPS]).values[:, :, 0]


_BLOCK_CLIPS = 512


def _whitening(covariance: Float[Tensor, "layer dim dim"]) -> Float[Tensor, "layer dim dim"]:
    """Return the symmetric matrix that gives every direction variance 1, and 0 to those that hardly vary."""
    values, directions = torch.linalg.eigh(covariance)
    kept = values > WEAKEST_DIRECTION * values[:, -1:].clamp(min=torch.finfo(values.dtype).tiny)
    roots = torch.where(kept, values.clamp(min=torch.finfo(values.dtype).tiny).rsqrt(), 0.0)
    found: Tensor = (directions * roots[:, None]) @ directions.mT
    return found


def scaled(
    centred: Float[Tensor, "layer ... dim"], scale: Float[Tensor, "layer rows dim"]
) -> Float[Tensor, "layer ... dim"]:
    """Return layers without their means times what `Statistics` has for them."""
    if scale.shape[1] == 1:
        return centred * scale.view(len(scale), *(1,) * (centred.ndim - 2), -1)
    return torch.einsum("l...d,lde->l...e", centred, scale)
