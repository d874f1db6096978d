"""What comparing two systems on the same clips comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """Model minus baseline on one metric, in the metric's unit, with its 95 % interval."""

    value: float
    low: float
    high: float
    unit: str
    """What was resampled, such as "24 speakers"."""
    clips: int = 0
    """Clips (or trials, or comparisons) that both systems predicted."""
