"""What the test of a gap allows to say, in a fixed choice of words.

A verdict follows the p-value adjusted for all comparisons of its family (Holm) where there is one. Reports made before
that was recorded have the plain p-value only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from audio_ssl.fairness import verdict
from audio_ssl.fairness.power import ALPHA
from audio_ssl.report.numbers import finite

TESTED: tuple[Verdict, ...] = ("found", "alone", "open", "smaller")
Verdict = Literal["found", "alone", "open", "smaller", "refused", "untested"]
VERDICTS: dict[Verdict, str] = {
    "found": verdict.SIGNIFICANT,
    "alone": verdict.INCONCLUSIVE,
    "open": verdict.INCONCLUSIVE,
    "smaller": verdict.SMALLER,
    "refused": "not tested",
    "untested": "not tested",
}
SHAPES: dict[Verdict, str] = {
    "found": "square",
    "alone": "circle",
    "open": "circle",
    "smaller": "triangle",
    "refused": "diamond",
    "untested": "diamond",
}


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """Say what the test of a comparison came to.

    Returns
    -------
    str
        ``found``: statistically significant, with all comparisons counted. ``alone``: only if it had been the only
        comparison. ``open``: not statistically significant. ``smaller``: within the stated tolerance. ``refused``,
        ``untested``: there was no test.

    Examples
    --------
    >>> verdict_of({"p_value": 0.03, "p_holm": 0.12}), verdict_of({"p_value": 0.03}), verdict_of({"refused": "few"})
    ('alone', 'found', 'refused')
    """
    if row.get("refused"):
        return "refused"
    said = verdict.verdict(row)
    if said == verdict.SMALLER:
        return "smaller"
    plain = finite(row.get("p_value"))
    if said is None or plain is None:
        return "untested"
    if said == verdict.SIGNIFICANT:
        return "found"
    return "alone" if plain < ALPHA else "open"
