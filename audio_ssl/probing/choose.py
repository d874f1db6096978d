"""What the validation clips choose: the layer and the learning rate by the mean over seeds, then the best seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from audio_ssl.probing.fit import Fitted
from audio_ssl.probing.system import Run


def choose(fitted: Sequence[Fitted], higher: bool) -> Fitted:
    """Return the chosen run.

    The rate, the layer and whether it is whitened, with the best mean over seeds, of those whose runs diverged least
    often; a single lucky seed does not choose them.

    Parameters
    ----------
    fitted
        All runs of a question; at least one has weights.
    higher
        Whether higher scores are better.
    """
    groups = alike(fitted)

    def rank(group: Sequence[Fitted]) -> tuple[int, float]:
        kept = [one.valid for one in group if has_weights(one)]
        lost = len(group) - len(kept)
        return lost, _badness(sum(kept) / len(kept) if kept else math.nan, higher)

    usable = [group for group in groups if any(has_weights(one) for one in group)]
    best = min(usable, key=rank)
    return min((one for one in best if has_weights(one)), key=lambda one: _badness(one.valid, higher))


def alike(fitted: Sequence[Fitted]) -> list[list[Fitted]]:
    """Return the runs in groups that differ in nothing but their seed."""
    groups: dict[Run, list[Fitted]] = {}
    for one in fitted:
        groups.setdefault(replace(one.run, seed=0), []).append(one)
    return list(groups.values())


def curve(fitted: Sequence[Fitted], metric: str, higher: bool) -> list[dict[str, Any]]:
    """Return ``layer, metric, valid, low, high, lr`` of each layer that had runs of its own.

    ``valid`` is the mean over seeds at the layer's best rate, whitened or not; ``low`` and ``high`` are the worst and
    the best of those seeds.
    """
    rows: list[dict[str, Any]] = []
    for layer in sorted({one.run.layer for one in fitted if one.run.layer is not None}):
        runs = [one for one in fitted if one.run.layer == layer]
        if not any(has_weights(one) for one in runs):
            rows.append({"layer": layer, "metric": metric, "valid": None, "low": None, "high": None, "lr": None})
            continue
        best = choose(runs, higher).run
        lr = best.lr
        values = [one.valid for one in runs if replace(one.run, seed=best.seed) == best and has_weights(one)]
        mean = sum(values) / len(values)
        rows.append(
            {"layer": layer, "metric": metric, "valid": mean, "low": min(values), "high": max(values), "lr": lr}
        )
    return rows


def has_weights(one: Fitted) -> bool:
    """Tell whether a run was scored before it diverged, if it did."""
    return not math.isnan(one.valid)


def _badness(value: float, higher: bool) -> float:
    if math.isnan(value):
        return math.inf
    return -value if higher else value
