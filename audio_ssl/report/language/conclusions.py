"""All comparisons in at most three lines, whatever their number; every count is of rows of the report's JSON.

What may be concluded from a comparison and what may not, in sentences that can be quoted alone.

A sentence that is quoted loses the page around it. So it names the system, the test set, the metric, both groups with
their numbers of speakers, the difference with its interval, and the p-value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from audio_ssl.artifacts.fairness import CROSSED, GapOutcome, GroupComparison
from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.fairness.comparisons import out_of_reach
from audio_ssl.fairness.wording import capital, people
from audio_ssl.metrics.registry import metric_phrase
from audio_ssl.report.language.fairness import amount, p_words, significance_words, tolerance_words, worse_group
from audio_ssl.report.language.fairness_cells import points_of, unit_of
from audio_ssl.report.language.phrases import one_of
from audio_ssl.report.numbers import HARD_SPACE, count, defined, number, score, signed

_MOST_NAMED = 4


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


def tally(rows: Sequence[GroupComparison]) -> VerdictTally:
    """Count rows of comparisons by verdict."""
    found = [row.outcome for row in rows]
    return VerdictTally(
        len(found),
        found.count(GapOutcome.FOUND),
        found.count(GapOutcome.OPEN) + found.count(GapOutcome.ALONE),
        found.count(GapOutcome.SMALLER),
        found.count(GapOutcome.REFUSED) + found.count(GapOutcome.UNTESTED),
        sum(row.outcome == GapOutcome.SMALLER and bool(row.significant) for row in rows),
    )


def tally_words(found: VerdictTally) -> str:
    """Say the counts of all verdicts.

    Examples
    --------
    >>> tally_words(VerdictTally(3, 0, 3, 0, 0))
    'Of 3 comparisons between groups, none shows a statistically significant difference and 3 are inconclusive.'
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
    return f"Of {count(found.comparisons, 'comparison')} between groups, {one_of(said, 'and')}."


def _some(many: int, one: str, several: str, what: str) -> str:
    return f"{many or 'none':{',' if many else ''}} {one if many <= 1 else several} {what}"


def fairness_answer(report: FairnessReport) -> dict[str, list[str]]:
    """Answer in one to three lines whether groups fare differently, and how sure that is."""
    return {"in short": headline([report])}


def headline(reports: Sequence[FairnessReport]) -> list[str]:
    """Say what all comparisons together allow to conclude, in one to three lines."""
    pairs = [(row, report) for report in reports for row in report.comparisons]
    rows = [row for row, _ in pairs]
    if not rows:
        return [_nothing_to_compare(reports)]
    found = tally(rows)
    if not found.tested:
        reason = next((row.refused for row in rows if row.refused), "no test was made").rstrip(".")
        return [f"No comparison was tested, so nothing may be concluded about other speakers: {reason}."]
    tested = [(row, report) for row, report in pairs if row.outcome.tested]
    if found.comparisons == 1:
        return [finding(*tested[0]), _caution(rows)]
    caution = _empty_ones(reports) or _caution(rows)
    significant = [row for row, _ in tested if row.outcome == GapOutcome.FOUND]
    first = tally_words(found)
    if not significant:
        return [first, caution]
    # Whole attributes before intersections, then the main metric, then the size.
    main = rows[0].metric
    largest = max(
        significant, key=lambda row: (CROSSED not in row.by, row.metric == main, _or_zero(row.relative_symmetric))
    )
    which = "The largest difference" if len(significant) > 1 else "The difference"
    return [first, f"{which} is in {short_finding(largest)}", caution]


def _or_zero(value: float) -> float:
    return abs(value) if defined(value) else 0.0


def _empty_ones(reports: Sequence[FairnessReport]) -> str:
    """Say how many comparisons depend on hypotheses that are empty; nothing where none does."""
    many = sum(bool(row.warning) for report in reports for row in report.empty_hypotheses)
    if not many:
        return ""
    verb = "depends" if many == 1 else "depend"
    return f"{count(many, 'comparison')} {verb} on empty hypotheses. Find out first why they are empty."


def _nothing_to_compare(reports: Sequence[FairnessReport]) -> str:
    hidden = [row for report in reports for row in report.suppressed if row.groups]
    scored = any(row.known for report in reports for row in report.groups)
    if not hidden or scored:
        return "There are no two groups to compare."
    named = dict.fromkeys(f"{people(row.by, row.groups[0])}: {count(row.speakers, 'speaker')}" for row in hidden)
    more = f" and {len(named) - _MOST_NAMED} more groups" if len(named) > _MOST_NAMED else ""
    origin = reports[0].provenance
    fewest = origin.min_group_speakers or origin.min_speakers
    return (
        f"No group is scored, because none has at least {number(fewest)} speakers "
        f"({', '.join(list(named)[:_MOST_NAMED])}{more})."
    )


def _caution(rows: Sequence[GroupComparison]) -> str:
    """Say what an inconclusive comparison does not mean, and how large a difference this data would show."""
    unclear = [row for row in rows if row.outcome in (GapOutcome.OPEN, GapOutcome.ALONE)]
    if not unclear:
        return "This holds for speakers and recordings like these. It does not say why the groups differ."
    hopeless = _hopeless(unclear)
    if hopeless:
        return hopeless
    known = [row for row in unclear if defined(row.minimum_detectable)]
    text = "Inconclusive does not mean equal"
    if not known:
        return f"{text}."
    least = min((row for row in known if row.metric == known[0].metric), key=lambda row: row.minimum_detectable)
    size = f"{metric_phrase(least.metric)} is {amount(least.minimum_detectable, least)}"
    return f"{text}: the minimum detectable difference in {size} (80\u00a0% power)."


def _hopeless(tested: Sequence[GroupComparison]) -> str:
    """Say where the smallest p-value that the permutations allow is too large for so many comparisons."""
    tries, fewest = max(row.assignments or 0 for row in tested), min(row.compared for row in tested)
    if not tries or not out_of_reach(tries, fewest):
        return ""
    return (
        f"With {tries:,} permutations and {fewest} comparisons no difference can be statistically significant, "
        "however large it is: see the notes."
    )


class Conclusion(NamedTuple):
    """What is said of one comparison."""

    subject: str
    """System, metric and groups, for a heading."""
    finding: str
    """The numbers and the verdict, to be quoted."""
    may: str
    may_not: str


def conclusion(row: GroupComparison, report: FairnessReport) -> Conclusion:
    """Say what follows from a comparison of a report that was tested."""
    may, may_not = _allowed(row)
    return Conclusion(
        _subject(row), finding(row, report), f"May be concluded: {may}", f"May not be concluded: {may_not}"
    )


def finding(row: GroupComparison, report: FairnessReport) -> str:
    """Say the numbers of a comparison and its verdict so that they can be quoted alone."""
    unit = unit_of(row)
    ends = f"{_interval(row)}; " if defined(row.low) else ""
    found = f"The difference is {significance_words(row)}."
    if row.outcome == GapOutcome.SMALLER:
        # Whoever quotes it must not leave out how large the tolerance is, nor that the difference may be significant.
        found = f"The difference is {tolerance_words(row)}. It is {significance_words(row)}."
    elif row.outcome != GapOutcome.FOUND:
        found = f"{found[:-1]}, so the comparison is inconclusive."
    test_set = report.statement.test_set if report.statement else None
    where = " on ".join(filter(None, (row.result, test_set)))
    begin = f"{where}: the" if where else "The"
    return (
        f"{begin} {metric_phrase(row.metric)} is {score(row.value_a, unit)} for "
        f"{_group(row.by, row.a, row.speakers_a)} and {score(row.value_b, unit)} for "
        f"{_group(row.by, row.b, row.speakers_b)}, a difference of "
        f"{signed(row.difference, unit)} ({ends}permutation test over speakers, {p_words(row)}). {found}"
        f"{_without_empty(row, report)}"
    )


def _interval(row: GroupComparison) -> str:
    ends = f"{signed(row.low, points_of(row))} to {signed(row.high, unit_of(row))}"
    return f"95{HARD_SPACE}% confidence interval {ends}"


def _without_empty(row: GroupComparison, report: FairnessReport) -> str:
    """Say what empty hypotheses decide: who quotes the finding must not leave it out."""
    found = next(
        (one for one in report.empty_hypotheses if (one.result, one.by, one.metric, one.a, one.b) == row.key), None
    )
    return f" But {found.warning}." if found is not None and found.warning else ""


def short_finding(row: GroupComparison) -> str:
    """Say the groups, the metric, both scores and the difference of a comparison, for a line of a headline."""
    by, unit = row.by, unit_of(row)
    where = f" with {row.result}" if row.result else ""
    ends = "" if not defined(row.low) else f" ({_interval(row)})"
    return (
        f"{metric_phrase(row.metric)}{where}: {score(row.value_a, unit)} for {people(by, row.a)} and "
        f"{score(row.value_b, unit)} for {people(by, row.b)}, {signed(row.difference, unit)}{ends}."
    )


def _subject(row: GroupComparison) -> str:
    thing = metric_phrase(row.metric)
    # A system's name stays as it is written.
    where = f"{row.result}, {thing}" if row.result else capital(thing)
    return f"{where}, {people(row.by, row.a)} and {people(row.by, row.b)}"


def _group(by: str, name: str, speakers: int | None) -> str:
    return people(by, name) + ("" if speakers is None else f" ({count(speakers, 'speaker')})")


def _allowed(row: GroupComparison) -> tuple[str, str]:
    by, thing = row.by, metric_phrase(row.metric)
    first, second = people(by, row.a), people(by, row.b)
    if row.outcome == GapOutcome.FOUND:
        higher = "higher" if row.difference > 0 else "lower"
        worse = worse_group(row)
        whom = f" (worse for {people(by, worse)})" if worse else ""
        return (
            f"for speakers and recordings like these, the {thing} is {higher} for {first} than for {second}{whom}.",
            "that the group is the cause (groups can differ in what they said and how they were recorded), that every "
            "speaker of the group fares worse, or that the difference is exactly as large as measured.",
        )
    if row.outcome == GapOutcome.SMALLER:
        return (
            f"for speakers and recordings like these, the difference in {thing} between {first} and {second} is "
            f"{tolerance_words(row)}. It is {significance_words(row)}.",
            "that there is no difference at all, or that so small a difference is harmless. The tolerance was chosen "
            "by whoever ordered the audit.",
        )
    least = row.minimum_detectable
    usual = (
        f"The minimum detectable difference is {amount(least, row)} (80{HARD_SPACE}% power)."
        if defined(least)
        else "The minimum detectable difference cannot be estimated."
    )
    return (
        f"the data does not decide whether the {thing} differs between {first} and {second}. {usual}",
        f"that there is no difference, or that the system treats {first} and {second} alike.",
    )
