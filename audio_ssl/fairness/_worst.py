"""A few of the worst clips of each group, to read; bounded whatever the size of the table."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.metrics.additive import AdditiveMetric, Array

SHOWN = 3
_KEPT = 32
"""More than are shown: speakers and empty hypotheses that are left out in the end take theirs with them."""

_LONGEST = 300


class WorstClips:
    """Keeps them while batches pass.

    Parameters
    ----------
    metric
        The main one. Of error rates the most errors are worst, of other metrics the lowest score.
    """

    def __init__(self, metric: AdditiveMetric) -> None:
        self._metric = metric
        self._heaps: dict[tuple[str, int, bool], list[tuple[float, int, dict[str, Any]]]] = {}
        self._count = 0

    def look(
        self,
        statistics: Array,
        codes: Mapping[str, npt.NDArray[np.int32]],
        empty: npt.NDArray[np.bool_],
        row_of: Callable[[int], dict[str, Any]],
    ) -> None:
        """Look at a batch.

        Parameters
        ----------
        statistics
            Of the metric, ``[clip, column]``.
        codes
            Attribute -> group of each clip, -1 where unknown.
        empty
            Whether the hypothesis of each clip has no word; some runs leave these out.
        row_of
            Returns ``id, speaker, reference, hypothesis`` of a clip of the batch.
        """
        with np.errstate(all="ignore"):
            value = self._metric.score(statistics)
        badness = statistics[:, :3].sum(1) if self._metric.columns[0] == "substitutions" else _loss(value)
        for by, index in codes.items():
            for code, silent in product(np.unique(index), (False, True)):
                members = np.flatnonzero((index == code) & (empty == silent) & (badness > 0))
                worst = members[np.argsort(-badness[members], kind="stable")[:_KEPT]]
                heap = self._heaps.setdefault((by, int(code), silent), [])
                for clip in worst.tolist():
                    bad = float(badness[clip])
                    if len(heap) == _KEPT and bad <= heap[0][0]:
                        break
                    self._count += 1
                    # Of equals the first stay: the counter also keeps rows from being compared.
                    entry = (bad, -self._count, {**_cut(row_of(clip)), "value": _finite(float(value[clip]))})
                    (heapq.heappush if len(heap) < _KEPT else heapq.heapreplace)(heap, entry)

    def rows(self, names: Mapping[str, Sequence[str]], kept: Callable[[str], bool]) -> list[dict[str, Any]]:
        """Return more of the worst clips of each attribute and group than are shown, the worst first.

        Each says whether its hypothesis is empty.

        Parameters
        ----------
        names
            Attribute -> names of its groups.
        kept
            Whether a speaker still counts.
        """
        found: list[dict[str, Any]] = []
        for by, code in sorted({(by, code) for by, code, _ in self._heaps}):
            group = names[by][code] if code >= 0 else "unknown"
            entries = [
                (bad, place, {**row, "empty": silent})
                for silent in (False, True)
                for bad, place, row in self._heaps.get((by, code, silent), [])
            ]
            clips = [row for _, _, row in sorted(entries, reverse=True) if kept(row["speaker"])]
            found += [{"by": by, "group": group, **row} for row in clips]
        return found


def _loss(value: Array) -> Array:
    """Return how far scores are below 100; 0 where they are not defined."""
    return np.asarray(100.0 - np.nan_to_num(value, nan=100.0))


def _cut(row: dict[str, Any]) -> dict[str, Any]:
    return {k: f"{v[:_LONGEST]}…" if isinstance(v, str) and len(v) > _LONGEST else v for k, v in row.items()}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
