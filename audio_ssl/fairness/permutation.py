"""p-values of a gap, by giving the speakers' group labels to other speakers.

If the groups do not differ, which speakers carry the label is arbitrary; the p-value is the share of assignments
whose gap is at least as large. All of them where they can be enumerated, else random ones with ``(c + 1) / (n + 1)``
(Phipson & Smyth 2010).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ENUMERATE_UP_TO = 10_000
_ROUNDING = 1e-9


def permutation_test(
    first: Array,
    second: Array,
    score: Callable[[Array], Array],
    rng: np.random.Generator,
    permutations: int = ENUMERATE_UP_TO,
) -> float:
    """Return the two-sided p-value of ``score(first) - score(second)``.

    Parameters
    ----------
    first, second
        Statistics summed per speaker, ``[speaker, column]``.
    score
        ``[..., column]`` to ``[...]``.
    rng
        For random assignments.
    permutations
        Enumerate up to this many assignments, else draw this many.
    """
    pooled = np.concatenate([first, second])
    total = pooled.sum(0)
    observed = abs(float(score(first.sum(0)) - score(second.sum(0))))
    exact = comb(len(pooled), len(first)) <= permutations
    members = _all(len(pooled), len(first)) if exact else _some(len(pooled), len(first), permutations, rng)
    ours = members @ pooled
    gaps = np.abs(score(ours) - score(total - ours))
    gaps = gaps[np.isfinite(gaps)]
    # Sums of the same numbers in another order differ in the last bits.
    extreme = int(np.sum(gaps >= observed - _ROUNDING * max(1.0, observed)))
    if exact:
        return extreme / len(gaps) if len(gaps) else float("nan")
    return (extreme + 1) / (len(gaps) + 1)


def _all(speakers: int, size: int) -> Array:
    members = np.zeros((comb(speakers, size), speakers))
    for row, chosen in enumerate(combinations(range(speakers), size)):
        members[row, chosen] = 1.0
    return members


def _some(speakers: int, size: int, count: int, rng: np.random.Generator) -> Array:
    order = np.argsort(rng.random((count, speakers)), axis=1)
    return (order < size).astype(np.float64)
