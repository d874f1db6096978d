"""A plan of a test as lines for a terminal: what it rests on, and how many speakers and clips it needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from audio_ssl.fairness.people import measure
from audio_ssl.fairness.plan import MOST_SPEAKERS, Need, Spread
from audio_ssl.report.numbers import count, score


def plan_lines(
    metric: str, unit: str, by: str, groups: int, spread: Spread, gap: float, power: float, alpha: float,
    needed: Sequence[Need],
) -> list[str]:  # fmt: skip
    """Return the lines of a plan.

    Parameters
    ----------
    metric, unit
        What is compared.
    by, groups
        The attribute and how many groups the pilot has.
    spread
        Of the pilot.
    gap, power, alpha
        Relative gap, power and level of one comparison.
    needed
        By number of clips a speaker.
    """
    points = "percentage points" if unit == "%" else unit or "units of the score"
    pairs = max(1, math.comb(groups, 2))
    head = ("clips a speaker", "speakers a group", "clips a group", "speakers a group, cautious")
    rows = [
        (f"{one.clips_per_speaker:,}", *(_amount(value) for value in (one.speakers, one.clips, one.speakers_cautious)))
        for one in needed
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return [
        f"To find a gap of {100 * gap:g} % in {measure(metric)} ({gap * spread.value:.2f} {points}) by {by} with "
        f"{100 * power:g} % power:",
        *table,
        "Assumed:",
        f"- The pilot ({count(spread.speakers, 'speaker')}, {count(spread.clips, 'clip')}) is like the test: the score "
        f"is {score(spread.value, unit).replace(chr(160), ' ')}, the standard deviation between speakers of a group "
        f"{math.sqrt(spread.between):.2f}, between clips of a speaker {math.sqrt(spread.within):.2f} {points}.",
        "- The gap is relative to that score; both groups have as many speakers, and vary alike.",
        f"- Two-sided test over speakers at the level {alpha:.3g}"
        + (f": 5 % shared among {pairs} comparisons of {groups} groups." if pairs > 1 else "."),
        "- Cautious: the spread between speakers is at the upper end of its one-sided 80 % interval.",
    ]


def _amount(value: int | None) -> str:
    return f"over {MOST_SPEAKERS:,}" if value is None else f"{value:,}"
