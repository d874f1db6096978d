"""How well one layer tells a value of unseen speakers: cross-validated, and as a code (minimum description length)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.probing.tasks._ridge import log_posteriors

Ints = npt.NDArray[np.int64]

RIDGES = (1e4, 10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""All are tried, from a model that does not look at the features to one that follows every clip."""


@dataclass(frozen=True)
class FoldScores:
    """What the folds gave, for each labelling."""

    scores: Float[Tensor, "labelling clip class"]
    """Logarithms of probabilities by the fold that has not seen the speaker, as if all classes were equally likely."""

    inner_loss: Float[Tensor, "labelling fold"]
    """Cross-entropy a clip, in nats, of the best ridge inside each fold's training speakers."""


def cross_validate(
    features: Float[Tensor, "clip dim"],
    labels: Int[Tensor, "labelling clip"],
    speakers: Ints,
    folds: Ints,
    classes: int,
) -> FoldScores:
    """Predict every fold from the others, the ridge chosen inside them.

    A model of all folds but two serves both: it is scored on the one while the other is held out. There must be three
    folds or more.
    """
    count = int(folds.max()) + 1
    runs, ridges = len(RIDGES), torch.tensor(RIDGES)
    loss = torch.zeros(count, len(labels), runs, dtype=torch.float64)
    for pair in combinations(range(count), 2):
        train = (folds != pair[0]) & (folds != pair[1])
        found = log_posteriors(
            features[train], labels[:, train].repeat_interleave(runs, 0), ridges.repeat(len(labels)), classes,
            _clips_a_speaker(speakers[train]), *(features[folds == fold] for fold in pair),
        )  # fmt: skip
        for scored, other, said in zip(pair, reversed(pair), found, strict=True):
            right = labels[:, folds == scored].repeat_interleave(runs, 0)
            loss[other] -= said.gather(2, right[..., None]).sum((1, 2)).view(len(labels), runs)
    scores = torch.zeros(len(labels), len(folds), classes, dtype=torch.float64)
    inner = torch.zeros(len(labels), count, dtype=torch.float64)
    for fold in range(count):
        train, test = folds != fold, folds == fold
        prior = _clips_a_speaker(speakers[train])
        # The first of equals is the largest ridge.
        best = loss[fold].argmin(1)
        (said,) = log_posteriors(features[train], labels[:, train], ridges[best], classes, prior, features[test])
        seen = torch.stack([(labels[:, train] == one).sum(1) for one in range(classes)], dim=1) + prior
        scores[:, test] = (said - seen.double().log()[:, None]).log_softmax(-1)
        inner[:, fold] = loss[fold].amin(1) / int(train.sum())
    return FoldScores(scores, inner)


def code_lengths(
    features: Float[Tensor, "clip dim"],
    labels: Int[Tensor, "labelling clip"],
    speakers: Ints,
    blocks: Sequence[Ints],
    classes: int,
) -> Float[Tensor, " labelling"]:
    """Return the bits of an online code of the labels (Voita & Titov 2020, arXiv 2003.12298).

    The first block is sent with a uniform code, every other with the probabilities of models of those before, one of
    each ridge, mixed by how well they have done; after the n-th mixed block, one part in n + 1 of the weights is dealt
    evenly again (Herbster & Warmuth 1998, Machine Learning 32), as more speakers want another ridge.
    """
    runs, ridges = len(RIDGES), torch.tensor(RIDGES)
    sent = torch.full((len(labels),), uniform_bits(len(blocks[0]), classes), dtype=torch.float64)
    weights = torch.full((len(labels), runs), 1.0 / runs, dtype=torch.float64)
    known = blocks[0]
    for number, block in enumerate(blocks[1:], 1):
        right = labels[:, block].repeat_interleave(runs, 0)
        (said,) = log_posteriors(
            features[known], labels[:, known].repeat_interleave(runs, 0), ridges.repeat(len(labels)), classes,
            _clips_a_speaker(speakers[known]), features[block],
        )  # fmt: skip
        together = weights.log() + said.gather(2, right[..., None]).sum((1, 2)).view(len(labels), runs)
        sent -= together.logsumexp(1) / np.log(2)
        weights = together.softmax(1) * number / (number + 1) + 1.0 / (runs * (number + 1))
        known = np.concatenate([known, block])
    return sent


def _clips_a_speaker(speakers: Ints) -> float:
    """Return the mean number of clips: what one more speaker of each value, who says nothing, would bring."""
    return len(speakers) / len(np.unique(speakers))


def uniform_bits(clips: int, classes: int) -> float:
    """Return the bits of labels sent with a uniform code."""
    return clips * float(np.log2(classes))
