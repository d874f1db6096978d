"""Sentences about single rows of a fairness report: each row says one thing in plain words.

Percentages are relative to the second group, because "women's error rate is 12 % higher than men's" is read so. A gap
is always the first group's score minus the second's (F − M). Which group it is worse for follows from the metric.
"""

from __future__ import annotations

from audio_ssl.artifacts.fairness import (
    AdjustedRatio,
    GapOutcome,
    GroupComparison,
    GroupSpread,
    SystemComparison,
)
from audio_ssl.fairness.wording import capital, people, that_of, whose
from audio_ssl.metrics.registry import metric_label, metric_phrase
from audio_ssl.report.language.fairness_cells import points_of, relative_ends, unit_of
from audio_ssl.report.numbers import HARD_SPACE, defined, number, p_value, score, signed

_TestedRow = GroupComparison | SystemComparison


def gap_words(row: GroupComparison, interval: bool = True) -> str:
    """Say how large a gap is, with its interval, and for whom it is worse."""
    by, a, b = row.by, row.a, row.b
    thing, unit = metric_phrase(row.metric), unit_of(row)
    both = f"{people(by, a)} and {people(by, b)}"
    if not defined(row.difference):
        return f"{capital(thing)} could not be compared between {both}."
    if row.difference == 0:
        return f"{capital(thing)} is the same for {both}."
    ends = interval_words(row) if interval else ""
    told = [f"95{HARD_SPACE}% confidence interval {ends}"] if ends else []
    scores = [score(value, unit) for value in (row.value_a, row.value_b)]
    if scores[0] == scores[1] and defined(row.value_a):
        return f"{capital(thing)} is almost the same for {both} ({'; '.join([scores[0], *told])})."
    if defined(row.relative):
        size = percent_words(row.relative)
    else:
        size = f"{amount(abs(row.difference), row)} {'higher' if row.difference > 0 else 'lower'}"
    text = f"{capital(whose(by, a, thing))} is {size} than {that_of(by, b)}"
    if defined(row.value_a) and defined(row.value_b):
        told = [" against ".join(scores), *told]
    text += f" ({'; '.join(told)})" if told else ""
    worse = worse_group(row)
    return text + (f", worse for {people(by, worse)}." if worse else ".")


_IN_SHORT = {
    GapOutcome.FOUND: "; statistically significant",
    GapOutcome.ALONE: "; not statistically significant after Holm adjustment",
    GapOutcome.OPEN: "; not statistically significant",
    GapOutcome.SMALLER: "; smaller than the stated tolerance",
    GapOutcome.REFUSED: "; not tested, so nothing may be concluded about other speakers",
    GapOutcome.UNTESTED: "; not tested",
}


def plain_words(row: GroupComparison) -> str:
    """Say a gap in the shortest way that is not misleading: the size, the two scores, and what the test found."""
    size = gap_words(row, interval=False).rstrip(".")
    plain = row.difference == 0 and row.outcome in (GapOutcome.OPEN, GapOutcome.SMALLER)
    return f"{size}." if not defined(row.difference) or plain else f"{size}{_IN_SHORT[row.outcome]}."


def percent_words(relative: float) -> str:
    r"""Write a relative difference in percent with its direction.

    Examples
    --------
    >>> percent_words(12.4), percent_words(-3.21), percent_words(0.001)
    ('12\xa0% higher', '3\xa0% lower', '0.0\xa0% higher')
    """
    return f"{_size(relative)}{HARD_SPACE}% {_way(relative)}"


def interval_words(row: GroupComparison) -> str:
    """Say the interval of the relative difference; of the plain one where only that is known; nothing without."""
    low, high = relative_ends(row)
    if defined(low):
        return _relative_interval(low, high)
    if not defined(row.low):
        return ""
    return f"{signed(row.low, points_of(row))} to {signed(row.high, unit_of(row))}"


def _relative_interval(low: float, high: float) -> str:
    if _way(low) == _way(high):
        return f"{_size(low)} to {percent_words(high)}"
    return f"{percent_words(low)} to {percent_words(high)}"


def test_words(row: _TestedRow) -> str:
    """Say whether a difference is statistically significant, or why that was not tested."""
    outcome = row.outcome
    if outcome == GapOutcome.REFUSED:
        return f"Not tested, so nothing may be concluded about other speakers: {str(row.refused).rstrip('.')}."
    if outcome == GapOutcome.UNTESTED:
        return "No test was made."
    tested = p_words(row)
    if isinstance(row, GroupComparison) and outcome == GapOutcome.SMALLER:
        return f"It is {tolerance_words(row)}. It is {significance_words(row)} ({tested})."
    if outcome == GapOutcome.ALONE:
        return f"The difference is not statistically significant after Holm adjustment ({tested})."
    return f"The difference is {significance_words(row)} ({tested})."


def significance_words(row: _TestedRow) -> str:
    """Say whether a difference is statistically significant, in the words that follow "is"."""
    if row.significant is None:
        return "not tested for statistical significance"
    return "statistically significant" if row.significant else "not statistically significant"


def tolerance_words(row: GroupComparison) -> str:
    """Say that a difference is smaller than the stated tolerance, with the interval that shows it."""
    ends = f"{signed(row.low_90, points_of(row))} to {signed(row.high_90, unit_of(row))}"
    tolerance = amount(row.tolerance or 0.0, row)
    return f"smaller than the stated tolerance of {tolerance} (90{HARD_SPACE}% confidence interval {ends})"


def p_words(row: _TestedRow) -> str:
    """Say the p-value, and the Holm-adjusted one where there are several comparisons."""
    if not defined(row.p_value):
        return "no p-value"
    text = _equals("p", row.p_value)
    if row.compared > 1 and defined(row.p_holm):
        text += f", {_equals('Holm-adjusted p', row.p_holm)} for {row.compared} comparisons"
    return text


def _equals(name: str, value: float) -> str:
    return f"{name}{HARD_SPACE}={HARD_SPACE}{p_value(value)}".replace(f"={HARD_SPACE}<", "<")


def amount(value: float, row: _TestedRow) -> str:
    """Write the size of a difference without a sign."""
    return signed(value, unit_of(row)).lstrip("+")


def detectable_words(row: GroupComparison) -> str:
    """Say the minimum detectable difference; nothing where that is not known."""
    if not defined(row.minimum_detectable) or row.refused:
        return ""
    relative = row.minimum_detectable_relative
    share = f", {_size(relative)}{HARD_SPACE}% of the mean score" if defined(relative) else ""
    return f"The minimum detectable difference (80{HARD_SPACE}% power) is {amount(row.minimum_detectable, row)}{share}."


def comparison_words(row: GroupComparison) -> str:
    """Say everything about a comparison: the gap, the test, what it could have found."""
    return " ".join(filter(None, (gap_words(row), test_words(row), detectable_words(row))))


def spread_words(row: GroupSpread) -> str:
    """Say which groups fare best and worst and how far they are apart."""
    by, unit = row.by, unit_of(row)
    if not defined(row.difference) or row.worst is None or row.best is None:
        return ""
    times = f" (ratio {number(row.ratio)})" if defined(row.ratio) else ""
    of_many = f"Of {row.groups} groups, the" if row.groups > 2 else "The"
    size = signed(abs(row.difference), unit).lstrip("+")
    overall = f" Over all scored groups it is {score(row.overall, unit)}." if defined(row.overall) else ""
    return (
        f"{of_many} {metric_phrase(row.metric)} is worst for {people(by, row.worst)} and best for "
        f"{people(by, row.best)}. The two are {size} apart{times}.{overall}"
    )


def model_words(row: AdjustedRatio, several: bool = True) -> str:
    """Say what the mixed model makes of a gap, beside the plain ratio, and the p-value; of `several` systems which."""
    where, metric = f"{row.result}: " if several and row.result else "", metric_label(row.metric)
    pair = f"{people(row.by, row.a)} and {people(row.by, row.b)}"
    if row.refused:
        return f"{where}{metric}, {pair}: no model was fitted: {row.refused.rstrip('.')}."
    if not defined(row.ratio):
        return f"{where}{metric}, {pair}: the model gave no ratio."
    told = []
    if defined(row.low) and defined(row.high):
        ends = _relative_interval(100 * (row.low - 1), 100 * (row.high - 1))
        told.append(f"95{HARD_SPACE}% confidence interval {ends}")
    told += [_equals("p", row.p_value)] if defined(row.p_value) else []
    size = percent_words(100 * (row.ratio - 1)) + f" than {that_of(row.by, row.b)}"
    fixed = f"With {covariates_words(row)} held fixed" if row.covariates else "In the mixed model"
    text = f"{where}{fixed}, {whose(row.by, row.a, metric_phrase(row.metric))} is {size}"
    text += f" ({'; '.join(told)})." if told else "."
    crude = f" Without the model it is {percent_words(100 * (row.crude_ratio - 1))}."
    return text + (crude if defined(row.crude_ratio) else "")


def refusals_words(rows: list[AdjustedRatio]) -> str:
    """Say of many models that none was fitted, with one of the reasons."""
    reason = str(rows[0].refused or "no reason is given").rstrip(".")
    return f"For {len(rows)} pairs of groups no model was fitted. One of the reasons: {reason}."


def covariates_words(row: AdjustedRatio) -> str:
    """Name the covariates of a model: "duration and speech rate"."""
    names = [covariate_label(name) for name in row.covariates]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def covariate_label(name: str) -> str:
    """Call a covariate by a word."""
    words = {"seconds": "duration", "words_per_second": "speech rate", "level_dbfs": "level"}
    return words.get(name, name.replace("_", " "))


def gap_difference_words(row: SystemComparison) -> str:
    """Say whether the gap of one system is larger than that of another."""
    unit, pair = unit_of(row), f"{people(row.by, row.a)} and {people(row.by, row.b)}"
    if not defined(row.difference):
        return f"The gaps of {row.result_a} and {row.result_b} between {pair} could not be compared."
    text = (
        f"In {metric_phrase(row.metric)}, the gap between {pair} is {signed(row.gap_a, unit)} with {row.result_a} and "
        f"{signed(row.gap_b, unit)} with {row.result_b}, a difference of {signed(row.difference, unit)}"
    )
    if defined(row.low):
        ends = " to ".join(signed(end, points_of(row)) for end in (row.low, row.high))
        text += f" (95{HARD_SPACE}% confidence interval {ends})"
    if row.outcome == GapOutcome.FOUND and row.difference:
        text += _whose_gap(row)
    return f"{text}. {test_words(row)}"


def _whose_gap(row: SystemComparison) -> str:
    """Say for whom each gap is worse: a gap may grow or shrink and stay worse for the same group, or turn round."""
    by, systems = row.by, (row.result_a, row.result_b)
    worse = [worse_of(row, gap) for gap in (row.gap_a, row.gap_b)]
    if worse[0] is not None and worse[0] == worse[1]:
        larger = systems[0] if abs(row.gap_a) > abs(row.gap_b) else systems[1]
        return f". With both systems it is worse for {people(by, worse[0])}; it is larger with {larger}"
    told = [f"worse for {people(by, one)} with {name}" for one, name in zip(worse, systems, strict=True) if one]
    return f". It is {' and '.join(told)}" if told else ""


def _size(relative: float) -> str:
    return f"{abs(relative):.0f}" if abs(relative) >= 2.95 else f"{abs(relative):.1f}"


def _way(relative: float) -> str:
    return "higher" if relative >= 0 else "lower"


def worse_group(row: GroupComparison) -> str | None:
    """Return the group a comparison is worse for; None where there is no gap."""
    return worse_of(row, row.difference)


def worse_of(row: _TestedRow, gap: float) -> str | None:
    """Return the group that a gap is worse for; None where there is no gap."""
    if not gap or not defined(gap):
        return None
    return row.b if (gap > 0) == row.higher_is_better else row.a
