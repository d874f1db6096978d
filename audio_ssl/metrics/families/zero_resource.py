"""Metrics that need no training: ABX errors and spoken queries.

ABX errors (Schatz et al. 2013): X and A have one label, B another, and an error is an X that is nearer to B. Distances
by dynamic time warping and means as in ZeroSpeech 2021 (Nguyen et al. 2020, arXiv 2011.11588). A cell is a context, an
ordered pair of labels, and the speaker of A and B (within) or the speaker of A and B and that of X (across). Its error
is the share of its triples in which X is nearer to B; equal distances are half an error. Cells are averaged over
contexts (and speakers of X), then over speakers of A and B, then over pairs of labels.

Spoken queries: the score of an utterance is the negative cost of subsequence dynamic time warping (Zhang & Glass 2009;
Hazen et al. 2009). QUESST 2014 (Anguera et al. 2015, SUPERB's query by example) is scored by the maximum term-weighted
value with one threshold for all queries, for which each query's scores are brought to mean 0 and deviation 1 first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.metric import Array, ComparisonMetric, Flags
from audio_ssl.metrics.resampling import Interval, bootstrap_means

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal["within", "across"]
MODES = ("within", "across")
_PAIRS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class AbxItem:
    """One token: a phone, a triphone, a word."""

    label: str
    """What it is."""

    context: str
    """What surrounds it; only items of equal contexts are compared. One value for all: contexts are ignored."""

    speaker: str

    frames: Float[Tensor, "frame dim"]


@dataclass(frozen=True)
class Cell:
    """Triples that differ in nothing but their tokens."""

    a: str
    """Label of A and X."""
    b: str
    context: str
    speaker: str
    """Of A and B."""
    x_speaker: str
    triples: int
    error: float
    """In percent."""


@dataclass(frozen=True)
class PairError:
    """The error of an ordered pair of labels."""

    a: str
    b: str
    error: float
    """In percent."""
    speakers: int
    """Of A and B."""
    cells: int
    triples: int


@dataclass(frozen=True)
class SpeakerError:
    """The error of an ordered pair of labels for one speaker of A and B: the mean over contexts and speakers of X."""

    a: str
    b: str
    speaker: str
    error: float
    """In percent."""
    cells: int
    triples: int


@dataclass(frozen=True)
class AbxResult:
    """What was compared, and what came of it."""

    value: float
    """In percent; NaN where nothing could be compared."""
    pairs: list[PairError]
    cells: list[Cell]
    signature: str

    def by_speaker(self) -> list[SpeakerError]:
        """Return the errors that `value` is the mean of: over the speakers of each pair, then over pairs."""
        found: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
        for cell in self.cells:
            found[cell.a, cell.b, cell.speaker].append(cell)
        return [
            SpeakerError(
                *key, float(np.mean([cell.error for cell in cells])), len(cells), sum(c.triples for c in cells)
            )
            for key, cells in sorted(found.items())
        ]

    def interval(self) -> Interval:
        """Return the error with its 95 % interval over speakers of A and B; NaN limits below two of them."""
        table = _by_speaker(self.cells)
        return bootstrap_means(table)._replace(value=self.value) if len(table) else Interval(self.value, np.nan, np.nan)


def abx(
    items: Sequence[AbxItem],
    mode: str = "within",
    kind: str = "angular",
    max_group: int | None = 10,
    max_x_speakers: int | None = 5,
    seed: int = 0,
) -> AbxResult:
    """Return the ABX error of some items.

    Parameters
    ----------
    items
        Tokens with their frames, all on one device.
    mode
        ``within``: A, B and X of one speaker; ``across``: X of another speaker than A and B.
    kind
        Distance of frames, see `audio_ssl.metrics.dtw.KINDS`.
    max_group
        Tokens of one label, context and speaker that are used at most; drawn once, for A, B and X alike. None: all.
    max_x_speakers
        Speakers of X for each context, pair and speaker of A and B; ``across`` only. None: all.
    seed
        Of the draws; the order of the items matters to them, too.

    Raises
    ------
    UserError
        For an unknown mode, a limit below 2 tokens or 1 speaker, or frames that cannot be compared.
    """
    if mode not in MODES:
        raise UserError(f"`mode` must be `within` or `across`, but is `{mode}`")
    if (max_group is not None and max_group < 2) or (max_x_speakers is not None and max_x_speakers < 1):
        raise UserError(f"`max_group` must be at least 2 and `max_x_speakers` 1, but are {max_group}, {max_x_speakers}")
    rng = np.random.default_rng(seed)
    groups = _groups(items, max_group, rng)
    drawn = _within(groups) if mode == "within" else _across(groups, max_x_speakers, rng)
    cells = [cell for chunk in _chunks(drawn) for cell in _scored(items, chunk, kind)]
    pairs = _pairs(cells)
    value = float(np.mean([pair.error for pair in pairs])) if pairs else float("nan")
    limits = f"group:{max_group or 'all'}" + (f"|x_speakers:{max_x_speakers or 'all'}" if mode == "across" else "")
    return AbxResult(value, pairs, cells, f"abx {mode}|{kind}|dtw over steps|{limits}|seed:{seed}")


Group = tuple[str, str, str]
"""Context, label, speaker."""
Triples = tuple[Group, Group, Group, list[int], list[int], list[int]]
"""Groups of A, B and X, and the positions of their items."""


def _groups(items: Sequence[AbxItem], limit: int | None, rng: np.random.Generator) -> dict[str, dict[Group, list[int]]]:
    """Return positions by group, by context, of at most so many items."""
    found: dict[Group, list[int]] = defaultdict(list)
    for position, item in enumerate(items):
        found[item.context, item.label, item.speaker].append(position)
    by_context: dict[str, dict[Group, list[int]]] = defaultdict(dict)
    for group, positions in sorted(found.items()):
        if limit is not None and len(positions) > limit:
            positions = sorted(rng.choice(positions, limit, replace=False).tolist())
        by_context[group[0]][group] = positions
    return by_context


def _within(groups: dict[str, dict[Group, list[int]]]) -> Iterator[Triples]:
    for here in groups.values():
        for a, a_items in here.items():
            if len(a_items) < 2:
                continue
            for b, b_items in here.items():
                if a[1] != b[1] and a[2] == b[2]:
                    yield a, b, a, a_items, b_items, a_items


def _across(
    groups: dict[str, dict[Group, list[int]]], limit: int | None, rng: np.random.Generator
) -> Iterator[Triples]:
    for here in groups.values():
        for a, a_items in here.items():
            others = [x for x in here if x[1] == a[1] and x[2] != a[2]]
            for b, b_items in here.items():
                if a[1] == b[1] or a[2] != b[2]:
                    continue
                chosen = others
                if limit is not None and len(others) > limit:
                    chosen = [others[index] for index in sorted(rng.choice(len(others), limit, replace=False).tolist())]
                for x in chosen:
                    yield a, b, x, a_items, b_items, here[x]


def _chunks(drawn: Iterator[Triples]) -> Iterator[list[Triples]]:
    """Gather cells until they need many distances: pairs that cells share are then compared once."""
    chunk: list[Triples] = []
    size = 0
    for triples in drawn:
        chunk.append(triples)
        size += len(triples[5]) * (len(triples[3]) + len(triples[4]))
        if size >= _PAIRS_AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _scored(items: Sequence[AbxItem], chunk: list[Triples], kind: str) -> list[Cell]:
    # Imported here: what a metric is called is known without torch.
    from audio_ssl.metrics.dtw import dtw_pairs

    # A pair is a code, smaller position first: dense tables of distances would not fit.
    def codes(xs: list[int], others: list[int]) -> npt.NDArray[np.int64]:
        x, other = np.array(xs)[:, None], np.array(others)[None]
        return np.asarray(np.minimum(x, other) * len(items) + np.maximum(x, other))

    needed = [(codes(xs, a), codes(xs, b)) for *_, a, b, xs in chunk]
    wanted = np.unique(np.concatenate([part.ravel() for both in needed for part in both]))
    first, second = np.divmod(wanted, len(items))
    used, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    frames = [items[position].frames for position in used.tolist()]
    pairs = np.stack(np.split(place, 2), 1).tolist()
    distance = dtw_pairs(frames, frames, pairs, kind).cpu().numpy()
    cells = []
    for (a, b, x, a_items, _, x_items), (of_a, of_b) in zip(chunk, needed, strict=True):
        to_a = distance[np.searchsorted(wanted, of_a)][:, :, None]
        to_b = distance[np.searchsorted(wanted, of_b)][:, None, :]
        errors = (to_a > to_b) + 0.5 * (to_a == to_b)
        # X is not its own A.
        counted = errors[np.not_equal.outer(x_items, a_items)]
        cells.append(Cell(a[1], b[1], a[0], a[2], x[2], counted.size, 100.0 * float(counted.mean())))
    return cells


def _pairs(cells: Sequence[Cell]) -> list[PairError]:
    by_pair: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_pair[cell.a, cell.b].append(cell)
    return [
        PairError(
            a,
            b,
            float(np.nanmean(_by_speaker(found))),
            len({cell.speaker for cell in found}),
            len(found),
            sum(cell.triples for cell in found),
        )
        for (a, b), found in sorted(by_pair.items())
    ]


def _by_speaker(cells: Sequence[Cell]) -> Array:
    """Return the mean error of each speaker of A and B and pair of labels, ``[speaker, pair]``; NaN where none."""
    speakers = {name: row for row, name in enumerate(sorted({cell.speaker for cell in cells}))}
    pairs = {pair: column for column, pair in enumerate(sorted({(cell.a, cell.b) for cell in cells}))}
    sums, counts = np.zeros((2, len(speakers), len(pairs)))
    for cell in cells:
        at = speakers[cell.speaker], pairs[cell.a, cell.b]
        sums[at] += cell.error
        counts[at] += 1
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def standardised(scores: Array) -> Array:
    """Bring each query's scores to mean 0 and deviation 1; zeros where they are all equal."""
    deviation = scores.std(1, keepdims=True)
    result = np.zeros_like(scores)
    np.divide(scores - scores.mean(1, keepdims=True), deviation, out=result, where=deviation > 0)
    return result


def mtwv(
    scores: Array, relevant: Flags, p_target: float = 0.0008, c_miss: float = 100.0, c_fa: float = 1.0
) -> tuple[float, float]:
    """Return the maximum term-weighted value, at most 1, and the threshold that reaches it.

    ``1 − (misses + β · false alarms)`` at the best threshold, where both rates are means over queries, β is
    ``c_fa / c_miss · (1 / p_target − 1)`` and the defaults are those of QUESST 2014. A trial is a query and an
    utterance. Accepting nothing has the value 0, so it is never below (threshold: infinity). Queries that every
    utterance holds, or none, count for neither rate.

    Parameters
    ----------
    scores, relevant
        ``[query, utterance]``.
    p_target
        Prior probability that an utterance holds a query.
    c_miss, c_fa
        Cost of a miss and of a false alarm.

    Raises
    ------
    UserError
        If the shapes differ, a score is not finite, or no query has both a relevant and another utterance.
    """
    return RankedTrials(scores, relevant, p_target, c_miss, c_fa).best()


class RankedTrials:
    """Trials of queries in the order of falling scores, to be scored anew as queries count more or less often.

    Parameters and errors are those of `mtwv`.
    """

    def __init__(
        self, scores: Array, relevant: Flags, p_target: float = 0.0008, c_miss: float = 100.0, c_fa: float = 1.0
    ) -> None:
        if scores.ndim != 2 or scores.shape != relevant.shape:
            raise UserError(
                f"`scores` and `relevant` must both be [query, utterance], but are {scores.shape}, {relevant.shape}"
            )
        if not np.isfinite(scores).all():
            raise UserError("`scores` must be finite")
        self._used: Flags = np.asarray(relevant.any(1) & ~relevant.all(1))
        if not self._used.any():
            raise UserError("no query has both an utterance that holds it and one that does not")
        scores, relevant = scores[self._used], relevant[self._used]
        beta = c_fa / c_miss * (1 / p_target - 1)
        # What accepting a trial adds to the value of its query: each query's rates weigh the same.
        gain = np.where(relevant, 1 / relevant.sum(1, keepdims=True), -beta / (~relevant).sum(1, keepdims=True)).ravel()
        order = np.argsort(-scores.ravel(), kind="stable")
        self._falling, self._gain, self._query = scores.ravel()[order], gain[order], order // scores.shape[1]
        self._ends = np.flatnonzero(np.append(np.diff(self._falling) != 0, True))

    def best(self) -> tuple[float, float]:
        """Return the maximum term-weighted value and its threshold, as `mtwv`."""
        values = self._values(np.ones((1, len(self._used))))[0]
        best = int(values.argmax())
        return float(values[best]), float(self._falling[self._ends[best - 1]]) if best else float("inf")

    def value(self, counts: Array) -> Array:
        """Return the maximum value where queries count so often, ``[resample, query]`` to ``[resample]``."""
        return np.asarray(self._values(counts).max(1))

    def _values(self, counts: Array) -> Array:
        """Return the value at each threshold, ``[resample, 1 + threshold]``; at the first nothing is accepted."""
        counts = counts[:, self._used]
        queries = counts.sum(1, keepdims=True)
        gains = np.cumsum(self._gain * counts[:, self._query], axis=1)[:, self._ends]
        values = np.divide(gains, queries, out=np.full_like(gains, np.nan), where=queries > 0)
        return np.concatenate([np.zeros_like(queries), values], axis=1)


METRICS = (
    *(
        ComparisonMetric(
            name=f"abx_{mode}",
            label=f"ABX {mode} speakers",
            higher_is_better=False,
            paired="pairs of labels",
            mode=mode,
        )
        for mode in MODES
    ),
    ComparisonMetric(name="map", label="MAP", phrase="mean average precision", paired="queries"),
    ComparisonMetric(name="mtwv", label="MTWV", phrase="maximum term-weighted value"),
    ComparisonMetric(name="p_at_n", label="P@N", phrase="precision at N"),
    ComparisonMetric(name="ap_across", label="AP across speakers", phrase="average precision across speakers"),
    ComparisonMetric(name="ap_all", label="AP of all pairs", phrase="average precision of all pairs"),
)
