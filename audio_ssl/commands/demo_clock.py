"""Runs stages in order and says before each how much time is left; afterwards, how wrong that was.

What a stage takes is known for one kind of machine. How much faster or slower this one is shows as stages end: the
time left is what the rest takes there, times the pace so far. Before any stage has ended, a second of the products that
training is made of gives the pace.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.base.files import write_json
from audio_ssl.base.progress import duration

logger = logging.getLogger(__name__)

PRIOR_SECONDS = 60.0
"""How much the first guess of the pace weighs: as much as stages that take so long."""

MOST_PACE = 4.0
"""A first guess that is further off than this many times comes of what else runs now, not of the machine."""


def _whole() -> float:
    return 1.0


@dataclass(frozen=True)
class Stage:
    """One stage."""

    name: str
    about: str
    """What it does, in a few words."""

    seconds: float
    """What it takes from its beginning on the machine that stages were measured on."""

    work: Callable[[], object]
    """Does it."""

    share_left: Callable[[], float] = _whole
    """How much of it an earlier demo has left to do, from 1 to 0."""


@dataclass(frozen=True)
class Told:
    """What was said before a stage, and what came."""

    stage: str
    seconds: float
    """What the stage took."""

    said_left: float
    """Seconds that were said to be left before it."""

    left: float
    """Seconds that were left."""


@dataclass
class Clock:
    """Runs stages.

    Parameters
    ----------
    stages
        In order.
    path
        Where to write what was said and what came (.json).
    pace
        Gives the first guess: how many times longer than measured a stage takes here.
    now
        The time, in seconds.
    """

    stages: Sequence[Stage]
    path: Path | None = None
    pace: Callable[[], float] = _whole
    now: Callable[[], float] = time.monotonic
    told: list[Told] = field(default_factory=list)
    """After `run`: of each stage."""

    def run(self) -> None:
        """Do the stages, each after a line with its number, its name and the time left."""
        shares = [min(max(stage.share_left(), 0.0), 1.0) for stage in self.stages]
        coming = [share * stage.seconds for share, stage in zip(shares, self.stages, strict=True)]
        guess = min(max(self.pace(), 1 / MOST_PACE), MOST_PACE)
        started = self.now()
        expected = spent = 0.0
        said: list[tuple[float, float, float]] = []
        for number, stage in enumerate(self.stages):
            pace = (spent + guess * PRIOR_SECONDS) / (expected + PRIOR_SECONDS)
            left = pace * sum(coming[number:])
            logger.info(
                "[%d/%d] %s · %s · %s left", number + 1, len(self.stages), stage.name, stage.about, in_words(left)
            )
            begun = self.now()
            stage.work()
            taken = self.now() - begun
            said.append((begun - started, taken, left))
            logger.info("      %s: %s", stage.name, duration(taken))
            if coming[number]:
                expected, spent = expected + coming[number], spent + taken
        total = self.now() - started
        names = [stage.name for stage in self.stages]
        self.told = [
            Told(name, taken, left, total - begun) for name, (begun, taken, left) in zip(names, said, strict=True)
        ]
        logger.info("in all: %s", duration(total))
        if self.path is not None:
            rows = [
                {key: round(value, 1) if key != "stage" else value for key, value in vars(t).items()} for t in self.told
            ]
            write_json(self.path, {"seconds": round(total, 1), "stages": rows})


def in_words(seconds: float) -> str:
    """Write a time that is not known exactly.

    Examples
    --------
    >>> in_words(7), in_words(44), in_words(200), in_words(1234)
    ('a few seconds', 'about 40 s', 'about 3 min 20 s', 'about 21 min')
    """
    if seconds < 15:
        return "a few seconds"
    if seconds < 570:
        return f"about {duration(round(seconds, -1))}".removesuffix(" 0 s")
    return f"about {seconds / 60:.0f} min"


def machine_pace() -> float:
    """Return how many times longer the products of a training step take here than where stages were measured."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.LayerNorm(1024), nn.Linear(1024, 256))
        frames = torch.randn(1200, 256)
    best = float("inf")
    begun = time.perf_counter()
    # The fastest of a few: the first ones start threads, and others are held up by whatever else runs.
    while time.perf_counter() - begun < _TRY_SECONDS:
        start = time.perf_counter()
        layers(frames).square().mean().backward()
        best = min(best, time.perf_counter() - start)
    return best / _STEP_SECONDS


_TRY_SECONDS = 1.0
_STEP_SECONDS = 0.021
"""Of one such step on the two cores with AVX2 where stages were measured."""
