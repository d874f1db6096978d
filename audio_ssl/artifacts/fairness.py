"""Rows of a fairness report: scores of groups, gaps between them, and the verdict on a gap.

What may be said of a difference between two groups: exactly one of three verdicts, or none where nothing was tested.

A tolerance comes first: whoever names one has said which differences do not matter. A difference counts as smaller if
its 90 % interval lies within the tolerance, which is two one-sided tests at 5 % (Schuirmann 1987). It may be
statistically significant as well; the report says both.

A number that is not defined is NaN here and null in the file. Fields are in the order of the file's keys;
``report/schemas/fairness.json`` says what each means. The report itself is `audio_ssl.artifacts.fairness_report`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from audio_ssl.artifacts.records import absent

CROSSED = " × "
"""Between the attributes, and the values, of an intersection."""
ALL, UNKNOWN, REST = "all", "unknown", "all others"
"""Rows that are no recorded group: all clips, speakers without a value, and whoever is not in the group beside."""

ALPHA = 0.05
"""Level of a test; of several, Holm's method begins at this over their number."""

Verdict = Literal[
    "statistically significant difference",
    "no statistically significant difference; inconclusive",
    "difference smaller than the stated tolerance",
]
SIGNIFICANT: Verdict = "statistically significant difference"
INCONCLUSIVE: Verdict = "no statistically significant difference; inconclusive"
SMALLER: Verdict = "difference smaller than the stated tolerance"
VERDICTS: tuple[Verdict, ...] = (SIGNIFICANT, INCONCLUSIVE, SMALLER)


class GapOutcome(StrEnum):
    """What the test of a difference came to."""

    FOUND = "found"
    """Statistically significant, with all comparisons counted."""
    ALONE = "alone"
    """Significant only if it had been the only comparison."""
    OPEN = "open"
    """Not statistically significant."""
    SMALLER = "smaller"
    """Within the stated tolerance."""
    REFUSED = "refused"
    UNTESTED = "untested"

    @property
    def tested(self) -> bool:
        """Whether there is a verdict."""
        return self not in (GapOutcome.REFUSED, GapOutcome.UNTESTED)


_VERDICT_OF: dict[GapOutcome, Verdict] = {
    GapOutcome.FOUND: SIGNIFICANT,
    GapOutcome.ALONE: INCONCLUSIVE,
    GapOutcome.OPEN: INCONCLUSIVE,
    GapOutcome.SMALLER: SMALLER,
}


class TriedGap:
    """A row with a p-value, or the reason why it has none."""

    p_value: float
    refused: str | None

    @property
    def adjusted_p(self) -> float:
        """The p-value that counts: adjusted for all comparisons where that is known."""
        return self.p_value

    @property
    def within_tolerance(self) -> bool:
        """Whether the difference is smaller than a stated tolerance."""
        return False

    @property
    def significant(self) -> bool | None:
        """Whether the p-value that counts is below `ALPHA`; None where there was no test."""
        return None if math.isnan(self.p_value) else self.adjusted_p < ALPHA

    @property
    def outcome(self) -> GapOutcome:
        """What the test came to."""
        if self.refused:
            return GapOutcome.REFUSED
        if self.within_tolerance:
            return GapOutcome.SMALLER
        if self.significant is None:
            return GapOutcome.UNTESTED
        if self.significant:
            return GapOutcome.FOUND
        return GapOutcome.ALONE if self.p_value < ALPHA else GapOutcome.OPEN

    @property
    def verdict(self) -> Verdict | None:
        """What may be said; None where nothing was tested."""
        return _VERDICT_OF.get(self.outcome)


@cache
def blank(cls: type) -> Mapping[str, Any]:
    """Return the fields of a row that must be given, as they are where nothing is known: NaN, None or empty."""
    found: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for one in (one for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING):
        hint = hints[one.name]
        if hint is float:
            found[one.name] = math.nan
        elif type(None) in get_args(hint):
            found[one.name] = None
        elif get_origin(hint) in (tuple, dict):
            found[one.name] = get_origin(hint)()
    return found


class AdjustedGap(TriedGap):
    """A tried gap whose p-value is adjusted for all comparisons of its family, where that is known."""

    p_holm: float

    @property
    def adjusted_p(self) -> float:
        """The Holm-adjusted p-value, or the plain one where there is no other."""
        return self.p_value if math.isnan(self.p_holm) else self.p_holm


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """What every row about one metric of one system begins with."""

    result: str
    by: str
    metric: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class GroupScore(MetricRow):
    """The score of one group of speakers, or of all scored groups together (`total`)."""

    group: str
    known: bool
    total: bool
    value: float
    low: float
    high: float
    speakers: int
    clips: int
    words: int | None
    hours: float
    empty_references: int | None
    empty_hypotheses: int | None = absent(None)
    """None where there is no text."""
    missing_hypotheses: int | None = absent(None)


@dataclass(frozen=True, kw_only=True)
class GroupComparison(AdjustedGap, MetricRow):
    """The gap between two groups, first minus second. The file has its `verdict` as well.

    Examples
    --------
    >>> from dataclasses import replace
    >>> about = MetricRow(result="r", by="gender", metric="wer", unit="%", higher_is_better=False)
    >>> row = GroupComparison.untested(about, "F", "M", "women fare worse")
    >>> row.verdict, replace(row, p_value=0.03, p_holm=0.12).verdict
    (None, 'no statistically significant difference; inconclusive')
    >>> replace(row, p_value=0.4, tolerance=1.0, low_90=-0.4, high_90=0.9).verdict
    'difference smaller than the stated tolerance'
    """

    a: str
    b: str
    value_a: float
    value_b: float
    speakers_a: int | None
    speakers_b: int | None
    difference: float
    low: float
    high: float
    low_90: float
    high_90: float
    standard_error: float
    degrees_of_freedom: float
    relative_symmetric: float
    relative_symmetric_low: float
    relative_symmetric_high: float
    relative_to_b: float
    ratio: float
    ratio_low: float
    ratio_high: float
    p_value: float
    p_exact: bool | None
    assignments: int | None
    p_holm: float
    compared: int
    minimum_detectable: float
    minimum_detectable_relative: float
    tolerance: float | None
    direction: str
    refused: str | None
    warning: str | None

    @property
    def family(self) -> tuple[str, str]:
        """The system and metric, whose tests are adjusted together."""
        return self.result, self.metric

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """System, attribute, metric and groups: what this row shares with the same gap counted in another way."""
        return self.result, self.by, self.metric, self.a, self.b

    @property
    def relative(self) -> float:
        """The gap in percent of the second group's score."""
        return self.relative_to_b if math.isnan(self.ratio) else 100 * (self.ratio - 1)

    @property
    def within_tolerance(self) -> bool:
        """Whether the 90 % interval lies within the stated tolerance."""
        return self.tolerance is not None and -self.tolerance < self.low_90 <= self.high_90 < self.tolerance

    @staticmethod
    def untested(about: MetricRow, a: str, b: str, direction: str, **known: Any) -> GroupComparison:
        """Return a gap of which only `known` is known, and nothing concluded."""
        said = {**vars(about), "a": a, "b": b, "direction": direction}
        return GroupComparison(**{**blank(GroupComparison), "compared": 0, **said, **known})


@dataclass(frozen=True, kw_only=True)
class SystemComparison(AdjustedGap):
    """The gap of one system minus that of another, on the same clips."""

    result_a: str
    result_b: str
    by: str
    metric: str
    unit: str
    higher_is_better: bool
    a: str
    b: str
    gap_a: float
    gap_b: float
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    compared: int
    clips: int
    speakers: int
    refused: str | None
    warning: str | None
    direction: str

    @property
    def family(self) -> tuple[str, str]:
        """The system and metric, whose tests are adjusted together."""
        return self.result_b, self.metric


@dataclass(frozen=True)
class CovariateRatio:
    """How the errors go with a covariate: the ratio of error rates for one unit (`per`) more of it."""

    value: float
    low: float
    high: float
    per: str


@dataclass(frozen=True, kw_only=True)
class AdjustedRatio(TriedGap, MetricRow):
    """Ratio of two groups' error rates with covariates held fixed, by a Poisson mixed model."""

    a: str
    b: str
    covariates: tuple[str, ...]
    ratio: float
    low: float
    high: float
    p_value: float
    crude_ratio: float
    speaker_sd: float
    dispersion: float
    clips: int
    speakers: int
    covariate_ratios: dict[str, CovariateRatio]
    refused: str | None
    warning: str | None


@dataclass(frozen=True, kw_only=True)
class GroupSpread(MetricRow):
    """How far the groups of an attribute are apart."""

    groups: int
    worst: str | None
    best: str | None
    difference: float
    ratio: float
    overall: float


class GapOfWay(NamedTuple):
    """A gap with empty hypotheses counted, or with their clips left out."""

    difference: float
    low: float
    high: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class EmptyEffect(MetricRow):
    """One gap with empty hypotheses counted as errors, and with their clips left out."""

    a: str
    b: str
    empty_a: int | None
    empty_b: int | None
    difference_counted: float
    low_counted: float = math.nan
    high_counted: float = math.nan
    p_holm_counted: float
    difference_left_out: float
    low_left_out: float = math.nan
    high_left_out: float = math.nan
    p_holm_left_out: float
    changes: tuple[str, ...]
    warning: str | None

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """System, attribute, metric and groups, as of the comparison."""
        return self.result, self.by, self.metric, self.a, self.b

    @property
    def counted(self) -> GapOfWay:
        """The gap with empty hypotheses counted as errors."""
        return GapOfWay(self.difference_counted, self.low_counted, self.high_counted, self.p_holm_counted)

    @property
    def left_out(self) -> GapOfWay:
        """The gap without their clips."""
        return GapOfWay(self.difference_left_out, self.low_left_out, self.high_left_out, self.p_holm_left_out)
