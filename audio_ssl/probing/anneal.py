"""Learning rates that fall where the score on the validation clips no longer improves.

``newbob`` is SpeechBrain's `NewBobScheduler`: each score is compared with the one before it. ``plateau`` is torch's
`ReduceLROnPlateau` (relative threshold, no cooldown, no smallest rate): each score is compared with the best one. Both
are told the main score of each evaluation, or what is trained would have to be scored by its loss as well; where that
is what a recipe follows, its probe's header says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from audio_ssl.base.errors import UserError

ANNEALED = ("plateau", "newbob")


@dataclass(frozen=True)
class Annealing:
    """How a rate falls."""

    factor: float = 0.5
    """The rate is multiplied by it (torch: 0.1, SpeechBrain and MARBLE: 0.5)."""

    patience: int | None = None
    """Evaluations without enough improvement that are let pass. Left out: 10 with plateau, 0 with newbob, as in torch
    and SpeechBrain."""

    threshold: float | None = None
    """Relative improvement that is enough. Left out: 1e-4 with plateau, 0.0025 with newbob, as in torch and
    SpeechBrain."""


def check_annealing(settings: Annealing, where: str) -> None:
    """Raise UserError for a factor, a patience or a threshold that cannot be."""
    check_anneal_factor(settings.factor, f"{where}.factor")
    if settings.patience is not None and settings.patience < 0:
        raise UserError(f"must be at least 0, but is {settings.patience}", where=f"{where}.patience")
    if settings.threshold is not None and not settings.threshold >= 0:
        raise UserError(f"must be at least 0, but is {settings.threshold:g}", where=f"{where}.threshold")


def check_anneal_factor(factor: float, where: str) -> None:
    """Raise UserError for a factor that is not above 0 and below 1."""
    if not 0 < factor < 1:
        raise UserError(f"must be above 0 and below 1, but is {factor:g}", where=where, remedy="0.5 is usual")


class Annealer:
    """Counts how often the rate of one run falls.

    Parameters
    ----------
    schedule
        plateau or newbob.
    settings
        Patience and threshold.
    higher
        Whether higher scores are better.

    Examples
    --------
    >>> annealer = Annealer("newbob", Annealing(), higher=False)
    >>> [annealer.falls_after(score) for score in (10.0, 2.0, 2.5)]
    [0, 0, 1]
    """

    def __init__(self, schedule: str, settings: Annealing, higher: bool) -> None:
        self._against_best, self._higher = schedule == "plateau", higher
        usual_patience, usual_threshold = (10, 1e-4) if self._against_best else (0, 0.0025)
        self._patience = usual_patience if settings.patience is None else settings.patience
        self._threshold = usual_threshold if settings.threshold is None else settings.threshold
        self._reference, self._left, self._falls = math.nan, self._patience, 0

    def falls_after(self, score: float) -> int:
        """Return how often the rate has fallen, after one more score."""
        if math.isnan(self._reference):
            self._reference = score
        elif self._improves(score):
            self._reference = score
            if self._against_best:
                self._left = self._patience
        else:
            if not self._against_best:
                self._reference = score
            if self._left:
                self._left -= 1
            else:
                self._falls, self._left = self._falls + 1, self._patience
        return self._falls

    def _improves(self, score: float) -> bool:
        reference = self._reference
        if self._against_best:
            if self._higher:
                return score > reference * (1 + self._threshold)
            return score < reference * (1 - self._threshold)
        gain = score - reference if self._higher else reference - score
        # Of a loss the reference is above zero; some scores, such as R2, may be below.
        return (gain / abs(reference) if reference else 0.0) >= self._threshold
