"""Gaps between groups of speakers in plain words: how large, worse for whom, and whether it may be believed.

Reads rows of the JSON of the fairness stage. A gap is always first minus second group (F − M); whether a positive one
is good or bad for the first group follows from the metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.numbers import finite, p_value, percent, signed
from audio_ssl.report.paired import additive
from audio_ssl.report.verdicts import verdict_of

_MOST_SAID = 12
_Row = Mapping[str, Any]


def unit_of(row: _Row) -> str:
    """Return the unit of the row's metric; a row may name its own. A cost has none: it needs three decimals."""
    metric = additive(str(row["metric"]))
    unit = str(row.get("unit") or (metric.unit if metric else ""))
    return "" if unit == "cost" else unit


def higher_is_better(row: _Row) -> bool | None:
    """Return which way the row's metric is better, or None where that is not known."""
    if isinstance(row.get("higher_is_better"), bool):
        return bool(row["higher_is_better"])
    metric = additive(str(row["metric"]))
    return metric.higher_is_better if metric else None


def worse_group(row: _Row) -> str | None:
    """Return the group a comparison is worse for; None where there is no gap or no known direction."""
    gap, higher = finite(row.get("difference")), higher_is_better(row)
    if not gap or higher is None:
        return None
    return str(row["b"] if (gap > 0) == higher else row["a"])


def size_sentence(row: _Row) -> str:
    """Say how large a gap is and for which group it is worse.

    Examples
    --------
    >>> size_sentence({"metric": "words", "a": "F", "b": "M", "difference": -0.5})
    'words is 0.500 lower for F than for M.'
    """
    metric, a, b = metric_label(row["metric"]), str(row["a"]), str(row["b"])
    gap = finite(row.get("difference"))
    if gap is None:
        return f"{metric} could not be compared between {a} and {b}."
    if gap == 0:
        return f"{metric} is the same for {a} and {b}."
    worse = worse_group(row)
    size = signed(abs(gap), unit_of(row)).lstrip("+")
    words = f"{metric} is {size} {'higher' if gap > 0 else 'lower'} for {a} than for {b}"
    if worse:
        words += f", which is worse for {worse}"
    relative = finite(row.get("relative_symmetric"))
    return words + (f" (Δrel {percent(relative)})." if relative is not None else ".")


def inference_sentence(row: _Row) -> str:
    """Say what the test found, or why there was none."""
    if row.get("refused"):
        return f"Not tested, so nothing follows for other speakers: {str(row['refused']).rstrip('.')}."
    verdict = verdict_of(row)
    if verdict == "untested":
        return "No test was made."
    p = _p(row.get("p_value"))
    how = "not unusual" if verdict == "open" else "rare"
    text = f"If the group made no difference, a gap this large would be {how}"
    if verdict == "alone":
        adjusted, many = _p(row.get("p_holm")), finite(row.get("compared"))
        among = f"as one of {many:.0f}" if many else "among all"
        return f"{text} ({p}) had it been the only one; {among} it is not ({adjusted})."
    return f"{text} ({p})."


def gap_sentences(report: Mapping[str, Any]) -> list[str]:
    """Say the comparisons of a fairness report; a refusal that several share is said once, after them.

    Of many the first are said, those beyond chance before others.

    Parameters
    ----------
    report
        The JSON of the fairness stage.
    """
    out: list[str] = []
    waiting: dict[str, None] = {}
    rows = list(report["comparisons"])
    if len(rows) > _MOST_SAID:
        rows.sort(key=lambda row: verdict_of(row) != "found")
    for row in rows[:_MOST_SAID]:
        where = f"{row['result']}: " if row.get("result") else ""
        if row.get("refused"):
            out.append(where + size_sentence(row))
            waiting[inference_sentence(row)] = None
        else:
            out.append(f"{where}{size_sentence(row)} {inference_sentence(row)}")
    more = len(rows) - _MOST_SAID
    return out + list(waiting) + ([f"{more:,} gaps more are below."] if more > 0 else [])


def _p(value: Any) -> str:
    return f"p = {p_value(value)}".replace("= <", "<")


def gap_headline(reports: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence what all comparisons together allow to conclude."""
    rows = [row for report in reports for row in report["comparisons"]]
    tested = [row for row in rows if not row.get("refused") and finite(row.get("p_value")) is not None]
    if not rows:
        return "There are no two groups to compare."
    if not tested:
        return "Gaps between groups are shown but not tested: no conclusion about other speakers is possible."
    found = [row for row in tested if verdict_of(row) == "found"]
    if not found:
        return f"None of the {len(tested)} tested gaps between groups is told from chance."
    names = dict.fromkeys(
        metric_label(row["metric"]) + (f" (worse for {worse})" if (worse := worse_group(row)) else "") for row in found
    )
    named = list(names)[:_MOST_SAID] + ([f"{len(names) - _MOST_SAID} more"] if len(names) > _MOST_SAID else [])
    return f"Of {len(tested)} tested gaps between groups, {len(found)} would be rare by chance: {', '.join(named)}."
