"""All comparisons in at most three lines, whatever their number; every count is of rows of the report's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audio_ssl.fairness.families import out_of_reach
from audio_ssl.fairness.people import CROSSED, measure, people
from audio_ssl.fairness.verdict import is_significant
from audio_ssl.report.fairness_words.conclusions import finding, short_finding
from audio_ssl.report.fairness_words.differences import amount
from audio_ssl.report.numbers import count, finite, number
from audio_ssl.report.verdicts import TESTED, verdict_of

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
