"""Mean and covariance of frames that come in pieces: the statistics of a whole clip without the clip in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Moments(NamedTuple):
    """Of all frames of a clip, float64."""

    mean: Float[Tensor, " size"]
    """Mean of each place of a frame."""

    covariance: Float[Tensor, "size size"]
    """Divided by the number of frames."""

    @property
    def variance(self) -> Float[Tensor, " size"]:
        """Variance of each place of a frame."""
        return self.covariance.diagonal()

    def scaled(self, by: Moments, eps: float) -> Moments:
        """Return the moments of windows of a waveform that is normalised by its own, those of windows of one sample."""
        factor = (by.variance + eps).rsqrt()
        return Moments((self.mean - by.mean) * factor, self.covariance * factor.square())


def moments(frames: Float[Tensor, "frame size"]) -> Moments:
    """Return the moments of one or more frames."""
    frames = frames.double()
    mean = frames.mean(0)
    centred = frames - mean
    return Moments(mean, centred.T @ centred / len(frames))


class Collector:
    """Takes a waveform in pieces of any size; whole windows of it become frames.

    Parameters
    ----------
    window, hop
        In samples.
    frames_of
        Frames of whole windows' samples ``[sample]``; None: the windows themselves.
    """

    def __init__(self, window: int, hop: int, frames_of: Callable[[Tensor], Tensor] | None = None) -> None:
        self._window, self._hop, self._frames_of = window, hop, frames_of
        self.linear = frames_of is None
        """Whether frames grow with the waveform, so that moments of a scaled one follow."""
        self._rest: Tensor | None = None
        self._count = 0
        self._sum: Moments | None = None

    def add(self, block: Float[Tensor, " sample"]) -> None:
        """Take the next samples."""
        samples = block if self._rest is None else torch.cat([self._rest, block])
        windows = (len(samples) - self._window) // self._hop + 1
        if windows < 1:
            self._rest = samples
            return
        whole = samples[: (windows - 1) * self._hop + self._window]
        # A copy, or the rest keeps the block alive.
        self._rest = samples[windows * self._hop :].clone()
        frames = whole.unfold(0, self._window, self._hop) if self._frames_of is None else self._frames_of(whole)
        self._merge(moments(frames), len(frames))

    def result(self) -> Moments | None:
        """Return the moments of all whole windows so far; None where there was none."""
        return self._sum

    def result_of(self, waveform: Moments | None, eps: float) -> Moments | None:
        """Return the same of the waveform after it is normalised by its own moments; None where that is not known.

        Parameters
        ----------
        waveform
            Moments of its samples; None: it is not normalised.
        eps
            Added to their variance.
        """
        if self._sum is None or waveform is None:
            return self._sum
        return self._sum.scaled(waveform, eps) if self.linear else None

    def _merge(self, new: Moments, count: int) -> None:
        total = self._count + count
        if self._sum is None:
            self._sum = new
        else:
            # Chan et al. 1979: no difference of large sums.
            apart, share = new.mean - self._sum.mean, count / total
            between = torch.outer(apart, apart) * (share * (1 - share))
            covariance = self._sum.covariance * (1 - share) + new.covariance * share + between
            self._sum = Moments(self._sum.mean + apart * share, covariance)
        self._count = total


class Collectors:
    """Several collectors that take the same waveform.

    Parameters
    ----------
    collectors
        None where nothing is to be gathered.
    """

    def __init__(self, collectors: Sequence[Collector | None]) -> None:
        self._collectors = tuple(collectors)

    def add(self, block: Float[Tensor, " sample"]) -> None:
        """Take the next samples."""
        for collector in self._collectors:
            if collector is not None:
                collector.add(block)

    def result_of(self, waveform: Moments | None, eps: float) -> tuple[Moments | None, ...] | None:
        """Return what each collector has, see `Collector.result_of`; None where none has anything."""
        found = tuple(None if one is None else one.result_of(waveform, eps) for one in self._collectors)
        return found if any(one is not None for one in found) else None
