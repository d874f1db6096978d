"""What ``teachers.py`` measures: parts, each a task that several systems do on the same input, and the goals."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

OURS = "audio_ssl"

Work = Callable[[], Any]
"""Does the task once and returns its result."""

Results = dict[str, list[Any]]
"""What all runs of each system returned."""


@dataclass(frozen=True)
class Goal:
    """A bound for one figure of our row, or of the ratio to one peer."""

    figure: str
    """Which: a key of a row."""

    bound: float
    """What it should be."""

    at_most: bool = False
    """Whether the bound is an upper one."""

    against: str = OURS
    """In whose row the figure stands."""

    def reached(self, value: float) -> bool:
        """Whether a measured value is as good as the bound."""
        return bool((operator.le if self.at_most else operator.ge)(value, self.bound))


@dataclass(frozen=True)
class Part:
    """One task."""

    name: str
    """For example ``cqt``."""

    what: str
    """The setting, in a few words."""

    systems: Mapping[str, Callable[[], Work]]
    """How each makes ready; ours comes first. Packages are imported there, so that a process holds its own only."""

    audio_seconds: float
    """Of the input, of all clips of a batch together; 0 where the input is no audio."""

    judge: Callable[[Results], dict[str, dict[str, float]]]
    """Returns the figures of each row that are not of speed."""

    goals: tuple[Goal, ...] = ()
    """Of our row, or of the ratio to a peer."""

    gflop: float = 0.0
    """Additions and multiplications in 1e9, where they are counted."""

    memory: bool = False
    """Whether memory is measured too."""


def music(seconds: float, rate: int, seed: int = 0) -> Tensor:
    """Return ``[sample]``: every half second another chord that dies away, and noise of another loudness.

    Parameters
    ----------
    seconds
        Length.
    rate
        Samples a second.
    seed
        Of notes and noise.
    """
    generator = np.random.default_rng(seed)
    size = rate // 2
    moment = np.arange(size, dtype=np.float32) / rate
    parts = []
    for _ in range(int(np.ceil(seconds * rate / size))):
        notes = 55.0 * 2 ** (generator.integers(0, 48, 3) / 12)
        hertz = (notes[:, None] * np.arange(1, 7)).ravel()
        loud = (generator.uniform(0.05, 0.3, (3, 1)) / np.arange(1, 7) ** generator.uniform(0.5, 2)).ravel()
        keep = hertz < 0.45 * rate
        tones = np.sin((2 * np.pi * hertz[keep, None]).astype(np.float32) * moment)
        decay = np.exp(-moment * generator.uniform(1, 8))
        noise = generator.normal(size=size).astype(np.float32) * 10 ** generator.uniform(-4, -1)
        parts.append(loud[keep].astype(np.float32) @ tones * decay + noise)
    return torch.from_numpy(np.concatenate(parts)[: round(seconds * rate)].astype(np.float32))


def identical(ours: Tensor, theirs: Tensor) -> float:
    """Return the share of labels that two systems agree on."""
    return float((ours == theirs).double().mean())
