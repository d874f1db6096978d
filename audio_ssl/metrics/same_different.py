"""Same or different: average precision of pairs of words by their distance.

Carlin et al. 2011 (Interspeech, "Rapid evaluation of speech representations for spoken term discovery"): all pairs of
word tokens, near ones first; a pair is right if both tokens are the same word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.dtw import dtw_pairs
from audio_ssl.metrics.families.ranking import Ranking

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SameDifferent:
    """Average precisions in percent; NaN where there is no right or no wrong pair."""

    value: float
    """Of all pairs."""
    across_speakers: float
    """Right pairs are of different speakers; same words of one speaker are left out, different words are all kept."""
    same_pairs: int
    same_pairs_across: int
    different_pairs: int
    words: int
    """Tokens that were used."""


def same_different(
    words: Sequence[str],
    speakers: Sequence[str],
    frames: Sequence[Float[Tensor, "frame dim"]],
    kind: str = "cosine",
    max_words: int | None = None,
    seed: int = 0,
) -> SameDifferent:
    """Return how well distances tell same words from different ones.

    Parameters
    ----------
    words, speakers, frames
        Of each token.
    kind
        Distance of frames; see `frame_distances`.
    max_words
        Tokens that are used at most; the number of pairs grows with its square. None: all.
    seed
        Of the draw.

    Raises
    ------
    UserError
        If there are not as many of each.
    """
    if not len(words) == len(speakers) == len(frames):
        counts = f"{len(words)}, {len(speakers)}, {len(frames)}"
        raise UserError(f"`words`, `speakers` and `frames` must be as many, but are {counts}")
    kept = np.arange(len(words))
    if max_words is not None and len(words) > max_words:
        kept = np.sort(np.random.default_rng(seed).choice(len(words), max_words, replace=False))
    chosen = [frames[index] for index in kept.tolist()]
    first, second = np.triu_indices(len(kept), 1)
    pairs = np.stack([first, second], 1).tolist()
    nearness = -dtw_pairs(chosen, chosen, pairs, kind).double().cpu().numpy()
    word, speaker = (np.asarray(names, dtype=object)[kept].astype(str) for names in (words, speakers))
    same = word[first] == word[second]
    across = same & (speaker[first] != speaker[second])
    return SameDifferent(
        _precision(same, nearness),
        _precision(across[across | ~same], nearness[across | ~same]),
        int(same.sum()),
        int(across.sum()),
        int((~same).sum()),
        len(kept),
    )


def _precision(same: Flags, nearness: Array) -> float:
    return 100.0 * float(Ranking(nearness, same).average_precision()[0])
