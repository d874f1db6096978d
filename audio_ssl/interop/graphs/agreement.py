"""How far the hidden states of a graph are from those of its model: clips of seven lengths, alone and in one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.models.model import SSLModel

TOLERANCE = 1e-4
"""Largest difference of a float32 graph, over the largest number of the hidden state or 1, whichever is larger."""

Graph = Callable[[Float[Tensor, "batch sample"], Int[Tensor, " batch"]], Sequence[Tensor]]
"""Hidden states and frames of a padded batch."""

_SECONDS = (0.0, 0.3, 0.71, 1.13, 2.0, 3.7, 6.1)
"""Beyond the shortest clip."""


class Agreement(NamedTuple):
    """Differences, see `GraphFile`."""

    largest_difference: tuple[float, ...]
    relative_error: tuple[float, ...]


def compared_lengths(shortest_samples: int, sample_rate: int) -> tuple[int, ...]:
    """Return the lengths of the clips of the comparison, in samples."""
    return tuple(shortest_samples + round(seconds * sample_rate) for seconds in _SECONDS)


@torch.no_grad()
def compare(model: SSLModel, graph: Graph, lengths: Sequence[int]) -> Agreement:
    """Return the differences over all clips, alone and in one padded batch.

    Raises
    ------
    UserError
        If the graph counts frames differently.
    """
    clips = [example_clip(number, samples, model.config.sample_rate) for number, samples in enumerate(lengths)]
    batches = [[clip] for clip in clips] + [clips]
    depth = model.num_layers + 1
    largest, squares, powers = [0.0] * depth, [0.0] * depth, [0.0] * depth
    for batch in batches:
        waveform = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        sizes = torch.tensor([len(clip) for clip in batch])
        wanted, frames, _ = model(waveform, sizes)
        *found, counted = graph(waveform, sizes)
        if counted.tolist() != frames.tolist():
            raise UserError(f"the graph gives {counted.tolist()} frames, the model {frames.tolist()}")
        for layer, (mine, theirs) in enumerate(zip(wanted, found, strict=True)):
            apart = mine.double() - theirs.double()
            most = float(apart.abs().max()) / max(1.0, float(mine.abs().max()))
            # A NaN is no agreement, and `max` would pass over it.
            largest[layer] = max(largest[layer], most if math.isfinite(most) else math.inf)
            squares[layer] += float(apart.square().sum())
            powers[layer] += float(mine.double().square().sum())
    return Agreement(
        tuple(largest), tuple(math.sqrt(s / p) if p else 0.0 for s, p in zip(squares, powers, strict=True))
    )


def example_clip(number: int, samples: int, sample_rate: int) -> Float[Tensor, " sample"]:
    """Return a tone that glides over three octaves in noise whose level swells, other ones for each number.

    Parameters
    ----------
    number
        Seed, and place of the tone.
    samples
        Length.
    sample_rate
        In Hz.
    """
    generator = torch.Generator().manual_seed(number)
    time = torch.arange(samples, dtype=torch.float64) / sample_rate
    pitch = 110.0 * 2.0 ** (number % 4 + torch.sin(1.3 * time))
    tone = 0.3 * torch.sin(2 * math.pi * torch.cumsum(pitch, 0) / sample_rate)
    level = 0.06 + 0.05 * torch.sin(5.0 * time + number)
    return (tone + level * torch.randn(samples, generator=generator, dtype=torch.float64)).float()
