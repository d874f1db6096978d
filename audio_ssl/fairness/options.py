"""Options of an audit, checked before any work."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.fairness.about import About
from audio_ssl.fairness.comparisons import Chance
from audio_ssl.fairness.tallies import EMPTY_WAYS
from audio_ssl.fairness.verification import trial_metrics
from audio_ssl.metrics.registry import metrics_of_groups


@dataclass(frozen=True)
class AuditOptions:
    """The arguments of `audit`."""

    by: tuple[str, ...]
    chance: Chance
    metrics: tuple[str, ...]
    manifest: Path | None
    normaliser: str
    min_speakers: int
    columns: Mapping[str, str]
    empty_hypothesis: str
    tokenizer: str | None
    tolerance: float | None
    about: About
    examples: bool

    def check(self) -> None:
        """Raise UserError for a wrong option."""
        known = (*metrics_of_groups(), *trial_metrics())
        unknown = next((name for name in self.metrics if name not in known), None)
        if unknown is not None:
            raise unknown_name("metric", unknown, known)
        by = self.by
        if not by:
            raise UserError("`by` must name at least one attribute")
        twice = sorted({name for name in by if by.count(name) > 1})
        if twice:
            raise UserError(f"`by` names {', '.join(twice)} twice")
        if self.chance.seed < 0:
            raise UserError(f"`seed` must be 0 or more, but is {self.chance.seed}")
        if self.chance.replicates < 100:
            raise UserError(f"`replicates` must be at least 100, but is {self.chance.replicates}")
        if self.empty_hypothesis not in EMPTY_WAYS:
            raise unknown_name("value of `empty_hypothesis`", self.empty_hypothesis, EMPTY_WAYS)
        if self.min_speakers < 1:
            raise UserError(f"`min_speakers` must be at least 1, but is {self.min_speakers}")
        if self.tolerance is not None and not 0 < self.tolerance < math.inf:
            raise UserError(f"`tolerance` must be above 0, in points of the metric, but is {self.tolerance:g}")

    def metrics_of(self, known: Collection[str], path: Path) -> tuple[str, ...]:
        """Return the requested metrics that this kind of result has; empty means all."""
        fitting = tuple(name for name in self.metrics if name in known)
        if self.metrics and not fitting:
            raise UserError(
                f"none of {', '.join(self.metrics)} is a score of this result; known: {', '.join(sorted(known))}",
                where=str(path),
            )
        return fitting
