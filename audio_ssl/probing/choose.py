"""What the validation clips choose: the layer and the learning rate by the mean over seeds, then the best seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from audio_ssl.probing.fit import Fitted


def choose(fitted: Sequence[Fitted], higher: bool) -> Fitted:
    """Return the chosen run.

    The rate and the layer with the best mean over seeds, of those whose runs diverged least often; a single lucky seed
    does not choose them.

    Parameters
    ----------
    fitted
        All runs of a question; at least one has weights.
    higher
        Whether higher scores are better.
    """
    groups: dict[tuple[int | None, float], list[Fitted]] = {}
    for one in fitted:
        groups.setdefault((one.run.layer, one.run.lr), []).append(one)

    def rank(group: Sequence[Fitted]) -> tuple[int, float]:
        kept = [one.valid for one in group if has_weights(one)]
        lost = len(group) - len(kept)
        return lost, _badness(sum(kept) / len(kept) if kept else math.nan, higher)

    usable = [group for group in groups.values() if any(has_weights(one) for one in group)]
    best = min(usable, key=rank)
    return min((one for one in best if has_weights(one)), key=lambda one: _badness(one.valid, higher))


def curve(fitted: Sequence[Fitted], metric: str, higher: bool) -> list[dict[str, Any]]:
    """Return ``layer, metric, valid, low, high, lr`` of each layer that had runs of its own.

    ``valid`` is the mean over seeds at the layer's best rate, ``low`` and ``high`` the worst and best of those seeds.
    """
    rows: list[dict[str, Any]] = []
    for layer in sorted({one.run.layer for one in fitted if one.run.layer is not None}):
        runs = [one for one in fitted if one.run.layer == layer]
        if not any(has_weights(one) for one in runs):
            rows.append({"layer": layer, "metric": metric, "valid": None, "low": None, "high": None, "lr": None})
            continue
        lr = choose(runs, higher).run.lr
        values = [one.valid for one in runs if one.run.lr == lr and has_weights(one)]
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
