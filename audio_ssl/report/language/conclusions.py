"""All comparisons in at most three lines, whatever their number; every count is of rows of the report's JSON.

What may be concluded from a comparison and what may not, in sentences that can be quoted alone.

A sentence that is quoted loses the page around it. So it names the system, the test set, the metric, both groups with
their numbers of speakers, the difference with its interval, and the p-value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from audio_ssl.artifacts.fairness import CROSSED, is_significant
from audio_ssl.fairness.comparisons import out_of_reach
from audio_ssl.fairness.wording import capital, measure, people
from audio_ssl.report.language.fairness import (
    TESTED,
    VERDICTS,
    amount,
    p_words,
    significance_words,
    tolerance_words,
    unit_of,
    verdict_of,
    worse_group,
)
from audio_ssl.report.numbers import count, finite, number, score, signed

_Row = Mapping[str, Any]
_MOST_NAMED = 4
_ASSUMED_SPEAKERS = 5


@dataclass(frozen=True)
class VerdictTally:
    """How many comparisons came to which verdict."""

    comparisons: int
    significant: int
    inconclusive: int
    smaller: int
    untested: int
    smaller_significant: int = 0
    """Of those smaller than the tolerance: statistically significant as well."""

    @property
    def tested(self) -> int:
        """Those with a verdict."""
        return self.comparisons - self.untested


def tally(rows: Sequence[_Row]) -> VerdictTally:
    """Count rows of comparisons by verdict.

    Examples
    --------
    >>> tally([{"p_value": 0.01}, {"p_value": 0.2}, {"refused": "few"}])
    VerdictTally(comparisons=3, significant=1, inconclusive=1, smaller=0, untested=1, smaller_significant=0)
    """
    found = [verdict_of(row) for row in rows]
    return VerdictTally(
        len(found),
        found.count("found"),
        found.count("open") + found.count("alone"),
        found.count("smaller"),
        found.count("refused") + found.count("untested"),
        sum(one == "smaller" and bool(is_significant(row)) for one, row in zip(found, rows, strict=True)),
    )


def tally_words(found: VerdictTally) -> str:
    """Say the counts of all verdicts.

    Examples
    --------
    >>> tally_words(VerdictTally(3, 0, 3, 0, 0))
    'Of 3 comparisons between groups, none shows a statistically significant difference, 3 are inconclusive.'
    """
    both, said = found.smaller_significant, []
    # "None shows a significant difference" would be wrong of one that is significant and small.
    if found.significant or not both:
        said.append(_some(found.significant, "shows", "show", "a statistically significant difference"))
    if found.inconclusive:
        said.append(_some(found.inconclusive, "is", "are", "inconclusive"))
    if found.smaller:
        as_well = (
            f" ({'though' if both == found.smaller else f'{both} of them'} statistically significant)" if both else ""
        )
        said.append(_some(found.smaller, "is", "are", f"smaller than the stated tolerance{as_well}"))
    if found.untested:
        said.append(_some(found.untested, "was", "were", "not tested"))
    return f"Of {count(found.comparisons, 'comparison')} between groups, {', '.join(said)}."


def _some(many: int, one: str, several: str, what: str) -> str:
    return f"{many or 'none':{',' if many else ''}} {one if many <= 1 else several} {what}"


def headline(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what all comparisons together allow to conclude, in one to three lines.

    Parameters
    ----------
    reports
        The JSON of one audit or of several.
    """
    pairs = [(row, report) for report in reports for row in report.get("comparisons") or ()]
    rows = [row for row, _ in pairs]
    if not rows:
        return [_nothing_to_compare(reports)]
    found = tally(rows)
    if not found.tested:
        reason = str(next((row["refused"] for row in rows if row.get("refused")), "no test was made")).rstrip(".")
        return [f"No comparison was tested, so nothing may be concluded about other speakers: {reason}."]
    tested = [(row, report) for row, report in pairs if verdict_of(row) in TESTED]
    if found.comparisons == 1:
        return [finding(*tested[0]), _caution(rows)]
    caution = _empty_ones(reports) or _caution(rows)
    significant = [pair for pair in tested if verdict_of(pair[0]) == "found"]
    first = tally_words(found)
    if not significant:
        return [first, caution]
    # Whole attributes before intersections, then the main metric, then the size.
    main = rows[0]["metric"]
    largest = max(
        (row for row, _ in significant),
        key=lambda row: (
            CROSSED not in str(row["by"]), row["metric"] == main, abs(finite(row.get("relative_symmetric")) or 0.0),
        ),
    )  # fmt: skip
    return [first, f"{'The largest' if len(significant) > 1 else 'It is'}: {short_finding(largest)}", caution]


def _empty_ones(reports: Sequence[Mapping[str, Any]]) -> str:
    """Say how many comparisons depend on hypotheses that are empty; nothing where none does."""
    many = sum(bool(row.get("warning")) for report in reports for row in report.get("empty_hypotheses") or ())
    if not many:
        return ""
    verb = "depends" if many == 1 else "depend"
    return f"{count(many, 'comparison')} {verb} on empty hypotheses: find out first why they are empty."


def _nothing_to_compare(reports: Sequence[Mapping[str, Any]]) -> str:
    hidden = [row for report in reports for row in report.get("suppressed") or () if row.get("groups")]
    scored = any(row.get("known", True) for report in reports for row in report.get("groups") or ())
    if not hidden or scored:
        return "There are no two groups to compare, so nothing can be said about a difference."
    named = dict.fromkeys(
        f"{people(str(row['by']), str(row['groups'][0]))}: {count(int(row['speakers']), 'speaker')}" for row in hidden
    )
    more = f" and {len(named) - _MOST_NAMED} more groups" if len(named) > _MOST_NAMED else ""
    fewest = next(
        (one for report in reports if (one := (report.get("provenance") or {}).get("min_group_speakers"))),
        _ASSUMED_SPEAKERS,
    )
    return (
        f"Nothing is scored, because no group has at least {number(fewest)} speakers "
        f"({', '.join(list(named)[:_MOST_NAMED])}{more})."
    )


def _caution(rows: Sequence[_Row]) -> str:
    """Say what an inconclusive comparison does not mean, and how large a difference this data would show."""
    unclear = [row for row in rows if verdict_of(row) in ("open", "alone")]
    if not unclear:
        return "This is about speakers and recordings like these; it does not say why groups differ."
    hopeless = _hopeless(unclear)
    if hopeless:
        return hopeless
    known = [row for row in unclear if finite(row.get("minimum_detectable")) is not None]
    text = "Inconclusive is not the same as no difference"
    if not known:
        return f"{text}."
    main = [row for row in known if row["metric"] == known[0]["metric"]]
    least = min(main, key=lambda row: float(row["minimum_detectable"]))
    size = f"{amount(least['minimum_detectable'], least)} in {measure(least['metric'])}"
    return f"{text}: differences of less than {size} would usually be missed (80\u00a0% power)."


def _hopeless(tested: Sequence[_Row]) -> str:
    """Say where the smallest p-value that the permutations allow is too large for so many comparisons."""
    tries = max(finite(row.get("assignments")) or 0 for row in tested)
    fewest = min(finite(row.get("compared")) or 0 for row in tested)
    if not tries or not out_of_reach(tries, fewest):
        return ""
    return (
        f"With {tries:,.0f} permutations and {fewest:.0f} comparisons none could be statistically significant, however "
        "large the difference: see the notes."
    )


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
