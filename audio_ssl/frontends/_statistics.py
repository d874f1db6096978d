"""Normalisation of spectral frames: by the clip's own mean and deviation, by fixed ones, or not at all."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from audio_ssl.errors import UserError
from audio_ssl.frontends._moments import Moments


def frames_inside(frames: Int[Tensor, " batch"], total: int) -> Bool[Tensor, "batch frame 1"]:
    """Return True where a frame belongs to its clip."""
    return (torch.arange(total, device=frames.device) < frames[:, None])[..., None]


def standardise(x: Float[Tensor, "batch frame bin"], frames: Int[Tensor, " batch"]) -> Float[Tensor, "batch frame bin"]:
    """Give each bin zero mean and unit variance over the clip's own frames; zero past them."""
    inside = frames_inside(frames, x.shape[1])
    count = frames.clamp(min=1)[:, None, None]
    mean = torch.where(inside, x, 0.0).sum(1, keepdim=True) / count
    centred = torch.where(inside, x - mean, 0.0)
    return centred * (centred.square().sum(1, keepdim=True) / count + 1e-5).rsqrt()


def standardise_by(x: Float[Tensor, "batch frame bin"], whole: Moments) -> Float[Tensor, "batch frame bin"]:
    """Do the same by the mean and variance of a clip of which each row is a part."""
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
