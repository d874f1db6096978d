"""What the test of a gap allows to say, in a fixed choice of words.

A verdict follows the p-value adjusted for all comparisons of its family (Holm) where there is one. Reports made before
that was recorded have the plain p-value only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from audio_ssl.report.numbers import finite

SIGNIFICANT = 0.05
Verdict = Literal["found", "alone", "open", "refused", "untested"]
VERDICTS: dict[Verdict, str] = {
    "found": "beyond chance",
    "alone": "only if taken alone",
    "open": "not told from chance",
    "refused": "not tested",
    "untested": "not tested",
}
SHAPES: dict[Verdict, str] = {
    "found": "square",
    "alone": "circle",
    "open": "circle",
    "refused": "diamond",
    "untested": "diamond",
}


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """Say what the test of a comparison came to.

    Returns
    -------
    str
        ``found``: rare by chance, also among all comparisons made. ``alone``: rare by chance only if it had been the
        only comparison. ``open``: chance makes as much more than 1 time in 20. ``refused``, ``untested``: there was no
        test.

    Examples
    --------
    >>> verdict_of({"p_value": 0.03, "p_holm": 0.12}), verdict_of({"p_value": 0.03}), verdict_of({"refused": "few"})
    ('alone', 'found', 'refused')
    """
    if row.get("refused"):
        return "refused"
    plain, adjusted = finite(row.get("p_value")), finite(row.get("p_holm"))
    if plain is None:
        return "untested"
    if (plain if adjusted is None else adjusted) < SIGNIFICANT:
        return "found"
    return "alone" if plain < SIGNIFICANT else "open"
