"""A clip that every machine makes alike, and the numbers by which features of it are compared."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.model import SSLModel
from audio_ssl.shipped.facts import FixedClip

SECONDS = 2.0
_VALUES = 4


def fixed_clip(sample_rate: int) -> Float[Tensor, "1 sample"]:
    """Return two seconds of a rising tone over a chord, with a silence; computed in float64, without chance."""
    time = torch.arange(int(SECONDS * sample_rate), dtype=torch.float64) / sample_rate
    rising = 0.3 * torch.sin(2 * math.pi * (150 * time + 400 * time.square()))
    chord = sum(torch.sin(2 * math.pi * pitch * time) for pitch in (220.0, 277.18, 329.63))
    sounds = (time % 0.5) < 0.4
    return ((rising + 0.05 * chord) * sounds).float()[None]


@torch.inference_mode()
def measure(model: SSLModel) -> FixedClip:
    """Return a model's features of the clip in few numbers."""
    hidden = model(fixed_clip(model.config.sample_rate)).hidden
    frames = hidden[0].shape[1]
    norms = tuple(float(state.square().mean().sqrt()) for state in hidden)
    values = tuple(tuple(state[0, frames // 2, :_VALUES].tolist()) for state in hidden)
    return FixedClip(SECONDS, frames, norms, values)
