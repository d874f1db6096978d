"""Normalisation of clips: statistics of a clip in pieces, norms of spectral frames, batch norm of padded batches.

`Collector` takes a waveform in pieces and gives the mean and covariance of its frames, without the clip in memory.
`standardise` normalises spectral frames by the clip's own mean and deviation.

`BatchNorm` (Ioffe and Szegedy 2015, arXiv 1502.03167) has the values of torch's ``BatchNorm1d`` and ``BatchNorm2d``, in
any number of processes. Only what belongs to clips counts, so padding has no influence. In training the statistics are
those of the micro-batch. The stored ones take in an update as a whole, by the mean over its micro-batches. So they do
not depend on how the micro-batches were shared out, and a skipped update leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.models.padding import frames_inside


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
        """Return the moments for the normalised waveform; None if they cannot be derived.

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


def standardise(x: Float[Tensor, "batch frame bin"], frames: Int[Tensor, " batch"]) -> Float[Tensor, "batch frame bin"]:
    """Give each bin zero mean and unit variance over the clip's own frames; zero past them."""
    inside = frames_inside(frames, x.shape[1])
    count = frames.clamp(min=1)[:, None, None]
    mean = torch.where(inside, x, 0.0).sum(1, keepdim=True) / count
    centred = torch.where(inside, x - mean, 0.0)
    return centred * (centred.square().sum(1, keepdim=True) / count + 1e-5).rsqrt()


def standardise_by(x: Float[Tensor, "batch frame bin"], whole: Moments) -> Float[Tensor, "batch frame bin"]:
    """Standardise by the mean and variance of a clip of which each row is a part."""
    mean, variance = whole.mean.to(x.device), whole.variance.to(x.device)
    return (x - mean.float()) * (variance + 1e-5).rsqrt().float()


def check_statistics(normalize: bool, mean: float | None, std: float | None) -> None:
    """Raise UserError unless at most one kind of normalisation is asked for, in full."""
    if (mean is None) != (std is None):
        raise UserError("`mean` and `std` must be given together", remedy="give both, or neither")
    if mean is not None and normalize:
        raise UserError(
            "`normalize` must be false where `mean` and `std` are given", remedy="set normalize: false or drop them"
        )
    if std is not None and not std > 0:
        raise UserError(f"`std` must be above 0, but is {std:g}")


_MOMENTUM, _EPS = 0.1, 1e-5
"""Share of an update's statistics in the stored ones, and what is added to the variance: torch's."""


class BatchNorm(nn.Module):
    """Zero mean and unit variance of each channel over all values of the batch, then a learnt factor and offset.

    Parameters
    ----------
    channels
        Second axis.
    """

    running_mean: Tensor
    running_var: Tensor
    _means: Tensor
    _variances: Tensor
    _batches: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        # Of the update under way; between updates they are zero, so no checkpoint needs them.
        self.register_buffer("_means", torch.zeros(channels), persistent=False)
        self.register_buffer("_variances", torch.zeros(channels), persistent=False)
        self.register_buffer("_batches", torch.zeros(1), persistent=False)

    def forward(
        self, x: Float[Tensor, "batch channel *place"], inside: Bool[Tensor, "batch 1 *place"] | None = None
    ) -> Float[Tensor, "batch channel *place"]:
        """Return the normalised values; those of padding mean nothing.

        Parameters
        ----------
        x
            Values, channels second.
        inside
            True where a value belongs to a clip, of a shape that expands to that of `x`; None: everywhere.
        """
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=_EPS)
        if inside is None and x.numel() == x.shape[1]:
            # One value has no variance, and torch refuses it; a clip of one frame must not end a run.
            inside = torch.ones_like(x[:, :1], dtype=torch.bool)
        if inside is None:
            # With all the weight on the new statistics torch gives the batch's own.
            mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
            y = F.batch_norm(x, mean, variance, self.weight, self.bias, True, 1.0, _EPS)
            self._count(mean, variance)
            return y
        inside = inside.expand(len(x), 1, *x.shape[2:])
        axes = [0, *range(2, x.ndim)]
        wide = torch.where(inside, x, 0.0).float()
        count = inside.sum().clamp(min=1)
        mean = wide.sum(axes) / count
        shape = (1, -1, *[1] * (x.ndim - 2))
        centred = torch.where(inside, wide - mean.view(shape), 0.0)
        variance = centred.square().sum(axes) / count
        self._count(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        scale = (variance + _EPS).rsqrt() * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def follow(self, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let the stored statistics take in the micro-batches since the last call.

        Parameters
        ----------
        sum_over_processes
            Adds a tensor up over the processes that share the update; every one of them calls this.
        """
        # One sum for all three: each is a word with every other process.
        gathered = sum_over_processes(torch.cat([self._means, self._variances, self._batches]))
        means, variances, batches = torch.split(gathered, [len(self._means), len(self._variances), 1])
        if bool(batches > 0):
            self.running_mean.lerp_(means / batches, _MOMENTUM)
            self.running_var.lerp_(variances / batches, _MOMENTUM)
        for under_way in (self._means, self._variances, self._batches):
            under_way.zero_()

    @torch.no_grad()
    def _count(self, mean: Tensor, variance: Tensor) -> None:
        # A block that is computed again for the backward pass is counted again: the mean over all stays.
        self._means.add_(mean)
        self._variances.add_(variance)
        self._batches.add_(1)
