"""Which rows of a fairness report are shown, and which of many first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from audio_ssl.artifacts.fairness import CROSSED, GapOutcome, GroupScore, MetricRow
from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.report.html import TableColumn

_RowOfMetric = TypeVar("_RowOfMetric", bound=MetricRow)


class _Tested(Protocol):
    @property
    def by(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def outcome(self) -> GapOutcome: ...


class _OfResult(Protocol):
    @property
    def result(self) -> str: ...


_TestedT = TypeVar("_TestedT", bound=_Tested)


def attributes(report: FairnessReport) -> list[str]:
    """Return the attributes and intersections that anything is said about, single attributes first."""
    names = [row.by for row in report.scores]
    names += [row.by for row in report.comparisons] + [row.by for row in report.suppressed]
    return sorted(dict.fromkeys(names), key=lambda name: name.count(CROSSED))


def questions(report: FairnessReport, by: str) -> list[tuple[str, str]]:
    """Return every system and metric of an attribute, in the order of the rows."""
    rows = (*report.scores, *report.comparisons)
    return list(dict.fromkeys((row.result, row.metric) for row in rows if row.by == by))


def chosen(rows: Iterable[_RowOfMetric], result: str, by: str, metric: str) -> list[_RowOfMetric]:
    """Return the rows of one system, attribute and metric."""
    return [row for row in rows if (row.result, row.by, row.metric) == (result, by, metric)]


def ordered(groups: Iterable[GroupScore]) -> list[GroupScore]:
    """Put the known groups first, then the speakers without a record, then all scored groups."""
    return sorted(groups, key=lambda row: (row.total, not row.known))


def foremost(rows: Sequence[_TestedT], most: int) -> list[_TestedT]:
    """Choose what is drawn and said: what is statistically significant, then the main metric, but for crossed groups.

    The main metric is that of the first row. Where that leaves nothing, the first rows are returned.
    """
    found = [row for row in rows if row.outcome == GapOutcome.FOUND]
    others = [row for row in rows if row.outcome != GapOutcome.FOUND and row.metric == rows[0].metric]
    others = sorted((row for row in others if CROSSED not in row.by), key=lambda row: not row.outcome.tested)
    return (found + others or list(rows))[:most]


def system_column(report: FairnessReport) -> list[TableColumn[_OfResult]]:
    """Return the column that names the system of a row; none where the report is about one system."""
    names = {row.name for row in report.results} or {row.result for row in (*report.scores, *report.comparisons)}
    return [TableColumn("System", lambda row: row.result, words=True)] if len(names) > 1 else []
