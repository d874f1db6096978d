"""Sentences about single rows of a fairness report: each row says one thing in plain words.

Percentages are relative to the second group, because "women's error rate is 12 % higher than men's" is read so.

What a row of the JSON of the fairness stage is about: its unit, its direction, and the group that fares worse.

A gap is always first minus second group (F − M); whether a positive one
is good or bad for the first group follows from the metric.

What the test of a gap allows to say, in a fixed choice of words.

A verdict follows the p-value adjusted for all comparisons of its family (Holm) where there is one. Reports made before
that was recorded have the plain p-value only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from audio_ssl.artifacts import fairness
from audio_ssl.artifacts.fairness import ALPHA, is_significant
from audio_ssl.fairness.wording import capital, measure, people, that_of, whose
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.numbers import finite, number, p_value, score, signed
from audio_ssl.report.paired import additive

_Row = Mapping[str, Any]
_SPACE = "\u00a0"


def gap_words(row: _Row, interval: bool = True) -> str:
    """Say how large a gap is, with its interval, and for whom it is worse.

    Examples
    --------
    >>> row = {"by": "gender", "metric": "wer", "a": "F", "b": "M", "difference": 2.0, "ratio": 1.125}
    >>> gap_words(row).replace(_SPACE, " ")
    "Women's word error rate is 12 % higher than men's, worse for women."
    """
    by, a, b = str(row["by"]), str(row["a"]), str(row["b"])
    thing, gap, unit = measure(row["metric"]), finite(row.get("difference")), unit_of(row)
    if gap is None:
        return f"{capital(thing)} could not be compared between {people(by, a)} and {people(by, b)}."
    if gap == 0:
        return f"{capital(thing)} is the same for {people(by, a)} and {people(by, b)}."
    first, second = finite(row.get("value_a")), finite(row.get("value_b"))
    ends = interval_words(row) if interval else ""
    told = [f"95{_SPACE}% confidence interval {ends}"] if ends else []
    if first is not None and second is not None and score(first, unit) == score(second, unit):
        told = [score(first, unit), *told]
        whom = f"{people(by, a)} and {people(by, b)}"
        return f"{capital(thing)} is almost the same for {whom} ({'; '.join(told)})."
    size = relative_size(row)
    if size is None:
        size = f"{signed(abs(gap), unit).lstrip('+')} {'higher' if gap > 0 else 'lower'}"
    text = f"{capital(whose(by, a, thing))} is {size} than {that_of(by, b)}"
    if first is not None and second is not None:
        told = [f"{score(first, unit)} against {score(second, unit)}", *told]
    text += f" ({'; '.join(told)})" if told else ""
    worse = worse_group(row)
    return text + (f", worse for {people(by, worse)}." if worse else ".")


def plain_words(row: _Row) -> str:
    """Say a gap in the shortest way that is not misleading: the size, the two scores, and what the test found.

    Examples
    --------
    >>> row = {"by": "gender", "metric": "wer", "a": "F", "b": "M", "difference": 2.0, "ratio": 1.125}
    >>> plain_words({**row, "p_value": 0.4}).replace(_SPACE, " ")
    "Women's word error rate is 12 % higher than men's, worse for women; not statistically significant."
    """
    size = gap_words(row, interval=False).rstrip(".")
    ends_ = {
        "found": "; statistically significant",
        "alone": "; not statistically significant once all comparisons are counted",
        "open": "; not statistically significant",
        "smaller": "; smaller than the stated tolerance",
        "refused": "; not tested, so nothing may be concluded about other speakers",
        "untested": "; not tested",
    }
    gap, verdict = finite(row.get("difference")), verdict_of(row)
    if gap is None or (gap == 0 and verdict in ("open", "smaller")):
        return f"{size}."
    return f"{size}{ends_[verdict]}."


def relative_size(row: _Row) -> str | None:
    """Say "12 % higher" of the first group's score against the second's; None where that has no meaning."""
    ratio = finite(row.get("ratio"))
    relative = finite(row.get("relative_to_b")) if ratio is None else 100 * (ratio - 1)
    return None if relative is None else percent_words(relative)


def percent_words(relative: float) -> str:
    r"""Write a relative difference in percent with its direction.

    Examples
    --------
    >>> percent_words(12.4), percent_words(-3.21), percent_words(0.001)
    ('12\xa0% higher', '3\xa0% lower', '0.0\xa0% higher')
    """
    return f"{_size(relative)}{_SPACE}% {_way(relative)}"


def interval_words(row: _Row) -> str:
    """Say the interval of the relative difference; of the plain one where only that is known; nothing without."""
    low, high = finite(row.get("ratio_low")), finite(row.get("ratio_high"))
    if low is not None and high is not None:
        low, high = 100 * (low - 1), 100 * (high - 1)
        if _way(low) == _way(high):
            return f"{_size(low)} to {percent_words(high)}"
        return f"{percent_words(low)} to {percent_words(high)}"
    low, high = finite(row.get("low")), finite(row.get("high"))
    if low is None or high is None:
        return ""
    plain = "points" if unit_of(row) else ""
    return f"{signed(low, plain)} to {signed(high, unit_of(row))}"


def test_words(row: _Row) -> str:
    """Say whether a difference is statistically significant, or why that was not tested."""
    verdict = verdict_of(row)
    if verdict == "refused":
        return f"Not tested, so nothing may be concluded about other speakers: {str(row['refused']).rstrip('.')}."
    if verdict == "untested":
        return "No test was made."
    tested = p_words(row)
    if verdict == "smaller":
        return f"It is {tolerance_words(row)}; {significance_words(row)} ({tested})."
    if verdict == "alone":
        return f"The difference is not statistically significant once all comparisons are counted ({tested})."
    return f"The difference is {significance_words(row)} ({tested})."


def significance_words(row: _Row) -> str:
    """Say whether a difference is statistically significant, in the words that follow "is"."""
    significant = is_significant(row)
    if significant is None:
        return "not tested for statistical significance"
    return "statistically significant" if significant else "not statistically significant"


def tolerance_words(row: _Row) -> str:
    """Say that a difference is smaller than the stated tolerance, with the interval that shows it."""
    unit = unit_of(row)
    ends = f"{signed(row['low_90'], 'points' if unit else '')} to {signed(row['high_90'], unit)}"
    return (
        f"smaller than the stated tolerance of {amount(row['tolerance'], row)} (90{_SPACE}% confidence interval {ends})"
    )


def p_words(row: _Row) -> str:
    """Say the p-value, and the Holm-adjusted one where there are several comparisons."""
    many, adjusted = finite(row.get("compared")), finite(row.get("p_holm"))
    if finite(row.get("p_value")) is None:
        return "no p-value"
    text = _equals("p", row.get("p_value"))
    if adjusted is not None and many and many > 1:
        text += f", {_equals('Holm-adjusted p', adjusted)} for {many:.0f} comparisons"
    return text


def _equals(name: str, value: Any) -> str:
    return f"{name}{_SPACE}={_SPACE}{p_value(value)}".replace(f"={_SPACE}<", "<")


def amount(value: Any, row: _Row) -> str:
    """Write the size of a difference without a sign."""
    return signed(value, unit_of(row)).lstrip("+")


def detectable_words(row: _Row) -> str:
    """Say the minimum detectable difference; nothing where that is not known."""
    least = finite(row.get("minimum_detectable"))
    if least is None or row.get("refused"):
        return ""
    relative = finite(row.get("minimum_detectable_relative"))
    share = f" ({_size(relative)}{_SPACE}% of the mean score)" if relative is not None else ""
    return (
        f"The minimum detectable difference (80{_SPACE}% power) is {amount(least, row)}{share}; smaller ones would "
        "usually be missed."
    )


def comparison_words(row: _Row) -> str:
    """Say everything about a comparison: the gap, the test, what it could have found."""
    return " ".join(filter(None, (gap_words(row), test_words(row), detectable_words(row))))


def spread_words(row: _Row) -> str:
    """Say which groups fare best and worst and how far they are apart."""
    by, unit = str(row["by"]), unit_of(row)
    worst, best, gap = row.get("worst"), row.get("best"), finite(row.get("difference"))
    if gap is None or worst is None or best is None:
        return ""
    ratio = finite(row.get("ratio"))
    times = f", a ratio of {number(ratio)}" if ratio is not None else ""
    among = finite(row.get("groups"))
    of_many = f"Of {among:.0f} groups, the" if among and among > 2 else "The"
    size = signed(abs(gap), unit).lstrip("+")
    whole = finite(row.get("overall"))
    overall = f"; over all scored groups it is {score(whole, unit)}" if whole is not None else ""
    return (
        f"{of_many} {measure(row['metric'])} is worst for {people(by, str(worst))} and best for "
        f"{people(by, str(best))}: {size} apart{times}{overall}."
    )


def model_words(row: _Row) -> str:
    """Say what the mixed model makes of a gap, beside the plain ratio."""
    by, a, b = str(row["by"]), str(row["a"]), str(row["b"])
    pair = f"{people(by, a)} and {people(by, b)}"
    if row.get("refused"):
        return f"{metric_label(row['metric'])}, {pair}: no model was fitted: {str(row['refused']).rstrip('.')}."
    ratio, low, high = (finite(row.get(key)) for key in ("ratio", "low", "high"))
    if ratio is None:
        return f"{metric_label(row['metric'])}, {pair}: the model gave no ratio."
    text = (
        f"{capital(whose(by, a, measure(row['metric'])))} is {percent_words(100 * (ratio - 1))} than {that_of(by, b)}"
    )
    if low is not None and high is not None:
        text += (
            f" (95{_SPACE}% confidence interval {interval_words({'metric': '', 'ratio_low': low, 'ratio_high': high})})"
        )
    if row.get("covariates"):
        text += f" among clips alike in {covariates_words(row)}"
    crude = finite(row.get("crude_ratio"))
    return text + (f"; without the model it is {percent_words(100 * (crude - 1))}." if crude is not None else ".")


def covariates_words(row: _Row) -> str:
    """Name the covariates of a model.

    Examples
    --------
    >>> covariates_words({"covariates": ["seconds", "words_per_second"]})
    'duration and speech rate'
    """
    names = [covariate_label(name) for name in row.get("covariates") or ()]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def covariate_label(name: Any) -> str:
    """Call a covariate by a word."""
    words = {"seconds": "duration", "words_per_second": "speech rate", "level_dbfs": "level"}
    return words.get(str(name), str(name).replace("_", " "))


def gap_difference_words(row: _Row) -> str:
    """Say whether the gap of one system is larger than that of another."""
    by, unit = str(row["by"]), unit_of(row)
    pair = f"{people(by, str(row['a']))} and {people(by, str(row['b']))}"
    gap_a, gap_b = finite(row.get("gap_a")), finite(row.get("gap_b"))
    change = finite(row.get("difference"))
    if gap_a is None or gap_b is None or change is None:
        return f"The gaps of {row['result_a']} and {row['result_b']} between {pair} could not be compared."
    text = (
        f"In {measure(row['metric'])}, the gap between {pair} is {signed(gap_a, unit)} with {row['result_a']} and "
        f"{signed(gap_b, unit)} with {row['result_b']}: a difference of {signed(change, unit)}"
    )
    low, high = finite(row.get("low")), finite(row.get("high"))
    plain = "points" if unit else ""
    if low is not None and high is not None:
        text += f" (95{_SPACE}% confidence interval {signed(low, plain)} to {signed(high, plain)})"
    if verdict_of(row) == "found" and change:
        text += _whose_gap(row, gap_a, gap_b)
    return f"{text}. {test_words(row)}"


def _whose_gap(row: _Row, gap_a: float, gap_b: float) -> str:
    """Say for whom each gap is worse: a gap may grow or shrink and stay worse for the same group, or turn round."""
    by, systems = str(row["by"]), (str(row["result_a"]), str(row["result_b"]))
    worse = [worse_group({**row, "difference": gap}) for gap in (gap_a, gap_b)]
    if worse[0] is not None and worse[0] == worse[1]:
        larger = systems[0] if abs(gap_a) > abs(gap_b) else systems[1]
        return f"; with both systems it is worse for {people(by, worse[0])}, and larger with {larger}"
    told = [f"worse for {people(by, one)} with {name}" for one, name in zip(worse, systems, strict=True) if one]
    return f"; it is {' and '.join(told)}" if told else ""


def better_words(row: _Row) -> str:
    """Say which way a row's metric is better; nothing where that is not known."""
    higher = higher_is_better(row)
    return "" if higher is None else ("higher is better" if higher else "lower is better")


def _size(relative: float) -> str:
    return f"{abs(relative):.0f}" if abs(relative) >= 2.95 else f"{abs(relative):.1f}"


def _way(relative: float) -> str:
    return "higher" if relative >= 0 else "lower"


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


TESTED: tuple[Verdict, ...] = ("found", "alone", "open", "smaller")
Verdict = Literal["found", "alone", "open", "smaller", "refused", "untested"]
VERDICTS: dict[Verdict, str] = {
    "found": fairness.SIGNIFICANT,
    "alone": fairness.INCONCLUSIVE,
    "open": fairness.INCONCLUSIVE,
    "smaller": fairness.SMALLER,
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
    said = fairness.verdict(row)
    if said == fairness.SMALLER:
        return "smaller"
    plain = finite(row.get("p_value"))
    if said is None or plain is None:
        return "untested"
    if said == fairness.SIGNIFICANT:
        return "found"
    return "alone" if plain < ALPHA else "open"
