"""The difference between two systems on the same clips, with a bootstrap confidence interval.

Both systems heard the same clips, so their errors are correlated. A paired bootstrap resamples the clips of both
together (Bisani & Ney 2004; by speaker as in Liu & Peng 2020, arXiv:1912.09508) and finds smaller differences than a
comparison of two separate intervals. Clips are resampled in clusters: those of a speaker, of a track, or of the column
that the probe names (``data.cluster``). Clips that only one of the two systems predicted are excluded.

Tasks without training are compared row by row: ABX over the speakers of A and B, query by example over the speakers of
the queries. Where answers cannot be paired, the two systems' own intervals are compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from audio_ssl.artifacts.result import MetricResult
from audio_ssl.artifacts.result_tables import AbxRow, ComparisonRow, QueryRow, TrialRow
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.errors import UserError
from audio_ssl.metrics.families.ranking import Ranking, mean_defined
from audio_ssl.metrics.families.verification import SpeakerTrials
from audio_ssl.metrics.metric import (
    COUNTS,
    AdditiveMetric,
    Array,
    ComparisonMetric,
    RankingMetric,
    TrialMetric,
)
from audio_ssl.metrics.registry import find_metric, get_metric
from audio_ssl.metrics.resampling import (
    MIN_CLUSTERS,
    RANKING_REPLICATES,
    Clusters,
    Interval,
    bootstrap,
    bootstrap_means,
    bootstrap_sums,
    choose_clusters,
    cluster_sums,
)
from audio_ssl.report.inputs import ScoredSystem
from audio_ssl.report.numbers import count, finite

Rows = Sequence[JsonObject]


@dataclass(frozen=True)
class Answers:
    """What one system said."""

    rows: Rows
    """``id, reference, hypothesis``, perhaps ``scores, speaker, track``."""
    classes: Sequence[str] = ()
    trials: Sequence[TrialRow] = ()
    tokenizer: str | None = None
    """Tokeniser of BLEU; None: 13a."""
    cluster: str | None = None
    """Column of `rows` whose clips are resampled together; None: speakers, else tracks, else clips."""
    comparisons: Sequence[ComparisonRow] = ()
    """Of tasks without training: what was compared."""


def additive(name: str, classes: Sequence[str] = (), tokenizer: str | None = None) -> AdditiveMetric | None:
    """Return the metric `name` where it is a function of summed per-clip statistics, else None."""
    try:
        return get_metric(name, classes, tokenizer)
    except UserError:
        return None


def compare(model: Answers, baseline: Answers, metric_name: str) -> Difference | None:
    """Compare what two systems said on the clips that both predicted.

    Parameters
    ----------
    model, baseline
        Their answers. A clip is the same where id and reference are.
    metric_name
        The metric; the difference is in its unit.

    Returns
    -------
    Difference or None
        None where the two have no clip in common, or the metric cannot be computed from what they said or is undefined
        here (no reference has words). With fewer than five speakers, tracks or whatever belongs together, the clips
        themselves are resampled, and ``unit`` says so.
    """
    known = find_metric(metric_name)
    if isinstance(known, TrialMetric):
        return _compare_trials(model, baseline, known) if known.paired else None
    if isinstance(known, ComparisonMetric):
        return compare_zero(model.comparisons, baseline.comparisons, known)
    pairs = _common(model.rows, baseline.rows)
    if not pairs:
        return None
    if isinstance(known, RankingMetric):
        return _compare_rankings(pairs, model, baseline, known)
    metric = additive(metric_name, model.classes, model.tokenizer)
    if metric is None or any("hypothesis" not in row for pair in pairs for row in pair):
        return None
    try:
        ours, theirs = (_statistics(metric, [pair[side] for pair in pairs]) for side in (0, 1))
    except (UserError, TypeError, ValueError, KeyError):
        # Other classes, or answers that are not of the metric's kind: there is no common ground.
        return None
    clusters, noun, _ = _clusters(pairs, model.cluster)
    sums, names = cluster_sums(np.concatenate([ours, theirs], axis=1), clusters)
    half = ours.shape[1]

    def gap(totals: Array) -> Array:
        return np.asarray(metric.score(totals[..., :half]) - metric.score(totals[..., half:]))

    return _difference(bootstrap_sums(sums, gap), count(len(names), noun), len(pairs))


def _clusters(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], column: str | None) -> Clusters:
    """Return what the common clips of two systems are resampled by."""
    ids = [str(row["id"]) for row, _ in pairs]
    return choose_clusters(ids, lambda name: [row.get(name) for row, _ in pairs], column)


def _statistics(metric: AdditiveMetric, rows: Rows) -> Array:
    """Return ``[clip, column]``: what the table has of a metric of activations, else those of the answers."""
    column = f"{metric.name}{COUNTS}"
    if all(isinstance(row.get(column), list) for row in rows):
        return np.array([row[column] for row in rows], np.float64)
    return metric.statistics((row["reference"], row["hypothesis"]) for row in rows)


def _common(ours: Rows, theirs: Rows) -> list[tuple[JsonObject, JsonObject]]:
    others = {row["id"]: row for row in theirs}
    pairs = [(row, others[row["id"]]) for row in ours if row["id"] in others]
    return [(row, other) for row, other in pairs if row.get("reference") == other.get("reference")]


def _compare_rankings(
    pairs: Sequence[tuple[JsonObject, JsonObject]],
    model: Answers,
    baseline: Answers,
    metric: RankingMetric,
) -> Difference | None:
    classes, other_classes = model.classes, baseline.classes
    shared = [name for name in classes if name in set(other_classes)]
    if not shared or any(not isinstance(row.get("scores"), list) for pair in pairs for row in pair):
        return None
    clusters, noun, _ = _clusters(pairs, model.cluster)
    names, index = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return None
    tables = [np.array([pair[side]["scores"] for pair in pairs], np.float64) for side in (0, 1)]
    references = [frozenset(_tags(row["reference"])) for row, _ in pairs]
    rankings = []
    for name in shared:
        positive = np.array([name in tags for tags in references])
        if positive.any() and not positive.all():
            columns = [list(known).index(name) for known in (classes, other_classes)]
            rankings.append(
                [Ranking(table[:, column], positive, index) for table, column in zip(tables, columns, strict=True)]
            )
    if not rankings:
        return None

    def gap(counts: Array) -> Array:
        of = metric.of_ranking
        # A class that a resample lacks is left out of that resample's mean.
        return mean_defined(np.stack([100.0 * (of(ours, counts) - of(theirs, counts)) for ours, theirs in rankings]))

    width = max(one.width for pair in rankings for one in pair)
    found = bootstrap(gap, len(names), RANKING_REPLICATES, width=width)
    return _difference(found, count(len(names), noun), len(pairs))


def _tags(reference: object) -> Sequence[str]:
    return reference if isinstance(reference, list) else (str(reference),)


def _compare_trials(model: Answers, baseline: Answers, metric: TrialMetric) -> Difference | None:
    known_pairs = {(row.clip_a, row.clip_b): row for row in baseline.trials}
    keyed = [(row, (row.clip_a, row.clip_b)) for row in model.trials]
    pairs = [(row, known_pairs[key]) for row, key in keyed if key in known_pairs]
    pairs = [
        (row, other)
        for row, other in pairs
        if row.same == other.same and math.isfinite(row.score) and math.isfinite(other.score)
    ]
    same = np.array([row.same for row, _ in pairs])
    if not pairs or same.all() or not same.any():
        return None
    speakers = {row["id"]: str(row.get("speaker") or "") for row in model.rows}
    clips = [[row.clip_a for row, _ in pairs], [row.clip_b for row, _ in pairs]]
    known = all(speakers.get(clip) for side in clips for clip in side)
    ends = [[speakers[clip] for clip in side] for side in clips] if known else clips
    names, index = np.unique(ends, return_inverse=True)
    sides = index.reshape(2, -1)
    first, second = (
        SpeakerTrials(np.array([pair[side].score for pair in pairs], np.float64), same, *sides) for side in (0, 1)
    )
    found = bootstrap(lambda counts: first.resampled(metric, counts) - second.resampled(metric, counts), len(names))
    return _difference(found, count(len(names), "speaker" if known else "clip"), len(pairs))


def _difference(found: Interval, unit: str, clips: int) -> Difference | None:
    """Return what a report shows of a difference; None where it or its interval is undefined."""
    return Difference(*found, unit, clips) if all(map(math.isfinite, found)) else None


def comparisons_of(rows: Sequence[ComparisonRow], metric: ComparisonMetric) -> Sequence[ComparisonRow]:
    """Return the rows of a table of comparisons that a metric is made of."""
    return rows if metric.mode is None else [row for row in rows if isinstance(row, AbxRow) and row.mode == metric.mode]


def compare_zero(
    ours: Sequence[ComparisonRow], theirs: Sequence[ComparisonRow], metric: ComparisonMetric
) -> Difference | None:
    """Compare two tables of comparisons; None where they share nothing, or are of a release without speakers."""
    ours, theirs = (comparisons_of(rows, metric) for rows in (ours, theirs))
    if metric.paired == "queries":
        return _queries(*([row for row in rows if isinstance(row, QueryRow)] for rows in (ours, theirs)))
    if metric.paired is None or any(row.speaker is None for row in (*ours, *theirs)):
        return None
    return _abx(*([row for row in rows if isinstance(row, AbxRow)] for rows in (ours, theirs)))


def _abx(ours: Sequence[AbxRow], theirs: Sequence[AbxRow]) -> Difference | None:
    """Compare the mean over pairs of the mean over speakers of A and B."""
    found = [{(row.a, row.b, row.speaker or ""): row.error for row in rows} for rows in (ours, theirs)]
    shared = sorted(found[0].keys() & found[1].keys())
    speakers = {name: at for at, name in enumerate(sorted({key[2] for key in shared}))}
    pairs = {pair: at for at, pair in enumerate(sorted({key[:2] for key in shared}))}
    if len(speakers) < MIN_CLUSTERS:
        return None
    gaps = np.full((len(speakers), len(pairs)), np.nan)
    for key in shared:
        gaps[speakers[key[2]], pairs[key[:2]]] = found[0][key] - found[1][key]
    return Difference(*bootstrap_means(gaps), count(len(speakers), "speaker"), len(shared))


def _queries(ours: Sequence[QueryRow], theirs: Sequence[QueryRow]) -> Difference | None:
    """Compare the mean average precision over queries; a query is a clip and a term, in the order of the table."""
    keyed = [_numbered(rows) for rows in (ours, theirs)]
    shared = [key for key in keyed[0] if key in keyed[1]]
    if not shared:
        return None
    precisions = [[rows[key].average_precision for key in shared] for rows in keyed]
    gaps = np.array(precisions[0]) - np.array(precisions[1])
    table = np.stack([gaps, np.ones(len(shared))], axis=1)
    known: dict[str, Sequence[object]] = {"track": [None] * len(shared)}
    known["speaker"] = [keyed[0][key].speaker for key in shared]
    clusters, noun, _ = choose_clusters([str(key) for key in shared], known.__getitem__)
    sums, names = cluster_sums(table, clusters)
    found = bootstrap_sums(sums, lambda s: s[..., 0] / s[..., 1])
    if not all(map(math.isfinite, found)):
        return None
    unit = count(len(names), noun) if noun == "speaker" else f"{len(names):,} quer{'y' if len(names) == 1 else 'ies'}"
    return Difference(found.value, found.low, found.high, unit, len(shared))


def _numbered(rows: Sequence[QueryRow]) -> dict[tuple[str, str, int, int], QueryRow]:
    """Return queries by clip, term and how often the clip had the term before."""
    seen: dict[tuple[str, str, int], int] = {}
    out = {}
    for row in rows:
        key = (row.clip, row.term, row.relevant)
        seen[key] = seen.get(key, -1) + 1
        out[(*key, seen[key])] = row
    return out


@dataclass(frozen=True)
class Difference:
    """Model minus baseline on one metric, in the metric's unit, with its 95 % interval."""

    value: float
    low: float
    high: float
    unit: str
    """What was resampled, such as "24 speakers"."""
    clips: int = 0
    """Clips (or trials, or comparisons) that both systems predicted."""


@dataclass(frozen=True)
class PairedComparison:
    """One system minus another on one metric, in the metric's unit."""

    system: str
    """Name of the first system."""
    difference: float | None
    low: float | None
    high: float | None
    """The 95 % interval of the difference on the same clips; None where the answers cannot be paired."""
    clips: int | None
    """Clips (or trials, or comparisons) that both systems predicted."""
    left_out: int
    """How many clips only one of the two predicted."""
    over: str | None
    """What was resampled, such as "24 speakers"."""
    apart: bool | None
    """Whether the two differ significantly; None where nothing was tested."""
    better: bool | None
    """Whether the first system has the better score; None where the scores are equal."""

    @property
    def paired(self) -> bool:
        """Whether the difference has an interval of its own."""
        return self.low is not None

    def reversed(self, system: str) -> PairedComparison:
        """Return the second system, of this name, minus the first."""
        minus = [None if one is None else 0.0 - one for one in (self.difference, self.high, self.low)]
        better = None if self.better is None else not self.better
        return replace(self, system=system, difference=minus[0], low=minus[1], high=minus[2], better=better)


class SystemPairs:
    """Compares pairs of systems, each pair once, in either order."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, str], PairedComparison] = {}

    def compare(self, system: ScoredSystem, other: ScoredSystem, metric: str) -> PairedComparison:
        """Return `system` minus `other`: on the same clips if possible, otherwise by the two systems' own intervals.

        The second way is more conservative: intervals that overlap do not show that two systems are equal.
        """
        key = (id(system), id(other), metric)
        if key not in self._known:
            found = _compare_systems(system, other, metric)
            self._known |= {(key[1], key[0], metric): found.reversed(other.name), key: found}
        return self._known[key]


def answers_of(system: ScoredSystem) -> Answers:
    """Return what a system said, to be compared."""
    return Answers(
        system.predictions,
        system.classes,
        system.trials,
        system.scores.tokenizer,
        system.scores.interval_column,
        system.comparisons,
    )


def _compare_systems(system: ScoredSystem, other: ScoredSystem, metric: str) -> PairedComparison:
    ours, theirs = system.score_of(metric), other.score_of(metric)
    value, against = finite(ours.value), finite(theirs.value)
    paired = compare(answers_of(system), answers_of(other), metric)
    difference = paired.value if paired else None if value is None or against is None else value - against
    predicted = sum(len(_rows_of(one, metric)) for one in (system, other))
    higher = (theirs if value is None else ours).higher_is_better
    return PairedComparison(
        system=system.name,
        difference=difference,
        low=paired.low if paired else None,
        high=paired.high if paired else None,
        clips=paired.clips if paired else None,
        left_out=predicted - 2 * paired.clips if paired else 0,
        over=paired.unit if paired else None,
        apart=paired.low > 0 or paired.high < 0 if paired else _intervals_apart(ours, theirs),
        better=None if not difference else (difference > 0) == higher,
    )


def _rows_of(system: ScoredSystem, name: str) -> Sequence[object]:
    """Return the rows that a paired difference of a metric is made of."""
    metric = find_metric(name)
    if isinstance(metric, TrialMetric):
        return system.trials
    return comparisons_of(system.comparisons, metric) if isinstance(metric, ComparisonMetric) else system.predictions


def _intervals_apart(ours: MetricResult, theirs: MetricResult) -> bool | None:
    ends = [finite(end) for one in (ours, theirs) for end in (one.low, one.high)]
    if any(end is None for end in ends):
        return None
    low, high, other_low, other_high = (end for end in ends if end is not None)
    return low > other_high or high < other_low
