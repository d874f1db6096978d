"""Same or different word: average precision of pairs of spoken words (Carlin et al. 2011).

Nothing is trained. A word is one vector, its mean frame or ten frames at even distances (Holzenberger et al. 2018),
and pairs are ranked by cosine; or its frames, and pairs are ranked by dynamic time warping. Across speakers, pairs of
the same word by one speaker are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from audio_ssl.artifacts.result_tables import WordRow
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.dtw import dtw_pairs
from audio_ssl.metrics.families.ranking import Ranking
from audio_ssl.metrics.resampling import RANKING_REPLICATES, Interval, bootstrap, pair_counts
from audio_ssl.metrics.spans import (
    Frames,
    Span,
    Stretch,
    enough_speakers,
    pieces_of,
    resampled,
    standardised,
    why_no_spans,
)
from audio_ssl.probing.task import CompareTask, Comparisons

EMBEDDINGS = ("mean", "sampled", "dtw")

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Config:
    """Which words, and how they are compared."""

    times: str | None = "word_times"
    """Column with the words, ``start end word; start end word``; null: each clip is one, its label."""

    embedding: str = "mean"
    """``mean`` frame, ``sampled`` frames concatenated, or ``dtw``: dynamic time warping of frames, without a vector."""

    frames: int = 10
    """Number of frames of ``sampled`` (Holzenberger et al. 2018: 10)."""

    standardise: bool = True
    """Standardise frames first: subtract the mean and divide by the standard deviation of each dimension."""

    min_seconds: float = 0.5
    """Shorter words are left out, where words are cut from clips (Carlin et al. 2011: 0.5)."""

    min_letters: int = 5
    """Words of fewer letters are left out, where words are cut from clips (Carlin et al. 2011: 5)."""

    main: str = "across"
    """Main metric, which selects the layer: ``across`` speakers or ``all`` pairs. Both are reported."""

    max_words: int = 1000
    """Largest number of words; there are half as many pairs as their square."""

    seed: int = 0
    """Seed of the random selection of words."""


class Words(CompareTask):
    """Average precision of pairs of words."""

    kind = "words"

    def __init__(self, config: Config) -> None:
        self._config = config
        others = [f"ap_{name}" for name in ("across", "all") if name != config.main]
        self.metrics: tuple[str, ...] = (f"ap_{config.main}", *others)
        size = f" {config.frames}" if config.embedding == "sampled" else ""
        self.signature = f"{config.embedding}{size}|cosine|words:{config.max_words}|seed:{config.seed}"

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        return why_no_spans(clip, self._config.times) or (None if clip.speaker else "no speaker")

    def compare(self, clips: Sequence[Clip], frames: Frames, grid: FrameGrid) -> Comparisons:
        """Return the average precisions, and a row for each word with the mean cosine to itself and to others."""
        config = self._config
        if config.standardise and clips:
            frames = standardised(clips, frames)
        words = list(pieces_of(clips, config.times, frames, grid, self._wanted))
        if len(words) > config.max_words:
            kept = np.random.default_rng(config.seed).choice(len(words), config.max_words, replace=False)
            words = [words[position] for position in sorted(kept.tolist())]
        if len(words) < 2:
            nothing = Interval(float("nan"), float("nan"), float("nan"))
            return Comparisons(dict.fromkeys(self.metrics, nothing), "speakers")
        first, second = np.triu_indices(len(words), 1)
        nearness = self._nearness(words, first, second)
        names = np.unique([piece.span.label.lower() for piece in words], return_inverse=True)[1]
        speakers, speaker = np.unique([piece.speaker for piece in words], return_inverse=True)
        same = names[first] == names[second]
        across = ~same | (speaker[first] != speaker[second])
        enough = enough_speakers(words)
        scores = {}
        for name in self.metrics:
            chosen = across if name == "ap_across" else np.ones_like(same)
            sides = speaker[first[chosen]], speaker[second[chosen]]
            scores[name] = _precision(same[chosen], nearness[chosen], *sides, len(speakers) if enough else 1)
        return Comparisons(scores, "speakers", _rows(words, names, first, second, same, nearness))

    def _wanted(self, span: Span) -> bool:
        config = self._config
        if config.times is None:
            return True
        return span.end - span.start >= config.min_seconds and len(span.label) >= config.min_letters

    def _nearness(self, words: Sequence[Stretch], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Array:
        if self._config.embedding == "dtw":
            pieces = [piece.frames for piece in words]
            pairs = np.stack([first, second], 1).tolist()
            # Padded copies of both sides are held at once: fewer pairs where frames are wide.
            limit = max(1, (1 << 22) // pieces[0].shape[1])
            return -dtw_pairs(pieces, pieces, pairs, "cosine", batch_elements=limit).double().cpu().numpy()
        if self._config.embedding == "mean":
            vectors = torch.stack([piece.frames.mean(0) for piece in words])
        else:
            vectors = torch.stack([resampled(piece.frames, self._config.frames) for piece in words])
        unit = torch.nn.functional.normalize(vectors.double(), dim=1)
        return (unit @ unit.T).cpu().numpy()[first, second]


def _precision(
    same: Flags, nearness: Array, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], speakers: int
) -> Interval:
    """Return the average precision in percent and its interval over speakers, if there are several.

    `first` and `second` are the speakers of both sides of each pair.
    """
    # Pairs of the same two speakers have one weight in a resample, so they are summed once beforehand.
    cells, cell = np.unique(first * speakers + second, return_inverse=True)
    ranking = Ranking(nearness, same, cell)
    sides = np.divmod(cells, speakers)
    if speakers < 2:
        return Interval(100.0 * float(ranking.average_precision()[0]), float("nan"), float("nan"))
    return bootstrap(
        lambda counts: 100.0 * ranking.average_precision(pair_counts(counts, *sides)),
        speakers,
        RANKING_REPLICATES,
        width=ranking.width,
    )


def _rows(
    words: Sequence[Stretch],
    names: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    same: Flags,
    nearness: Array,
) -> list[WordRow]:
    """Return a row for each token of a word that occurs twice, with its mean nearness to its own and to others."""
    sums, counts = np.zeros((2, len(words))), np.zeros((2, len(words)))
    for side in (first, second):
        np.add.at(sums, (same.astype(int), side), nearness)
        np.add.at(counts, (same.astype(int), side), 1)
    often = Counter(names.tolist())
    return [
        WordRow(
            clip=piece.clip.id,
            word=piece.span.label,
            start=piece.span.start,
            end=piece.span.end,
            speaker=piece.speaker,
            nearness_same=float(sums[1, i] / counts[1, i]),
            nearness_other=float(sums[0, i] / counts[0, i]) if counts[0, i] else None,
        )
        for i, piece in enumerate(words)
        if often[int(names[i])] > 1
    ]


def build(config: Config) -> Words:
    """Make the task; UserError for another embedding or main."""
    if config.embedding not in EMBEDDINGS:
        raise unknown_name("embedding", config.embedding, EMBEDDINGS, "$.task.embedding")
    if config.main not in ("across", "all"):
        raise unknown_name("main", config.main, ("across", "all"), "$.task.main")
    if config.frames < 1 or config.max_words < 2:
        raise UserError("`frames` must be at least 1 and `max_words` 2", where="$.task")
    return Words(config)
