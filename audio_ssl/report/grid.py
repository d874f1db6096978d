"""The runs of a probe's heads, one for each layer, learning rate and seed, as a grid of validation scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.report.numbers import finite


def describe_grid(scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """Put the validation scores of all runs into a grid of layers and learning rates.

    Parameters
    ----------
    scores
        The content of ``scores.json``; older ones have no ``runs``.

    Returns
    -------
    dict or None
        ``layers`` (numbers, or "mix"), ``lrs``, ``valid[lr][layer]`` (mean over seeds and folds, None where every run
        diverged or there was none), ``diverged[lr][layer]`` (how many), ``seeds``, ``folds``, and ``chosen`` (pairs of
        positions, learning rate and layer). None where there are not at least two cells.
    """
    runs = [run for run in scores.get("runs") or () if isinstance(run, Mapping) and finite(run.get("lr")) is not None]
    layers = sorted({_layer(run) for run in runs}, key=lambda one: (isinstance(one, str), one))
    lrs = sorted({float(run["lr"]) for run in runs})
    if len(layers) * len(lrs) < 2:
        return None
    ways = [one.get("whiten", False) for one in chosen_runs(scores)]
    cells: dict[tuple[float, Any], list[Mapping[str, Any]]] = {}
    for run in runs:
        fold = run.get("fold") or 0
        # Where layers are asked both standardised and whitened, the grid is of the way that was chosen.
        if fold < len(ways) and run.get("whiten", False) is not ways[fold]:
            continue
        cells.setdefault((float(run["lr"]), _layer(run)), []).append(run)
    return {
        "layers": layers,
        "lrs": lrs,
        "valid": [[_mean(cells.get((lr, layer), ())) for layer in layers] for lr in lrs],
        "diverged": [[sum(bool(r.get("diverged")) for r in cells.get((lr, one), ())) for one in layers] for lr in lrs],
        "seeds": len({run.get("seed") for run in runs}),
        "folds": len({run["fold"] for run in runs if run.get("fold") is not None}),
        "chosen": [
            [lrs.index(float(one["lr"])), layers.index(_layer(one))]
            for one in chosen_runs(scores)
            if finite(one.get("lr")) in lrs and _layer(one) in layers
        ],
    }


def chosen_runs(scores: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what was chosen: one ``{layer, lr, seed}``, or one a fold; nothing of older results."""
    chosen = scores.get("chosen")
    rows = chosen if isinstance(chosen, list) else [chosen]
    return [row for row in rows if isinstance(row, Mapping)]


def _layer(run: Mapping[str, Any]) -> Any:
    layer = finite(run.get("layer"))
    return "mix" if layer is None else int(layer)


def _mean(runs: Sequence[Mapping[str, Any]]) -> float | None:
    values = [value for run in runs if not run.get("diverged") and (value := finite(run.get("valid"))) is not None]
    return sum(values) / len(values) if values else None
