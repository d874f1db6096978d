"""Differences on tasks without training: ABX over the speakers of A and B, queries over those who spoke them.

Both systems compared the same things, so their tables are joined row by row, and speakers are drawn for both at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audio_ssl.metrics.resampling import MIN_CLUSTERS, bootstrap_means, bootstrap_sums, choose_clusters, cluster_sums
from audio_ssl.report.difference import Difference
from audio_ssl.report.numbers import count

Rows = Sequence[Mapping[str, Any]]


def is_zero(metric_name: str) -> bool:
    """Tell whether a metric is one that is paired here."""
    return metric_name.startswith("abx_") or metric_name == "map"


def comparisons_of(rows: Rows, metric_name: str) -> Rows:
    """Return the rows of a table of comparisons that a metric is made of."""
    if metric_name.startswith("abx_"):
        return [row for row in rows if row.get("mode") == metric_name.removeprefix("abx_")]
    return rows


def compare_zero(ours: Rows, theirs: Rows, metric_name: str) -> Difference | None:
    """Compare two tables of comparisons; None where they share nothing, or are of a release without speakers."""
    ours, theirs = (comparisons_of(rows, metric_name) for rows in (ours, theirs))
    if metric_name == "map":
        return _queries(ours, theirs)
    if any("speaker" not in row for row in (*ours, *theirs)):
        return None
    return _abx(ours, theirs)


def _abx(ours: Rows, theirs: Rows) -> Difference | None:
    """Compare the mean over pairs of the mean over speakers of A and B."""
    found = [{(row["a"], row["b"], row["speaker"]): float(row["error"]) for row in rows} for rows in (ours, theirs)]
    shared = sorted(found[0].keys() & found[1].keys())
    speakers = {name: at for at, name in enumerate(sorted({key[2] for key in shared}))}
    pairs = {pair: at for at, pair in enumerate(sorted({key[:2] for key in shared}))}
    if len(speakers) < MIN_CLUSTERS:
        return None
    gaps = np.full((len(speakers), len(pairs)), np.nan)
    for key in shared:
        gaps[speakers[key[2]], pairs[key[:2]]] = found[0][key] - found[1][key]
    return Difference(*bootstrap_means(gaps), count(len(speakers), "speaker"), len(shared))


def _queries(ours: Rows, theirs: Rows) -> Difference | None:
    """Compare the mean average precision over queries; a query is a clip and a term, in the order of the table."""
    keyed = [_numbered(rows) for rows in (ours, theirs)]
    shared = [key for key in keyed[0] if key in keyed[1]]
    if not shared:
        return None
    precisions = [[float(rows[key]["average_precision"]) for key in shared] for rows in keyed]
    gaps = np.array(precisions[0]) - np.array(precisions[1])
    table = np.stack([gaps, np.ones(len(shared))], axis=1)
    named = [{"id": str(key), "speaker": keyed[0][key].get("speaker")} for key in shared]
    clusters, noun = choose_clusters(named)
    sums, names = cluster_sums(table, clusters)
    found = bootstrap_sums(sums, lambda s: s[..., 0] / s[..., 1])
    if not all(map(math.isfinite, found)):
        return None
    unit = count(len(names), noun) if noun == "speaker" else f"{len(names):,} quer{'y' if len(names) == 1 else 'ies'}"
    return Difference(found.value, found.low, found.high, unit, len(shared))


def _numbered(rows: Rows) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """Return queries by clip, term and how often the clip had the term before."""
    seen: dict[tuple[Any, ...], int] = {}
    out = {}
    for row in rows:
        key = (row.get("clip"), row.get("term"), row.get("relevant"))
        seen[key] = seen.get(key, -1) + 1
        out[(*key, seen[key])] = row
    return out
