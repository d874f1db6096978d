"""How often intervals over clips and seeds miss: those of ``_seeds.py`` beside a bootstrap of clips and seeds.

Two systems without a true difference, three seeds each and 200 clips of 20 answers, which are hard or easy for both
alike; what a seed does to a system varies with the deviation of the first column, in points of score. The bootstrap
draws clips and seeds anew and takes percentiles. Of intervals of 95 % one in twenty should leave out zero.

Run ``python benchmarks/seed_intervals.py`` (a minute of one core); prints the table.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
from _markdown import table  # type: ignore[import-not-found]
from _pairs import ClipCounts  # type: ignore[import-not-found]
from _seeds import Cell, contrast  # type: ignore[import-not-found]

Array = npt.NDArray[np.float64]

SEEDS, CLIPS, ANSWERS, REPLICATES = 3, 200, 20, 400
DEVIATIONS = (0.0, 0.01, 0.03)


def systems(rng: np.random.Generator, deviation: float) -> dict[str, Cell]:
    """Return two systems that are equally good."""
    hard = rng.normal(0.6, 0.25, CLIPS)
    names = tuple(map(str, range(CLIPS)))
    return {name: [{"t": _answers(rng, hard, deviation, names)} for _ in range(SEEDS)] for name in "ab"}


def _answers(rng: np.random.Generator, hard: Array, deviation: float, names: tuple[str, ...]) -> ClipCounts:
    chance = np.clip(hard + rng.normal(0, deviation), 0.02, 0.98)
    right = rng.binomial(ANSWERS, chance).astype(float)
    found: ClipCounts = ClipCounts.ratio(np.stack([right, np.full(CLIPS, float(ANSWERS))], axis=1), names)
    return found


def bootstrap(cells: dict[str, Cell], rng: np.random.Generator) -> Array:
    """Return the ends of a percentile interval over clips and seeds drawn anew."""
    ours, theirs = (np.array([one["t"].table[:, 0] for one in cells[name]], np.float64) for name in "ab")
    gaps = 100.0 * (ours - theirs) / ANSWERS
    seeds, clips = (rng.multinomial(n, np.full(n, 1 / n), REPLICATES) / n for n in gaps.shape)
    return np.asarray(np.quantile(((seeds @ gaps) * clips).sum(1), [0.025, 0.975]))


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300)
    args = parser.parse_args()
    rows = []
    for deviation in DEVIATIONS:
        rng, missed, widths = np.random.default_rng(1), np.zeros(2), np.zeros(2)
        for _ in range(args.samples):
            cells = systems(rng, deviation)
            ours = contrast(cells, {"a": 1.0, "b": -1.0}, ["t"])
            ends = np.array([[ours.low, ours.high], bootstrap(cells, rng)])
            missed += (ends[:, 0] > 0) | (ends[:, 1] < 0)
            widths += ends[:, 1] - ends[:, 0]
        cells_of = (
            f"{m:.1%}, {w:.1f} points" for m, w in zip(missed / args.samples, widths / args.samples, strict=True)
        )
        rows.append([f"{100 * deviation:g}", *cells_of])
    print(table(("deviation of seeds", "_seeds.py: missed, width", "bootstrap: missed, width"), rows))


if __name__ == "__main__":
    main()
