"""What may be concluded from a comparison and what may not, in sentences that can be quoted alone.

A sentence that is quoted loses the page around it. So it names the system, the test set, the metric, both groups with
their numbers of speakers, the difference with its interval, and the p-value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from audio_ssl.fairness.people import capital, measure, people
from audio_ssl.report.fairness_words.differences import amount, p_words, significance_words, tolerance_words
from audio_ssl.report.gaps import unit_of, worse_group
from audio_ssl.report.numbers import count, finite, score, signed
from audio_ssl.report.verdicts import VERDICTS, verdict_of

_Row = Mapping[str, Any]
_SPACE = "\u00a0"


class Conclusion(NamedTuple):
    """What is said of one comparison."""

    subject: str
    """System, metric and groups, for a heading."""
    finding: str
    """The numbers and the verdict, to be quoted."""
    may: str
    may_not: str


def conclusion(row: _Row, report: Mapping[str, Any]) -> Conclusion:
    """Say what follows from a row of comparisons that was tested.

    Parameters
    ----------
    row
        One that `verdict_of` calls tested.
    report
        The JSON it is of.
    """
    may, may_not = _allowed(row)
    return Conclusion(
        _subject(row), finding(row, report), f"May be concluded: {may}", f"May not be concluded: {may_not}"
    )


def finding(row: _Row, report: Mapping[str, Any]) -> str:
    """Say the numbers of a comparison and its verdict in one sentence that can be quoted alone."""
    unit, points = unit_of(row), "points" if unit_of(row) else ""
    first, second = (_group(row, side) for side in ("a", "b"))
    low, high = finite(row.get("low")), finite(row.get("high"))
    ends = "" if low is None else f"95{_SPACE}% confidence interval {signed(low, points)} to {signed(high, unit)}; "
    found = VERDICTS[verdict_of(row)]
    if verdict_of(row) == "smaller":
        # Whoever quotes it must not leave out how large the tolerance is, nor that the difference may be significant.
        found = f"difference {tolerance_words(row)}, and {significance_words(row)}"
    test_set = (report.get("statement") or {}).get("test_set")
    where = " on ".join(filter(None, (str(row.get("result") or ""), test_set)))
    begin = f"{where}: the" if where else "The"
    return (
        f"{begin} {measure(row['metric'])} is {score(row.get('value_a'), unit)} for {first} and "
        f"{score(row.get('value_b'), unit)} for {second}, a difference of {signed(row.get('difference'), unit)} "
        f"({ends}permutation test over speakers, {p_words(row)}): {found}."
        f"{_without_empty(row, report)}"
    )


def _without_empty(row: _Row, report: Mapping[str, Any]) -> str:
    """Say what empty hypotheses decide: who quotes the finding must not leave it out."""
    about = ("result", "by", "metric", "a", "b")
    both = (one for one in report.get("empty_hypotheses") or () if all(one.get(key) == row.get(key) for key in about))
    found = next(both, None)
    return f" But {found['warning']}." if found is not None and found.get("warning") else ""


def short_finding(row: _Row) -> str:
    """Say the groups, the metric, both scores and the difference of a comparison, for a line of a headline."""
    by, unit, points = str(row["by"]), unit_of(row), "points" if unit_of(row) else ""
    where = f" with {row['result']}" if row.get("result") else ""
    low, high = finite(row.get("low")), finite(row.get("high"))
    ends = "" if low is None else f" (95{_SPACE}% confidence interval {signed(low, points)} to {signed(high, unit)})"
    return (
        f"{measure(row['metric'])}{where}, {people(by, str(row['a']))} {score(row.get('value_a'), unit)}, "
        f"{people(by, str(row['b']))} {score(row.get('value_b'), unit)}: {signed(row.get('difference'), unit)}{ends}."
    )


def _subject(row: _Row) -> str:
    thing, by = measure(row["metric"]), str(row["by"])
    # A system's name stays as it is written.
    where = f"{row['result']}, {thing}" if row.get("result") else capital(thing)
    return f"{where}, {people(by, str(row['a']))} and {people(by, str(row['b']))}"


def _group(row: _Row, side: str) -> str:
    speakers = finite(row.get(f"speakers_{side}"))
    many = "" if speakers is None else f" ({count(int(speakers), 'speaker')})"
    return f"{people(str(row['by']), str(row[side]))}{many}"


def _allowed(row: _Row) -> tuple[str, str]:
    by, thing = str(row["by"]), measure(row["metric"])
    first, second = people(by, str(row["a"])), people(by, str(row["b"]))
    verdict = verdict_of(row)
    if verdict == "found":
        higher = "higher" if float(row["difference"]) > 0 else "lower"
        worse = worse_group(row)
        whom = f", which is worse for {people(by, worse)}" if worse else ""
        return (
            f"for speakers and recordings like these, the {thing} is {higher} for {first} than for {second}{whom}.",
            "that the group is the cause (groups can differ in what was said and how it was recorded), that every "
            "speaker of the group fares worse, or how large the difference is beyond its confidence interval.",
        )
    if verdict == "smaller":
        return (
            f"for speakers and recordings like these, the difference in {thing} between {first} and {second} is "
            f"{tolerance_words(row)}. It is {significance_words(row)}.",
            "that there is no difference at all, or that a difference this small is harmless: the tolerance was stated "
            "by whoever ordered the audit.",
        )
    least = finite(row.get("minimum_detectable"))
    usual = (
        f"this data would usually (80{_SPACE}% power) show a difference of {amount(least, row)} or more"
        if least is not None
        else "how large a difference this data would usually show cannot be estimated"
    )
    return (
        f"the data does not decide whether the {thing} differs between {first} and {second}; {usual}.",
        f"that there is no difference, or that the system treats {first} and {second} alike.",
    )
