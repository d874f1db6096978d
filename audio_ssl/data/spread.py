"""How evenly an amount is spread over its holders: hours over speakers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Amounts = npt.ArrayLike
"""``[holder]``, none negative."""


def effective_number(amounts: Amounts) -> float:
    """Return the inverse Simpson index 1 / Σ p², the number of equal holders that would be as concentrated.

    Hill's number of order 2 (Hill 1973); 0 where nothing is held.

    Examples
    --------
    >>> effective_number([1, 1, 1, 1]), round(effective_number([97, 1, 1, 1]), 2), effective_number([])
    (4.0, 1.06, 0.0)
    """
    held = np.asarray(amounts, dtype=np.float64)
    total = held.sum()
    return float(1 / np.sum((held / total) ** 2)) if total > 0 else 0.0


def entropy_number(amounts: Amounts) -> float:
    """Return exp(−Σ p log p), Hill's number of order 1: small holders weigh more than in `effective_number`.

    Examples
    --------
    >>> round(entropy_number([1, 1, 1, 1]), 9), entropy_number([5, 0]), entropy_number([])
    (4.0, 1.0, 0.0)
    """
    held = np.asarray(amounts, dtype=np.float64)
    if held.sum() <= 0:
        return 0.0
    share = held[held > 0] / held.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def gini(amounts: Amounts) -> float:
    """Return the Gini coefficient: 0 where all hold the same, towards 1 where one holds everything.

    Examples
    --------
    >>> gini([2, 2, 2]), gini([0, 0, 0, 1]), gini([])
    (0.0, 0.75, 0.0)
    """
    held = np.sort(np.asarray(amounts, dtype=np.float64))
    total, number = held.sum(), len(held)
    if total <= 0:
        return 0.0
    rank = np.arange(1, number + 1)
    return float(max(0.0, 2 * np.sum(rank * held) / (number * total) - (number + 1) / number))
