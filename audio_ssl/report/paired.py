"""The difference between two systems on the same clips, with a bootstrap interval over what belongs together.

Both systems heard the same clips, so what is hard for one is mostly hard for the other: resampling the clips of both
together (paired bootstrap; Bisani & Ney 2004; by speaker as in Liu & Peng 2020, arXiv:1912.09508) is far sharper than
looking whether two separate intervals overlap. Clips of one speaker, of one track or of what the probe names
(``data.cluster``: the clips of one sentence, say) are drawn together. Clips that only one of
the two predicted are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError
from audio_ssl.metrics.additive import COUNTS, AdditiveMetric, Array, get_metric
from audio_ssl.metrics.bootstrap import cluster_bootstrap, cluster_sums
from audio_ssl.metrics.clusters import choose_clusters
from audio_ssl.report.difference import Difference
from audio_ssl.report.numbers import count
from audio_ssl.report.paired_zero import compare_zero, is_zero
from audio_ssl.report.resampled import average_precision, equal_error, roc_auc

N_REPLICATES = 2000
_RANKING_REPLICATES = 400
"""Of scores that are no sums over clips."""
_RANKING = {"roc_auc": roc_auc, "average_precision": average_precision}

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Answers:
    """What one system said."""

    rows: Rows
    """``id, reference, hypothesis``, perhaps ``scores, speaker, track``."""
    classes: Sequence[str] = ()
    trials: Rows = ()
    """``clip_a, clip_b, same, score``."""
    tokenizer: str | None = None
    """How BLEU cuts texts into words; None: 13a."""
    cluster: str | None = None
    """Column of `rows` whose clips are drawn together; None: speakers, else tracks, else clips."""
    comparisons: Rows = ()
    """Of tasks without training: what was compared."""


def additive(name: str, classes: Sequence[str] = (), tokenizer: str | None = None) -> AdditiveMetric | None:
    """Return the metric `name` where it is a function of summed per-clip statistics, else None."""
    try:
        return get_metric(name, classes, tokenizer)
    except UserError:
        return None


def paired_difference(model: Rows, baseline: Rows, metric_name: str, classes: Sequence[str] = ()) -> Difference | None:
    """Compare two tables of predictions clip by clip; see `compare`."""
    return compare(Answers(model, classes), Answers(baseline, classes), metric_name)


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
    if metric_name == "eer":
        return _compare_trials(model, baseline)
    if is_zero(metric_name):
        return compare_zero(model.comparisons, baseline.comparisons, metric_name)
    pairs = _common(model.rows, baseline.rows)
    if not pairs:
        return None
    if metric_name in _RANKING:
        return _compare_rankings(pairs, model, baseline, metric_name)
    metric = additive(metric_name, model.classes, model.tokenizer)
    if metric is None or any("hypothesis" not in row for pair in pairs for row in pair):
        return None
    try:
        ours, theirs = (_statistics(metric, [pair[side] for pair in pairs]) for side in (0, 1))
    except (UserError, TypeError, ValueError, KeyError):
        # Other classes, or answers that are not of the metric's kind: there is no common ground.
        return None
    clusters, noun = choose_clusters([row for row, _ in pairs], model.cluster)
    sums, names = cluster_sums(np.concatenate([ours, theirs], axis=1), clusters)
    half = ours.shape[1]

    def gap(totals: Array) -> Array:
        return np.asarray(metric.score(totals[..., :half]) - metric.score(totals[..., half:]))

    found = cluster_bootstrap(sums, gap, N_REPLICATES, np.random.default_rng(0))
    if not all(map(math.isfinite, found)):
        return None
    return Difference(found.value, found.low, found.high, count(len(names), noun), len(pairs))


def _statistics(metric: AdditiveMetric, rows: Rows) -> Array:
    """Return ``[clip, column]``: what the table has of a metric of activations, else those of the answers."""
    column = f"{metric.name}{COUNTS}"
    if all(isinstance(row.get(column), list) for row in rows):
        return np.array([row[column] for row in rows], np.float64)
    return metric.statistics((row["reference"], row["hypothesis"]) for row in rows)


def _common(ours: Rows, theirs: Rows) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    others = {row["id"]: row for row in theirs}
    pairs = [(row, others[row["id"]]) for row in ours if row["id"] in others]
    return [(row, other) for row, other in pairs if row.get("reference") == other.get("reference")]


def _weights(index: npt.NDArray[np.intp], clusters: int) -> Array:
    """Return how often each row counts ``[1 + resample, row]``; in the first, once."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=_RANKING_REPLICATES)
    return np.concatenate([np.ones((1, clusters), np.int64), drawn])[:, index].astype(np.float64)


def _compare_rankings(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], model: Answers, baseline: Answers, metric_name: str
) -> Difference | None:
    classes, other_classes = model.classes, baseline.classes
    shared = [name for name in classes if name in set(other_classes)]
    if not shared or any(not isinstance(row.get("scores"), list) for pair in pairs for row in pair):
        return None
    clusters, noun = choose_clusters([row for row, _ in pairs], model.cluster)
    names, index = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return None
    weights = np.asfortranarray(_weights(index, len(names)))
    tables = [np.array([pair[side]["scores"] for pair in pairs], np.float64) for side in (0, 1)]
    references = [frozenset(_tags(row["reference"])) for row, _ in pairs]
    gaps = []
    for name in shared:
        positive = np.array([name in tags for tags in references])
        if positive.any() and not positive.all():
            columns = [list(known).index(name) for known in (classes, other_classes)]
            ours, theirs = (
                _RANKING[metric_name](table[:, column], positive, weights)
                for table, column in zip(tables, columns, strict=True)
            )
            gaps.append(100.0 * (ours - theirs))
    if not gaps:
        return None
    table = np.stack(gaps)
    known = np.isfinite(table)
    # A class that a resample lacks is left out of that resample's mean.
    means = np.where(known, table, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    return _summarise(means[known.any(0)], count(len(names), noun), len(pairs))


def _tags(reference: Any) -> Sequence[str]:
    return reference if isinstance(reference, list) else (str(reference),)


def _compare_trials(model: Answers, baseline: Answers) -> Difference | None:
    theirs = {(row["clip_a"], row["clip_b"]): row for row in baseline.trials}
    pairs = [(row, theirs[key]) for row in model.trials if (key := (row["clip_a"], row["clip_b"])) in theirs]
    pairs = [(row, other) for row, other in pairs if row["same"] == other["same"]]
    same = np.array([bool(row["same"]) for row, _ in pairs])
    if not pairs or same.all() or not same.any():
        return None
    speakers = {row["id"]: str(row.get("speaker") or "") for row in model.rows}
    known = all(speakers.get(row[side]) for row, _ in pairs for side in ("clip_a", "clip_b"))
    ends = [[speakers[row[side]] if known else row[side] for row, _ in pairs] for side in ("clip_a", "clip_b")]
    names, index = np.unique(ends, return_inverse=True)
    first, second = index.reshape(2, -1)
    # A pair of two speakers counts as often as both were drawn together.
    weights, others = _weights(first, len(names)), _weights(second, len(names))
    weights = np.where(first == second, weights, weights * others)
    scores = [np.array([pair[side]["score"] for pair in pairs], np.float64) for side in (0, 1)]
    gaps = 100.0 * (equal_error(scores[0], same, weights)[0] - equal_error(scores[1], same, weights)[0])
    return _summarise(gaps, count(len(names), "speaker" if known else "clip"), len(pairs))


def _summarise(draws: Array, unit: str, clips: int) -> Difference | None:
    """Return the first value with the percentile interval of the others."""
    value, rest = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not math.isfinite(value) or not rest.size:
        return None
    low, high = np.quantile(rest, [0.025, 0.975])
    return Difference(value, float(low), float(high), unit, clips)
