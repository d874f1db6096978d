"""Settings of units: those of extraction, and how a code book is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audio_ssl.base.config import apply_overrides, structure
from audio_ssl.base.errors import check_at_least, located
from audio_ssl.features.settings import Settings


@dataclass(frozen=True)
class FitSettings:
    """How a code book is fitted."""

    hours: float = 10.0
    """Audio that is heard for it, whole clips drawn from all that there are; 0: all."""

    frames: int = 200_000
    """Frames of it that are clustered, drawn uniformly (HuBERT: a tenth of the frames of 960 h)."""

    seed: int = 0
    """Decides which clips and frames are drawn, and where centroids start."""

    batch_frames: int = 10_000
    """Frames of a mini-batch (HuBERT: 10,000)."""

    init_tries: int = 3
    """Starts of k-means++, of which the best is kept (HuBERT: 20)."""


@dataclass(frozen=True)
class UnitSettings(Settings):
    """Settings of units."""

    fit: FitSettings = FitSettings()
    """Of the code book, where none is given."""

    def check(self) -> None:
        """Raise UserError for values out of range."""
        super().check()
        with located("$.fit"):
            check_at_least(self.fit, 0, "hours", "seed")
            check_at_least(self.fit, 1, "frames", "batch_frames", "init_tries")


def read_unit_settings(overrides: Sequence[str], workers: int = 0) -> UnitSettings:
    """Return settings of ``key=value`` texts, checked.

    Examples
    --------
    >>> read_unit_settings(["fit.hours=2", "device=cpu"]).fit.hours
    2.0
    """
    settings = structure(UnitSettings, {"workers": workers, **apply_overrides({}, overrides)})
    settings.check()
    return settings
