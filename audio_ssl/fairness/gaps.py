"""Gaps between two groups: difference, relative differences, and the direction in words.

The symmetric relative difference is that of Garnerin et al. 2021 and Zanon Boito et al. 2022 (arXiv 2204.01397).
"""

from __future__ import annotations

import math

from audio_ssl.fairness.people import measure, people, that_of, whose


def relative_symmetric(a: float, b: float) -> float:
    """Return ``100 * (a - b) / ((a + b) / 2)``; NaN where both are 0.

    Examples
    --------
    >>> relative_symmetric(12.0, 8.0)
    40.0
    """
    return 100.0 * (a - b) / (0.5 * (a + b)) if a + b else math.nan


def relative_to(a: float, b: float) -> float:
    """Return ``100 * (a - b) / b``; NaN where `b` is 0.

    Examples
    --------
    >>> relative_to(12.0, 8.0)
    50.0
    """
    return 100.0 * (a - b) / b if b else math.nan


def direction(
    metric: str, higher_is_better: bool, first: str, second: str, a: float, b: float, by: str | None = None
) -> str:
    """Say which group fares worse, and by how much; with the attribute `by`, in the words of a sentence.

    Examples
    --------
    >>> direction("wer", False, "F", "M", 12.0, 10.0)
    'the wer of F is 20 % higher than that of M: worse for F'
    >>> direction("wer", False, "F", "M", 12.0, 10.0, by="gender")
    "women's word error rate is 20 % higher than men's: worse for women"
    """
    score = metric if by is None else measure(metric)
    if not (math.isfinite(a) and math.isfinite(b)):
        return f"the {score} of one group is not defined"
    names = (first, second) if by is None else (people(by, first), people(by, second))
    if a == b:
        return f"the {score} of {names[0]} and {names[1]} is the same"
    relative = relative_to(a, b)
    size = f"{abs(relative):.0f} % " if abs(relative) >= 0.5 else "less than 1 % "
    amount = size if math.isfinite(relative) else ""
    worse = names[0] if (a > b) != higher_is_better else names[1]
    change = f"{amount}{'higher' if a > b else 'lower'}"
    subject = f"the {score} of {first}" if by is None else whose(by, first, score)
    other = f"that of {second}" if by is None else that_of(by, second)
    return f"{subject} is {change} than {other}: worse for {worse}"
