"""Query by example: which utterances hold a spoken word (SUPERB's QbE, Yang et al. 2021).

Nothing is trained: the cheapest path of the query's frames inside each utterance ranks them. Queries are clips whose
column `role` is ``query``, their label the term, and utterances name what they hold in the column `terms`, with
semicolons (QUESST 2014). Or, where no clip has that role, words are cut out of every other clip and looked for in the
rest; with `times: null` a clip is one word, its label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from audio_ssl.artifacts.result_tables import QueryRow
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.dtw import KINDS, dtw_pairs
from audio_ssl.metrics.families.ranking import average_precisions, precisions_at_n
from audio_ssl.metrics.families.zero_resource import RankedTrials
from audio_ssl.metrics.families.zero_resource import standardised as standardised_scores
from audio_ssl.metrics.registry import main_first
from audio_ssl.metrics.resampling import (
    MIN_CLUSTERS,
    RANKING_REPLICATES,
    Interval,
    bootstrap,
    bootstrap_sums,
    cluster_sums,
)
from audio_ssl.metrics.spans import (
    Frames,
    Span,
    pieces_of,
    spans_of,
    standardised,
    why_no_spans,
)
from audio_ssl.probing.task import CompareTask, Comparisons

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Config:
    """Which queries, and how they are searched for."""

    times: str | None = "word_times"
    """Column with the words, ``start end word; start end word``; null: each clip is one, its label."""

    metric: str = "map"
    """The main metric: map, mtwv (QUESST 2014's weights, times 100) or p_at_n; the others are reported beside it."""

    distance: str = "cosine"
    """Distance of frames: cosine, angular or euclidean."""

    standardise: bool = True
    """Standardise frames: subtract the mean and divide by the standard deviation of each dimension (SUPERB)."""

    min_seconds: float = 0.3
    """Shorter words are not used as queries, where words are cut from clips."""

    min_letters: int = 4
    """Words of fewer letters are not used as queries, where words are cut from clips."""

    max_queries: int = 100
    """Largest number of queries that are cut from clips."""

    seed: int = 0
    """Seed of the random selection of queries."""


@dataclass(frozen=True)
class _Query:
    term: str
    clip: Clip
    frames: Float[Tensor, "frame dim"]


class Query(CompareTask):
    """Ranked utterances of spoken queries."""

    kind = "query"
    metrics: tuple[str, ...] = ("map", "mtwv", "p_at_n")

    def __init__(self, config: Config) -> None:
        self._config = config
        self.metrics = main_first(self.metrics, config.metric)
        scale = "frames standardised" if config.standardise else "frames as they are"
        self.signature = f"subsequence dtw over steps|{config.distance}|{scale}|queries:{config.max_queries}"

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if "role" in clip.extra or "terms" in clip.extra:
            if clip.extra.get("role") != "query":
                return None
            return None if clip.label else "a query without a label"
        return why_no_spans(clip, self._config.times)

    def compare(self, clips: Sequence[Clip], frames: Frames, grid: FrameGrid) -> Comparisons:
        """Return the scores, and a row for each query.

        Raises
        ------
        UserError
            If no query is held by one utterance and missing from another.
        """
        config = self._config
        if config.standardise and clips:
            frames = standardised(clips, frames)
        queries, utterances = self._both(clips, frames, grid)
        holds = np.array([[query.term in held for _, held in utterances] for query in queries], dtype=bool)
        usable = [bool(row.any() and not row.all()) for row in holds]
        if not any(usable):
            raise UserError(
                f"none of {len(queries)} queries is held by some of {len(utterances)} utterances and not by others",
                remedy="more clips, or shorter words (task.min_seconds, task.min_letters)",
            )
        queries, holds = [query for query, use in zip(queries, usable, strict=True) if use], holds[usable]
        scores = self._search(queries, [clip for clip, _ in utterances], frames)
        precisions, at_n = average_precisions(scores, holds), precisions_at_n(scores, holds)
        standing = standardised_scores(scores)
        speakers = [query.clip.speaker for query in queries]
        known = None not in speakers and len(set(speakers)) >= MIN_CLUSTERS
        groups = [str(name) for name in speakers] if known else [f"{i}" for i in range(len(queries))]
        names, group = np.unique(groups, return_inverse=True)
        trials = RankedTrials(standing, holds)
        measured = {
            "map": _mean(precisions, groups),
            "mtwv": bootstrap(
                lambda counts: 100.0 * trials.value(counts[:, group]), len(names), RANKING_REPLICATES, width=holds.size
            ),
            "p_at_n": _mean(at_n, groups),
        }
        table = [
            QueryRow(
                clip=query.clip.id,
                term=query.term,
                speaker=query.clip.speaker,
                relevant=int(held.sum()),
                utterances=len(utterances),
                average_precision=float(precision),
                nearest=utterances[int(score.argmax())][0].id,
            )
            for query, held, precision, score in zip(queries, holds, precisions, scores, strict=True)
        ]
        unit = "speakers of queries" if known else "queries"
        return Comparisons({name: measured[name] for name in self.metrics}, unit, table)

    def _both(
        self, clips: Sequence[Clip], frames: Frames, grid: FrameGrid
    ) -> tuple[list[_Query], list[tuple[Clip, set[str]]]]:
        """Return the queries, and the utterances with what they hold."""
        config = self._config
        if any(clip.extra.get("role") == "query" for clip in clips):
            spoken = [clip for clip in clips if clip.extra.get("role") == "query"]
            rest = [clip for clip in clips if clip.extra.get("role") != "query"]
            queries = [_Query((clip.label or "").strip().lower(), clip, frames(clip)) for clip in spoken]
            held = [{t.strip().lower() for t in str(clip.extra.get("terms") or "").split(";")} for clip in rest]
            return queries, list(zip(rest, held, strict=True))
        found = list(pieces_of(clips[::2], config.times, frames, grid, self._wanted))
        if len(found) > config.max_queries:
            kept = np.random.default_rng(config.seed).choice(len(found), config.max_queries, replace=False)
            found = [found[position] for position in sorted(kept.tolist())]
        queries = [_Query(piece.span.label.lower(), piece.clip, piece.frames) for piece in found]
        return queries, [(clip, self._words(clip)) for clip in clips[1::2]]

    def _words(self, clip: Clip) -> set[str]:
        if self._config.times is None:
            return {(clip.label or "").lower()}
        return {span.label.lower() for span in spans_of(str(clip.extra[self._config.times]), self._config.times)}

    def _wanted(self, span: Span) -> bool:
        config = self._config
        if config.times is None:
            return True
        return span.end - span.start >= config.min_seconds and len(span.label) >= config.min_letters

    def _search(self, queries: Sequence[_Query], utterances: Sequence[Clip], frames: Frames) -> Array:
        """Return ``[query, utterance]``: the negative cost of the cheapest path, one utterance at a time."""
        scores = np.empty((len(queries), len(utterances)))
        spoken = [query.frames for query in queries]
        for column, clip in enumerate(utterances):
            inside = frames(clip)
            # Each query needs its own copy of the utterance, so the size of a batch is limited.
            limit = max(1, (1 << 24) // inside.shape[1])
            pairs = [(row, 0) for row in range(len(spoken))]
            costs = dtw_pairs(spoken, [inside], pairs, self._config.distance, subsequence=True, batch_elements=limit)
            scores[:, column] = -costs.double().cpu().numpy()
        return scores


def _mean(values: Array, groups: Sequence[str]) -> Interval:
    """Return the mean of queries' values with its interval over groups of queries."""
    sums, _ = cluster_sums(np.stack([values, np.ones(len(values))], axis=1), groups)
    return bootstrap_sums(sums, lambda totals: totals[..., 0] / totals[..., 1])


def build(config: Config) -> Query:
    """Make the task; UserError for another metric or distance."""
    if config.metric not in Query.metrics:
        raise unknown_name("metric of queries", config.metric, Query.metrics, "$.task.metric")
    if config.distance not in KINDS:
        raise unknown_name("distance", config.distance, KINDS, "$.task.distance")
    if config.max_queries < 1:
        raise UserError("`max_queries` must be at least 1", where="$.task.max_queries")
    return Query(config)
