"""Which scores could be found by subtracting published ones, so that nobody is recognised by what was left out.

A group below the threshold is not scored. That alone does not protect it: where women and men add up to everybody and
the ages do but for one, the score of that age is a difference of sums that can be read off. Error counts and words are
sums over clips, so the question is one of linear algebra: every published group is a row of zeros and ones over the
finest cells of all attributes; a group can be found if its own row is a combination of published rows (complementary
disclosure; Hundepool et al. 2012, Statistical Disclosure Control, chapter 4).

Left out on purpose: what can be bounded but not found, and what follows from a second report on nearly the same clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.bool_]
"""Which of the finest cells a group has, ``[cell]``."""

MOST_CELLS = 2000
"""Of more unpublished cells than this the question is not asked: see `can_be_checked`."""

_ROUNDING = 1e-3
"""Weights and residuals below this count as zero: sums of zeros and ones that cannot be reached miss by far more."""
_RIDGE = 1e-8


class Disclosure(NamedTuple):
    """A hidden group that published ones give away."""

    hidden: int
    """Which of the hidden groups."""

    through: tuple[int, ...]
    """The published groups that are added and subtracted."""


def can_be_checked(published: Sequence[Cells]) -> bool:
    """Return whether the cells that no published group equals are few enough for `disclosures`."""
    return not published or int(_open_cells(np.stack(published)).sum()) <= MOST_CELLS


def disclosures(published: Sequence[Cells], hidden: Sequence[Cells]) -> list[Disclosure]:
    """Return the hidden groups whose sums follow from those of published groups.

    Parameters
    ----------
    published, hidden
        Groups, each ``[cell]``.

    Examples
    --------
    Women and men are published, and of the ages all but the last, which is the rest of everybody.

    >>> women, men = np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 1], bool)
    >>> young, old = np.array([1, 0, 1, 0], bool), np.array([0, 1, 0, 1], bool)
    >>> disclosures([women, men, young], [old])
    [Disclosure(hidden=0, through=(0, 1, 2))]
    >>> disclosures([women, young], [old])
    []
    """
    if not published or not hidden:
        return []
    rows, wanted = np.stack(published), np.stack(hidden)
    # A cell that is published itself is known: what has to be solved for are the others.
    unknown = _open_cells(rows)
    weights: npt.NDArray[np.float64] = np.zeros((len(rows), len(wanted)))
    missed = np.zeros(len(wanted))
    if unknown.any():
        known_sums, asked = rows[:, unknown].astype(np.float64), wanted[:, unknown].astype(np.float64)
        # Least squares with a ridge far below the smallest eigenvalue: as exact as is needed, and many times as fast.
        gram = known_sums @ known_sums.T + _RIDGE * np.eye(len(rows))
        weights = np.asarray(np.linalg.solve(gram, known_sums @ asked.T), np.float64)
        missed = np.abs(known_sums.T @ weights - asked.T).max(0)
    found = []
    for place in np.flatnonzero(missed < _ROUNDING).tolist():
        used = np.abs(weights[:, place]) > _ROUNDING
        # Known cells that the sums hold too many or too few times are subtracted or added.
        rest = np.abs(weights[:, place] @ rows - wanted[place]) > _ROUNDING
        used |= (rows.sum(1) == 1) & rows[:, rest & ~unknown].any(1)
        found.append(Disclosure(place, tuple(np.flatnonzero(used).tolist())))
    return found


def _open_cells(rows: npt.NDArray[np.bool_]) -> Cells:
    known = rows[rows.sum(1) == 1].any(0)
    return np.asarray(~known)
