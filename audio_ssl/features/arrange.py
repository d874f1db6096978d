"""Turns all layers of a clip into the requested features: layers or a mix of them, frame rate, pooling, number type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from audio_ssl.artifacts.result import is_result
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.features.pieces import Piece
from audio_ssl.features.pooling import (
    AttentivePool,
    LearnedMix,
    MaxPool,
    MeanPool,
    Pool,
    RateChange,
    frames_at,
    read_learned,
)
from audio_ssl.features.source import FeatureSource

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
POOLS = ("none", "mean", "max", "attentive")


class PieceTaker(Protocol):
    """Takes the pieces of one clip in order."""

    def add(self, piece: Piece) -> Tensor | None:
        """Return what the piece adds; AudioError if the clip cannot be used. None: it is given at the clip's end."""
        ...


class ClipPlan(Protocol):
    """What is given of each clip."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Return the layers that are computed, in the order of a piece's."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of what is given."""
        ...

    @property
    def pooled(self) -> bool:
        """Tell whether a clip is given whole, at its end."""
        ...

    def frames(self, total: int) -> int:
        """Return the frames that are given of `total` frames."""
        ...

    def shape(self, total: int, dim: int) -> tuple[int, ...]:
        """Return the shape of what is given of a clip whose frames have this width."""
        ...

    def taker(self) -> PieceTaker:
        """Return what takes the pieces of the next clip."""
        ...


@dataclass(frozen=True)
class Arrangement:
    """Features of each clip: a `ClipPlan`."""

    layers: tuple[int, ...]
    """Layers that are computed, in the order they are given."""
    learned: LearnedMix | None
    """Mixes them to one; None: they are given as they are."""
    pool: str
    """none, mean, max or attentive."""
    step: float | None
    """Old frames a new one; None: frames as they come."""
    dtype: torch.dtype
    """Of what is given."""

    @property
    def pooled(self) -> bool:
        """Tell whether frames are pooled, so that a clip is given at its end."""
        return self.pool != "none"

    def frames(self, total: int) -> int:
        """Return the frames that are given of `total` frames; of pooled clips, those that were pooled."""
        return total if self.step is None else frames_at(total, self.step)

    def shape(self, total: int, dim: int) -> tuple[int, ...]:
        """Return the shape of what is given of a clip: without layers for one, without frames when pooled."""
        several = 1 if self.learned is not None else len(self.layers)
        layers = () if several == 1 else (several,)
        return (*layers, dim) if self.pooled else (*layers, self.frames(total), dim)

    def taker(self) -> ClipArranger:
        """Return what takes the pieces of the next clip."""
        return ClipArranger(self)


def arrangement(
    source: FeatureSource, layers: str, pool: str = "none", rate_hz: float | None = None, dtype: str = "float32"
) -> Arrangement:
    """Return the requested arrangement after checking the options.

    Parameters
    ----------
    source
        Whose layers.
    layers
        ``all``, ``9``, ``0,4,-1``, or the folder of a probe's result: its mix of layers.
    pool
        ``none``, ``mean``, ``max`` or ``attentive`` (the attention of the probe's head).
    rate_hz
        Frames a second; None: the model's own.
    dtype
        ``float32``, ``float16`` or ``bfloat16``.

    Raises
    ------
    UserError
        If options do not fit each other or the source.
    """
    for name, value, known in (("pool", pool, POOLS), ("dtype", dtype, tuple(DTYPES))):
        if value not in known:
            raise UserError(f"`--{name}` must be one of {', '.join(known)}, but is `{value}`")
    learned = read_learned(Path(layers), source.fingerprint, source.num_layers) if is_result(Path(layers)) else None
    numbers = list(learned.layers) if learned is not None else parse_layers(layers, source.num_layers)
    if pool == "attentive" and (learned is None or learned.attention is None):
        raise UserError(
            "`--pool attentive` needs a probe with an attentive head",
            remedy="give `--layers` the result folder of a probe with head.kind=attentive",
        )
    if rate_hz is not None and pool != "none":
        raise UserError(
            "`--rate` and `--pool` cannot be combined: pooled features have no frames", remedy="give one of them"
        )
    if rate_hz is not None and not rate_hz > 0:
        raise UserError(f"`--rate` must be above 0, but is {rate_hz:g}")
    if rate_hz is not None and rate_hz > source.sample_rate:
        # A frame shorter than a sample carries no information, and so many of them would fill the memory.
        raise UserError(f"`--rate` must be at most the {source.sample_rate} samples a second, but is {rate_hz:g}")
    step = None if rate_hz is None or rate_hz == source.grid.frame_rate_hz else source.grid.frame_rate_hz / rate_hz
    return Arrangement(tuple(numbers), learned, pool, step, DTYPES[dtype])


def parse_layers(text: str, available: int) -> list[int]:
    """Return layer numbers; negative ones count from the last.

    Examples
    --------
    >>> parse_layers("0,-1", 5)
    [0, 4]
    """
    if text == "all":
        return list(range(available))
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"`--layers` must be all, a number, numbers like 0,4 or the folder of a probe's result, but is `{text}`"
        ) from None
    for number in numbers:
        if not -available <= number < available:
            raise UserError(f"`--layers` has {number}, but this model has the layers 0 to {available - 1}")
    return [number % available for number in numbers]


class ClipArranger:
    """Takes the pieces of one clip in order."""

    def __init__(self, arrangement: Arrangement) -> None:
        self._arrangement = arrangement
        self._rate = None if arrangement.step is None else RateChange(arrangement.step)
        self._pool: Pool | None = self._make_pool()

    def add(self, piece: Piece) -> Tensor | None:
        """Return what the piece adds, ``[layer, frame, dim]`` or ``[frame, dim]``; of a pooled clip all, at its end.

        Raises
        ------
        AudioError
            If a feature is not a finite number.
        """
        wanted, last = self._arrangement, piece.last
        learned = wanted.learned
        frames = torch.stack(piece.layers) if learned is None else learned.mix(piece.layers)[None]
        if self._rate is not None:
            frames = self._rate.add(frames, last)
        if self._pool is not None:
            self._pool.add(frames)
            if not last:
                return None
            frames = self._pool.result()
        given = (frames[0] if len(frames) == 1 else frames).to(wanted.dtype)
        if not bool(torch.isfinite(given).all()):
            raise AudioError(f"the model's features are not finite in {str(wanted.dtype).removeprefix('torch.')}")
        return given.cpu()

    def _make_pool(self) -> Pool | None:
        attention = None if self._arrangement.learned is None else self._arrangement.learned.attention
        if self._arrangement.pool == "attentive":
            assert attention is not None
            return AttentivePool(attention)
        makers: dict[str, Callable[[], Pool]] = {"mean": MeanPool, "max": MaxPool}
        maker = makers.get(self._arrangement.pool)
        return None if maker is None else maker()
