"""Simulated readers whose error rates are known: who they are, what they read, and how often they are misheard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_ssl.metrics.resampling import Array

RATE = 0.15
"""Word error rate of a group."""

WORDS = (8, 25)
"""Words of a clip, from the first to below the second: 16 on average."""


@dataclass(frozen=True)
class Design:
    """Two groups of readers."""

    name: str

    speakers: tuple[int, int]

    clips: tuple[int, int] = (30, 30)
    """Of each speaker."""

    spread: tuple[float, float] = (0.5, 0.5)
    """Standard deviation of the speakers' log rates."""

    def draw(self, rng: np.random.Generator, ratio: float = 1.0) -> tuple[Array, Array]:
        """Return errors and words of both groups' clips, ``[speaker, clip, 2]``; `ratio` is between their rates."""
        sides = zip(self.speakers, self.clips, self.spread, (ratio, 1.0), strict=True)
        first, second = (readers(rng, *side) for side in sides)
        return first, second


def readers(rng: np.random.Generator, speakers: int, clips: int, spread: float, ratio: float) -> Array:
    """Return errors and words of readers' clips; whatever the spread, the rate of all readers there are is the same."""
    words = rng.integers(*WORDS, (speakers, clips)).astype(np.float64)
    rates = RATE * ratio * np.exp(rng.normal(-(spread**2) / 2, spread, (speakers, 1)))
    return np.stack([rng.poisson(words * np.minimum(rates, 1.0)).astype(np.float64), words], axis=-1)


def error_rate(sums: Array) -> Array:
    """Score sums of errors and words, in percent."""
    return np.asarray(100.0 * sums[..., 0] / sums[..., 1])


EQUAL = [Design(f"{n} and {n}", (n, n)) for n in (5, 10, 20, 40)]
UNEQUAL = [
    Design("5 and 20", (5, 20)),
    Design("5 and 40", (5, 40)),
    Design("10 and 40", (10, 40)),
    Design("10 and 10, 10 and 60 clips each", (10, 10), (10, 60)),
    Design("5 and 20, 5 and 60 clips each", (5, 20), (5, 60)),
    Design("10 and 40, 60 and 5 clips each", (10, 40), (60, 5)),
]
SPREAD = [
    Design("10 and 10, spread 0.7 and 0.3", (10, 10), spread=(0.7, 0.3)),
    Design("10 and 40, spread 0.7 and 0.3", (10, 40), spread=(0.7, 0.3)),
    Design("10 and 40, spread 0.3 and 0.7", (10, 40), spread=(0.3, 0.7)),
    Design("20 and 40, spread 0.7 and 0.3", (20, 40), spread=(0.7, 0.3)),
]
