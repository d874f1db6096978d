"""Speakers dealt into folds and blocks, and values dealt among speakers: a speaker is never torn apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of the clips at which blocks end (Voita & Titov 2020)."""

_TRIES = 100


def deal_folds(speakers: Sequence[str], values: Sequence[str], folds: int, rng: np.random.Generator) -> Ints:
    """Return the fold of each clip: speakers of each value evenly, and of these the clips as evenly as it goes."""
    clips = Counter(speakers)
    value_of = dict(zip(speakers, values, strict=True))
    fold_of: dict[str, int] = {}
    held = [0] * folds
    for value in sorted(set(values)):
        people = [str(one) for one in rng.permutation(sorted(s for s in clips if value_of[s] == value))]
        people.sort(key=lambda one: -clips[one])
        places = Counter(dict.fromkeys(range(folds), 0))
        for speaker in people:
            fold = min(range(folds), key=lambda one: (places[one], held[one]))
            fold_of[speaker] = fold
            places[fold] += 1
            held[fold] += clips[speaker]
    return np.array([fold_of[one] for one in speakers], dtype=np.int64)


def shuffle_values(speakers: Sequence[str], values: Ints, folds: Ints, rng: np.random.Generator) -> Ints:
    """Return values dealt anew among the speakers of each fold, every clip of a speaker the same.

    Within folds, because folds that have lost their share of a value would pull the control below chance. A deal that
    is the true one is drawn again, as far as there is another.
    """
    names, first, index = np.unique(np.asarray(speakers, dtype=str), return_index=True, return_inverse=True)
    true, fold_of = values[first], folds[first]
    dealt = true.copy()
    for _ in range(_TRIES):
        for fold in np.unique(fold_of):
            here = np.flatnonzero(fold_of == fold)
            dealt[here] = true[rng.permutation(here)]
        if len(names) and not np.array_equal(dealt, true):
            break
    return dealt[index]


def deal_blocks(speakers: Sequence[str], rng: np.random.Generator) -> list[Ints]:
    """Return the clips of each block, every block with speakers of its own.

    Speakers come in random order; a block ends with the first speaker who brings it to its share of the clips, and
    blocks that would be empty are not there.
    """
    clips = Counter(speakers)
    order = [str(one) for one in rng.permutation(sorted(clips))]
    reached = np.cumsum([clips[one] for one in order])
    ends = sorted({int(np.searchsorted(reached, share * len(speakers) - 1e-9)) + 1 for share in FRACTIONS})
    block_of = {one: int(np.searchsorted(ends, place, side="right")) for place, one in enumerate(order)}
    of_clips = np.array([block_of[one] for one in speakers])
    return [np.flatnonzero(of_clips == block) for block in range(len(ends))]
